"""What the jobs of test_jobs.py do, in child processes."""

import fcntl
import os
import signal
import time
from pathlib import Path


def read_steps(folder: Path, name: str) -> list[str]:
    file = folder / name
    return file.read_text().split() if file.exists() else []


def count_steps(folder: str, name: str, num_steps: str, pause: str) -> None:
    """Writes one line per step and resumes behind the last; leaves a mark if another job works at
    the same time.
    """
    root = Path(folder)
    (root / "pid.part").write_text(str(os.getpid()))
    (root / "pid.part").rename(root / "pid")
    with (root / "working").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (root / "clash").touch()
        for step in range(len(read_steps(root, name)), int(num_steps)):
            with (root / name).open("a") as stream:
                stream.write(f"{step}\n")
            time.sleep(float(pause))


def fail(reason: str) -> None:
    raise ValueError(reason)


def kill_itself() -> None:
    """Ends as a process does that the kernel kills for its memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def print_niceness() -> None:
    print(os.nice(0))
