"""The queue: submits jobs and starts a child process for each, one at a time."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from etude.jobs.job import Job, create_job, is_locked, list_jobs

POLL_SECONDS = 0.2


class JobQueue:
    """The jobs of a folder. Several processes may use one folder; still only one job runs at a time.

    After a kill of this process the running child goes on; the next queue on the folder waits for it and then runs the
    rest. A killed child is started again, up to a limit; jobs must therefore resume, or be safe to repeat.
    """

    def __init__(self, root: Path) -> None:
        """Start to work on what an earlier process has left in the folder."""
        self.root = root
        self._wake = threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        if any(not job.is_finished for job in self.jobs):
            self._start()

    @property
    def jobs(self) -> list[Job]:
        """All jobs in the order of their submission."""
        return list_jobs(self.root)

    def submit(self, target: str, arguments: Sequence[str] = ()) -> Job:
        """Add a job: `target` is a module that is run as by `python -m`, or `package.module:function`.

        The job succeeds with exit code 0, or if the function returns anything but an int above 0.
        """
        job = create_job(self.root, target, list(arguments))
        self._start()
        return job

    def close(self) -> None:
        """Start no further child. The running one goes on; cancel its job to end it."""
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
                command = [sys.executable, "-m", "etude.jobs.worker", str(self.root)]
                # A session of its own: Ctrl-C in the terminal ends the server, and the job only if it is cancelled.
                child = subprocess.run(command, stdin=subprocess.DEVNULL, start_new_session=True, check=False)
                if child.returncode:  # a child that cannot even start is not started again at once
                    time.sleep(POLL_SECONDS)
            else:
                self._wake.wait()
