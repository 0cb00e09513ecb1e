"""One job: a folder whose files say what to run and what became of it.

    JOBS/
      lock                        held by the child process at work, for as long as it lives
      01790668981123456789-4f1c/  names sort by the time of submission
        job.json                  target and arguments; written once, by whoever submits the job
        status.json               running, succeeded, failed or cancelled; written only by the holder of the lock
        cancel                    exists once somebody has asked to cancel the job
        output.log                what the job has printed

A kill at any moment leaves each file whole. A job whose status says running while nobody holds the lock was killed,
and counts as queued again.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from etude.base.files import Json, read_json, write_json

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
LOCK = "lock"


@dataclass(frozen=True)
class Job:
    """A job folder. It has no state of its own: every property reads the disk."""

    folder: Path

    @property
    def state(self) -> State:
        """What the job is doing, or how it ended."""
        status, is_at_work = self.status, is_locked(self.folder.parent)
        if not is_at_work:  # it may have ended between the two
            status = self.status
        if status and status["state"] != "running":
            state: State = status["state"]
            return state
        if status and is_at_work:
            return "running"
        return "cancelled" if self.is_cancelled else "queued"

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended and will not run again."""
        return self.state not in ("queued", "running")

    @property
    def status(self) -> Json:
        """status.json; empty before the first attempt."""
        file = self.folder / "status.json"
        return read_json(file) if file.exists() else {}

    @property
    def arguments(self) -> list[str]:
        """What the target is called with."""
        arguments: list[str] = read_json(self.folder / "job.json")["arguments"]
        return arguments

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has asked to cancel the job."""
        return (self.folder / "cancel").exists()

    @property
    def output(self) -> str:
        """What the job has printed in all attempts, errors included."""
        file = self.folder / "output.log"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def cancel(self) -> None:
        """Ask the job to stop: a running one gets SIGINT, as by Ctrl-C, and SIGKILL if that does not end it."""
        (self.folder / "cancel").touch()


def create_job(root: Path, target: str, arguments: list[str]) -> Job:
    """Write a new job folder. It appears whole or not at all."""
    # Nanoseconds, then a random part: two processes may submit at the same moment.
    name = f"{time.time_ns():020}-{uuid4().hex[:4]}"
    hidden = root / f".{name}"
    write_json(hidden / "job.json", {"target": target, "arguments": arguments})
    hidden.rename(root / name)
    return Job(root / name)


def list_jobs(root: Path) -> list[Job]:
    """List all jobs in the order of their submission."""
    folders = (folder for folder in root.glob("[0-9]*-*") if (folder / "job.json").exists())
    return [Job(folder) for folder in sorted(folders)]


def is_locked(root: Path) -> bool:
    """Return whether a child process is at work. Tests a shared lock for a moment."""
    try:
        with (root / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


@contextmanager
def try_lock(root: Path) -> Iterator[bool]:
    """Take the lock for this process; yields whether it got it. The kernel releases it when the process ends."""
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        # A reader that tests the lock may hold it for a moment.
        for _ in range(10):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            yield True
            return
        yield False
    finally:
        os.close(descriptor)
