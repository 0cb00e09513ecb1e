"""Run folders of real comparisons with the fake model, made once a session."""

import functools
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from etude.base.locks import lock_file
from etude.comparison import compare
from small_task import write_task

SHORT = 60.0
"""A budget in seconds of a simulated clock, in which a batch of answers takes a second: too short
for everything.
"""


@contextmanager
def simulate_time() -> Iterator[None]:
    """Only the delays of the fake model take time, and these do not."""
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def read() -> float:
        return now[0]

    with mock.patch.multiple(time, sleep=sleep, monotonic=read, perf_counter=read):
        yield


@functools.cache
def real_run(
    kind: str = "answer", num: int = 150, budget: float | None = None, more: str = ""
) -> Path:
    """The folder of a complete run, not to be changed: copy it first. `more` is added to the task
    file.
    """
    name = hashlib.sha256(repr((kind, num, budget, more)).encode()).hexdigest()[:12]
    folder = Path(os.environ["ETUDE_TEST_RUNS"]) / name
    done = folder.with_suffix(".done")
    with folder.with_suffix(".lock").open("w") as lock:
        lock_file(lock, wait=True)  # the other processes of this test session use the same runs
        if not done.exists():
            if budget is None:
                compare(write_task(folder, kind, num=num, more=more))
            else:
                with simulate_time():
                    compare(write_task(folder, kind, "fake:delay=1", num, more), budget=budget)
            done.touch()
    (verdict,) = folder.glob("runs/*/verdict.json")
    return verdict.parent


def copy_task(folder: Path, kind: str = "answer", more: str = "") -> Path:
    """The task file of a complete run, copied with the run, which may be changed."""
    shutil.copytree(real_run(kind, more=more).parent.parent, folder, dirs_exist_ok=True)
    return folder / "task.yaml"
