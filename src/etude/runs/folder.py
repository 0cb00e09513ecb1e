"""The run folder: everything about one comparison or training. Report, chat and `etude.load` read
nothing else.

A kill at any moment loses at most the step in progress: logs are append-only lines, everything else
is written to a temporary file and renamed. The same command with the same inputs opens the same
folder and resumes where it stopped.

    RUNS/NAME-HASH/
      run.json  task.yaml  split.json  findings.jsonl  events.jsonl  verdict.json  report.html
      report.md requests.jsonl methods/METHOD/assistant/  method.json  predictions.jsonl
      tried.jsonl  train.jsonl  work/
    RUNS/NAME-HASH.1/      an earlier run of the same inputs, renamed by --fresh
    RUNS/openings.jsonl    one line for each opening of a test
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from etude.base.files import Json, list_lines, read_json, write_json
from etude.base.formatting import format_command
from etude.base.issues import find_nearest
from etude.base.locks import lock_file
from etude.errors import RunError
from etude.runs.verdict import Verdict, read_verdict

FORMAT = 1
FOLDER = "runs"
LOCK = "lock"
TESTS = "tests"  # folder of a run's behaviour tests, one for each method
PLAYS = "plays"  # folder of a run's plays, one for each method, and their result: plays.json
REQUESTS = "requests.jsonl"
"""Answers of services, stored so that no answer is paid for twice."""


@dataclass(frozen=True)
class Run:
    """One run folder. It has no state of its own: every read goes to the disk."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def info(self) -> Json:
        """The content of run.json. Raises RunError if it cannot be read or has another format."""
        info = read_json(self.folder / "run.json")
        if info.get("format") != FORMAT:
            raise RunError(f"{self.folder} was written by another version of Étude. Compare again.")
        return info

    @property
    def command(self) -> str:
        return str(self.info.get("command", "compare"))

    @property
    def is_complete(self) -> bool:
        if not all((self.folder / name).exists() for name in ("run.json", "split.json")):
            return False
        # A training has no verdict; only run.json shows that it ended.
        has_result = self.command == "train" or (self.folder / "verdict.json").exists()
        return has_result and self.info["status"] == "complete"

    @property
    def status(self) -> str:
        """complete, interrupted, failed, running (while a process works on it) or stopped (after a
        kill).
        """
        status = str(self.info["status"])
        return "stopped" if status == "running" and not self.is_running else status

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of the comparison; None if there is none yet. Raises RunError if it cannot be
        read.
        """
        return read_verdict(self.folder / "verdict.json")

    @property
    def fitted_methods(self) -> list[str]:
        order = self.info.get("methods", []) if (self.folder / "run.json").exists() else []
        return [name for name in order if (self.method_folder(name) / "method.json").exists()]

    @property
    def task_file(self) -> Path:
        return self.folder.parent.parent / str(self.info["task_file"])

    def method_folder(self, name: str) -> Path:
        """The folder of one method."""
        return self.folder / "methods" / name

    def assistant_folder(self, name: str) -> Path:
        """The folder of one method's assistant. Raises RunError if there is none."""
        folder = self.method_folder(name) / "assistant"
        if not folder.is_dir():
            methods = ", ".join(self.fitted_methods) or "none yet"
            suggestion = find_nearest(name, self.fitted_methods)
            hint = f" Did you mean {suggestion!r}?" if suggestion else ""
            raise RunError(f"Run {self.name} has no assistant {name!r}; it has: {methods}.{hint}")
        return folder

    def update(self, **values: object) -> None:
        """Set keys of run.json."""
        file = self.folder / "run.json"
        write_json(file, {**read_json(file, {}), **values})

    def read_predictions(self, method: str) -> list[Json]:
        """Read all lines of one method's predictions.jsonl, dev and test."""
        return list_lines(self.method_folder(method) / "predictions.jsonl")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run for this process. Raises RunError if another one has it, or the folder
        cannot be written.
        """
        with contextlib.ExitStack() as files:
            while True:
                file = self.folder / LOCK
                try:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    lock = files.enter_context(file.open("w"))
                    lock_file(lock)
                except BlockingIOError as error:
                    raise RunError(
                        f"Another process is working on {self.folder}. Wait until it ends."
                    ) from error
                except OSError as error:
                    raise RunError(
                        f"{self.folder} cannot be written ({error.strerror}). Give yourself "
                        f"permission to write to {self.folder.parent}."
                    ) from error
                # --fresh may have renamed the folder since the lock was opened.
                if file.exists() and os.path.samestat(os.fstat(lock.fileno()), file.stat()):
                    break
            yield

    @property
    def is_running(self) -> bool:
        """Whether a process works on the run. Checking takes a shared lock for a moment."""
        try:
            with (self.folder / LOCK).open() as lock:
                # A shared lock fails only while a process holds the run.
                lock_file(lock, shared=True)
        except BlockingIOError:
            return True
        except OSError:  # there is no lock file, or it may not be read
            return False
        return False


def find_runs(root: Path) -> list[Run]:
    """Find all runs in `root`, the latest first."""
    # A folder without run.json is not a run: it contains only a lock file, or was emptied.
    files = root.glob("*/run.json") if root.is_dir() else []
    return [Run(file.parent) for file in sorted(files, key=lambda file: -file.stat().st_mtime)]


def list_siblings(run: Run) -> list[Run]:
    """List the other runs of the same task in the same folder, the latest first."""
    task = run.name.rpartition("-")[0]
    siblings = [sibling for sibling in find_runs(run.folder.parent) if sibling.name != run.name]
    return [sibling for sibling in siblings if sibling.name.rpartition("-")[0] == task]


def find_task_runs(task: Path) -> list[Run]:
    """Find the runs of a task file, the latest first; of a folder, those of its task.yaml, or all
    if it has none. Runs that cannot be read are included, because they may be of this task.
    """
    file = task / "task.yaml" if task.is_dir() else task
    runs = find_runs(file.parent / FOLDER)
    return (
        [run for run in runs if _read_task_name(run) in (file.name, "")] if file.exists() else runs
    )


def _read_task_name(run: Run) -> str:
    with contextlib.suppress(RunError):
        return run.task_file.name
    return ""


def find_run(task: Path, name: str | None = None) -> Run:
    """Find the latest run of a task file or its folder, or the run next to it whose name is or
    begins with `name`.

    Raises RunError if there is no such run, or if several names begin with `name`.
    """
    root = (task if task.is_dir() else task.parent) / FOLDER
    runs = find_runs(root) if name else find_task_runs(task)
    if name and not runs:
        message = f"{task / name} does not exist, and there is no run in {root}"
        raise RunError(f"{message}. Give a task file or the folder of a run.")
    if not runs:
        others = ", ".join(sorted({_read_task_name(run) for run in find_runs(root)}))
        kind = (
            f"no run of {task.name} in {root}, only of {others}" if others else f"no run in {root}"
        )
        commands = " or ".join(f"`{format_command(verb, task)}`" for verb in ("compare", "train"))
        raise RunError(f"There is {kind}. Run {commands} first.")
    if name is None:
        return runs[0]
    matches = [run for run in runs if run.name == name] or [
        run for run in runs if run.name.startswith(name)
    ]
    if len(matches) != 1:
        # People seldom type a whole name with its hash, so beginnings of the same length are
        # compared.
        prefixes = {run.name[: len(name)]: run.name for run in runs}
        suggestion = find_nearest(name, prefixes)
        message = (
            f"{len(matches)} runs in {root} begin with"
            if matches
            else f"No run in {root} begins with"
        )
        hint = f" Did you mean {prefixes[suggestion]!r}?" if suggestion and not matches else ""
        raise RunError(
            f"{message} {name!r}. The runs are: {', '.join(run.name for run in runs)}.{hint}"
        )
    return matches[0]
