"""A command of etude's in a process of its own, that it can be killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from etude.runs import Run, find_runs


def started(command: str, task: Path) -> subprocess.Popen[bytes]:
    """`compare` or `train`, begun."""
    line = [sys.executable, "-m", "etude.cli", command, str(task), "--yes"]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finished(command: str, task: Path) -> Run:
    """The only run of the task, after the command has come to its end."""
    process = started(command, task)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()
    (run,) = find_runs(task.parent / "runs")
    return run
