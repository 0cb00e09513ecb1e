"""The run folder: everything about one comparison or training, and the only thing its readers read.

Written so that a kill at any moment loses at most the step in progress: logs are append-only
lines, everything else is written aside and renamed. The same command on the same inputs opens the
same folder and goes on where it stopped.

    RUNS/NAME-HASH/
      run.json  task.yaml  split.json  findings.jsonl  events.jsonl  verdict.json  report.html  report.md
      requests.jsonl
      methods/METHOD/assistant/  method.json  predictions.jsonl  tried.jsonl  train.jsonl  work/
    RUNS/NAME-HASH.1/      a run of the same inputs that --fresh has set aside
    RUNS/openings.jsonl    one line for each opening of a test
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from etude.base.files import Json, read_json, read_lines, write_json
from etude.base.remedies import nearest
from etude.errors import RunError
from etude.runs.verdict import Verdict, read_verdict

FORMAT = 1
FOLDER = "runs"
LOCK = "lock"
REQUESTS = "requests.jsonl"
"""What endpoints have answered."""


@dataclass(frozen=True)
class Run:
    """One run folder. Holds no state of its own: every read goes to the disk."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def info(self) -> Json:
        """run.json. Raises RunError when it cannot be read or is of another format."""
        info = read_json(self.folder / "run.json")
        if info.get("format") != FORMAT:
            raise RunError(f"{self.folder} was written by another version of Étude. Compare again.")
        return info

    @property
    def command(self) -> str:
        """What the run is of: compare or train."""
        return str(self.info.get("command", "compare"))

    @property
    def complete(self) -> bool:
        """Whether the verdict has been reached, or the training has ended."""
        if not all((self.folder / name).exists() for name in ("run.json", "split.json")):
            return False
        reached = self.command == "train" or (self.folder / "verdict.json").exists()
        return reached and self.info["status"] == "complete"

    @property
    def status(self) -> str:
        """complete, interrupted, failed, running while a process is at work on it, or stopped: what a kill leaves."""
        status = str(self.info["status"])
        return "stopped" if status == "running" and not self.at_work else status

    @property
    def verdict(self) -> Verdict | None:
        """What the comparison came to, once it has been reached. Raises RunError when it cannot be read."""
        return read_verdict(self.folder / "verdict.json")

    @property
    def methods(self) -> list[str]:
        """Methods that have been fitted, in the order they were."""
        order = self.info.get("methods", []) if (self.folder / "run.json").exists() else []
        return [name for name in order if (self.method(name) / "method.json").exists()]

    @property
    def task_file(self) -> Path:
        """The task file that the run was made from; it may be gone."""
        return self.folder.parent.parent / str(self.info["task_file"])

    def method(self, name: str) -> Path:
        """The folder of one method."""
        return self.folder / "methods" / name

    def assistant(self, name: str) -> Path:
        """The folder of one method's assistant. Raises RunError when there is none."""
        folder = self.method(name) / "assistant"
        if not folder.is_dir():
            fitted = ", ".join(self.methods) or "none yet"
            close = nearest(name, self.methods)
            meant = f" Did you mean {close!r}?" if close else ""
            raise RunError(f"Run {self.name} has no assistant {name!r}; it has: {fitted}.{meant}")
        return folder

    def update(self, **values: object) -> None:
        """Sets keys of run.json."""
        file = self.folder / "run.json"
        write_json(file, {**(read_json(file) if file.exists() else {}), **values})

    def predictions(self, method: str) -> list[Json]:
        """All lines of one method's predictions.jsonl, dev and test."""
        file = self.method(method) / "predictions.jsonl"
        return list(read_lines(file)) if file.exists() else []

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for this process. Raises RunError when another process holds it, or when its
        folder cannot be made or written."""
        with contextlib.ExitStack() as files:
            while True:
                lock = files.enter_context(self._lock_file())
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise RunError(
                        f"Another process is at work on {self.folder}. Wait for it to end."
                    ) from error
                if self._still_there(lock):
                    break
            yield

    @property
    def at_work(self) -> bool:
        """Whether some process holds the run. Asking takes a shared lock for a moment."""
        try:
            with (self.folder / LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # no lock that could be held, or none that may be read
            return False
        return False

    def _still_there(self, lock: TextIO) -> bool:
        """Whether the lock is this folder's: --fresh may have renamed the folder since it was opened."""
        file = self.folder / LOCK
        return file.exists() and os.path.samestat(os.fstat(lock.fileno()), file.stat())

    def _lock_file(self) -> TextIO:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return (self.folder / LOCK).open("w")
        except OSError as error:
            raise RunError(
                f"{self.folder} cannot be written ({error.strerror}). "
                f"Make {self.folder.parent} a folder that you may write to."
            ) from error


def find_runs(root: Path) -> list[Run]:
    """All runs below `root`, the one worked on last first."""
    files = root.glob("*/run.json") if root.is_dir() else []
    return [Run(file.parent) for file in sorted(files, key=lambda file: -file.stat().st_mtime)]


def siblings(run: Run) -> list[Run]:
    """The other runs of the same task in the same folder, the one worked on last first."""
    task = run.name.rpartition("-")[0]
    others = (other for other in find_runs(run.folder.parent) if other.name != run.name)
    return [other for other in others if other.name.rpartition("-")[0] == task]


def find_run(root: Path, name: str | None) -> Run:
    """The run of that name or beginning with it, or the latest one.

    Raises RunError when there is none, or when several begin so.
    """
    runs = find_runs(root)
    if not runs:
        raise RunError(f"There is no run in {root}. Run `etude compare TASK` or `etude train TASK` first.")
    if name is None:
        return runs[0]
    matching = [run for run in runs if run.name == name] or [run for run in runs if run.name.startswith(name)]
    if len(matching) != 1:
        # Nobody types a whole name with its hash: beginnings of the same length are compared.
        beginnings = {run.name[: len(name)]: run.name for run in runs}
        close = nearest(name, beginnings)
        how_many = (
            f"{len(matching)} runs in {root} begin with" if matching else f"No run in {root} begins with"
        )
        meant = f" Did you mean {beginnings[close]!r}?" if close and not matching else ""
        raise RunError(f"{how_many} {name!r}. There are: {', '.join(run.name for run in runs)}.{meant}")
    return matching[0]
