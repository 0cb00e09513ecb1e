"""The run folder: everything about one comparison or training, and the only thing its readers read.

Written so that a kill at any moment loses at most the step in progress: logs are append-only
lines, everything else is written aside and renamed. The same command on the same inputs opens the
same folder and goes on where it stopped.

    RUNS/NAME-HASH/
      run.json  task.yaml  split.json  findings.jsonl  verdict.json  report.html  report.md
      methods/METHOD/assistant/  method.json  predictions.jsonl  tried.jsonl  train.jsonl  work/
    RUNS/NAME-HASH.1/      a run of the same inputs that --fresh has set aside
    RUNS/openings.jsonl    one line for each opening of a test
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from etude.assistant import ADAPTER, FILE
from etude.base.files import REMEDY, Json, read_json, read_lines, write_json
from etude.base.remedies import nearest
from etude.errors import RunError
from etude.types import CLASSICAL, Side

FORMAT = 1
FOLDER = "runs"
LOCK = "lock"


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
        """complete, interrupted, running while a process is at work on it, or stopped: what a kill leaves."""
        status = str(self.info["status"])
        return "stopped" if status == "running" and not self._held() else status

    @property
    def verdict(self) -> Json | None:
        """verdict.json, once it has been reached."""
        file = self.folder / "verdict.json"
        return read_json(file) if file.exists() else None

    @property
    def methods(self) -> list[str]:
        """Methods that have been fitted, in the order they were."""
        order = self.info.get("methods", []) if (self.folder / "run.json").exists() else []
        return [name for name in order if (self.method(name) / "method.json").exists()]

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

    def _held(self) -> bool:
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


def run_for(root: Path, name: str, fingerprints: Mapping[str, str]) -> Run:
    """The run of these inputs: its folder's name ends in a hash of all of them."""
    digest = hashlib.sha256(json.dumps(dict(fingerprints), sort_keys=True).encode()).hexdigest()
    plain = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "task"
    return Run(root / f"{plain}-{digest[:8]}")


def find_runs(root: Path) -> list[Run]:
    """All runs below `root`, the one worked on last first."""
    files = root.glob("*/run.json") if root.is_dir() else []
    return [Run(file.parent) for file in sorted(files, key=lambda file: -file.stat().st_mtime)]


def check_whole(run: Run) -> None:
    """Raises RunError naming the first part of a run that is missing or cannot be read.

    Looked at are the parts that a reader or a continued run needs: what belongs to every method that
    was fitted, and in a complete run to all of its methods; weights are not opened.
    """
    if not ((run.folder / "run.json").exists() or any(run.folder.glob("methods/*/method.json"))):
        return
    fitted, verdict, complete = run.methods, run.verdict, run.complete
    if run.command == "train":
        for name in run.info["methods"] if complete else fitted:
            _check_method(run, name)
        return
    if not (fitted or verdict):
        return
    split = read_json(run.folder / "split.json")
    for name in run.info["methods"] if complete else fitted:
        _check_method(run, name)
        _check_answers(run, name, "dev", len(split["dev"]), run.info["plan"]["effort"]["dev_rows"])
        if complete:
            _check_answers(run, name, "test", len(split["test"]), run.info["plan"]["test_rows"])


def _check_method(run: Run, name: str) -> None:
    record, folder = read_json(run.method(name) / "method.json"), run.method(name) / "assistant"
    read_json(folder / FILE)
    taught = record["tuned"] or record["model"] == CLASSICAL
    if taught and not any((folder / ADAPTER).glob("*")):
        raise RunError(f"{folder / ADAPTER} is missing: it holds what {name} has learned. {REMEDY}")


def _check_answers(run: Run, name: str, side: Side, rows: int, planned: int | None) -> None:
    """Whether predictions.jsonl holds an answer to each of the side's `rows`, or to the `planned` sample of them."""
    file = run.method(name) / "predictions.jsonl"
    found = sum(line["side"] == side for line in read_lines(file))
    wanted = min(rows, planned or rows)
    if found != wanted:
        raise RunError(f"{file} holds {found} of {wanted} answers to {side} rows. {REMEDY}")


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


def set_aside(run: Run) -> Run | None:
    """Makes room for a run of the same inputs that starts anew.

    A run that has fitted a method keeps its files under a name of its own, NAME-HASH.1 or the next free
    number, which is returned; of any other the folder is emptied, but for the lock that this process holds.
    """
    if not any(run.folder.glob("methods/*/method.json")):
        _clear(run.folder)
        return None
    names = (run.folder.with_name(f"{run.name}.{number}") for number in itertools.count(1))
    return Run(run.folder.rename(next(folder for folder in names if not folder.exists())))


def forget(run: Run) -> None:
    """Deletes a run that this process holds, and the folder of all runs where it was the only one."""
    shutil.rmtree(run.folder)
    with contextlib.suppress(OSError):  # other runs stand there
        run.folder.parent.rmdir()


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
