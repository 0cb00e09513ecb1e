"""Run folders of real comparisons with the fake model, made once a session."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from etude.comparison import compare
from small_task import write_task

LEAST = 0.001
"""A budget in seconds that cuts the plan as far as it goes."""


@functools.cache
def real_run(kind: str = "answer", num: int = 150, budget: float | None = None, more: str = "") -> Path:
    """The folder of a complete run, not to be changed: copy it first. `more` is added to the task file."""
    folder = Path(tempfile.mkdtemp(prefix="etude-run-"))
    atexit.register(shutil.rmtree, folder)
    return compare(write_task(folder, kind, num=num, more=more), budget=budget).run.folder


def copy_task(folder: Path, kind: str = "answer", more: str = "") -> Path:
    """The task file of a complete run, copied with the run, which may be changed."""
    shutil.copytree(real_run(kind, more=more).parent.parent, folder, dirs_exist_ok=True)
    return folder / "task.yaml"
