"""Jobs, and the queue that runs them one by one. The files in a job's folder say what to run and
how it ended.

    JOBS/
      lock                        locked by the running child process until it exits
      01790668981123456789-4f1c/  names sort by the time of submission
        job.json                  target and arguments; written once, by whoever submits the job
        status.json               running, succeeded, failed or cancelled; written with the lock
        cancel                    exists once somebody has asked to cancel the job
        output.log                the output of the job

A kill at any moment leaves each file whole. A job with the status running was killed if no process
has the lock; it then counts as queued again.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from etude.base.files import Json, read_json, write_json
from etude.base.locks import lock_file

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
LOCK = "lock"
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """A job folder. It has no state of its own: every property reads the disk."""

    folder: Path

    @property
    def state(self) -> State:
        status = self.status
        is_at_work = is_locked(self.folder.parent)
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
        return self.state not in ("queued", "running")

    @property
    def status(self) -> Json:
        return read_json(self.folder / "status.json", {})

    @property
    def arguments(self) -> list[str]:
        arguments: list[str] = read_json(self.folder / "job.json")["arguments"]
        return arguments

    @property
    def is_cancelled(self) -> bool:
        return (self.folder / "cancel").exists()

    @property
    def output(self) -> str:
        file = self.folder / "output.log"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def cancel(self) -> None:
        """Ask the job to stop. A running job gets SIGINT, as from Ctrl-C, and SIGKILL if it does
        not stop in time.
        """
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
    """Return whether a child process is running. Takes a shared lock for a moment."""
    try:
        with (root / LOCK).open() as lock:
            lock_file(lock, shared=True)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


@contextmanager
def try_lock(root: Path) -> Iterator[bool]:
    """Try to lock the folder for this process; yields whether it could. The kernel unlocks it when
    the process ends.
    """
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        # A process that only tests the lock may have it for a moment.
        for _ in range(10):
            try:
                lock_file(descriptor)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            yield True
            return
        yield False
    finally:
        os.close(descriptor)


class JobQueue:
    """The jobs of a folder. Only one job runs at a time, even if several processes use the folder.

    If this process is killed, the running child continues. The next queue on the folder waits for
    it and then runs the other jobs. A killed child is started again, up to a limit, so jobs must
    resume or be safe to repeat.
    """

    def __init__(self, root: Path) -> None:
        """Start to run the jobs that an earlier process left in the folder."""
        self.root = root
        self._wake = threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        if any(not job.is_finished for job in self.jobs):
            self._start()

    @property
    def jobs(self) -> list[Job]:
        return list_jobs(self.root)

    def submit(self, target: str, arguments: Sequence[str] = ()) -> Job:
        """Add a job: `target` is a module that is run as by `python -m`, or
        `package.module:function`.

        The job succeeds with exit code 0, or if the function returns anything but an int above 0.
        """
        job = create_job(self.root, target, list(arguments))
        self._start()
        return job

    def close(self) -> None:
        """Start no more child processes. The running one continues; cancel its job to stop it."""
        self._is_closed = True
        self._wake.set()

    def _start(self) -> None:
        with self._lock:
            self._wake.set()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while not self._is_closed:
            self._wake.clear()
            if is_locked(self.root):
                self._wake.wait(POLL_SECONDS)
            elif any(not job.is_finished for job in self.jobs):
                command = [sys.executable, "-m", "etude_openai.jobs.worker", str(self.root)]
                # In a new session, Ctrl-C in the terminal ends the server but not the job.
                child = subprocess.run(
                    command, stdin=subprocess.DEVNULL, start_new_session=True, check=False
                )
                if (
                    child.returncode
                ):  # wait before the next start, for a child that fails at its start
                    time.sleep(POLL_SECONDS)
            else:
                self._wake.wait()
