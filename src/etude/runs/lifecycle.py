"""The life of a run, the same for a comparison and a training: opened, locked, begun or gone on with, ended.

A run is known by its inputs: the same call on the same inputs opens the same folder, goes on where an earlier one
stopped, and does nothing where it had finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from etude.assistant import ADAPTER, FILE
from etude.base.files import REMEDY, read_json, read_lines
from etude.data.dataset import COMPARED, Dataset, Least, load_dataset, load_test
from etude.errors import EtudeError, RunError
from etude.models.registry import backend_of
from etude.runs.events import EventLog, NoteEvent, OnEvent, RunEnded, RunOpened
from etude.runs.folder import FOLDER, LOCK, REQUESTS, Run
from etude.runs.openings import read_openings
from etude.runs.record import begin
from etude.task import Task, load_task
from etude.types import Side


@dataclass(frozen=True)
class TaskRun:
    """A task with its rows, and the run that they belong to."""

    task: Task
    dataset: Dataset
    test: Dataset | None
    """The user's own test, where the task names one."""
    inputs: Mapping[str, str]
    """What makes the run its own: see `fingerprints`."""

    @property
    def run(self) -> Run:
        """The run's folder, begun or not: its name ends in a hash of all inputs."""
        digest = hashlib.sha256(json.dumps(dict(self.inputs), sort_keys=True).encode()).hexdigest()
        plain = re.sub(r"[^\w.-]+", "-", self.task.name).strip(".-") or "task"
        return Run(self.task.folder / FOLDER / f"{plain}-{digest[:8]}")


def read_task(
    task_file: Path | str, budget: float | None, least: Least = COMPARED
) -> tuple[Task, Dataset, Dataset | None]:
    """A task under another budget in seconds (None keeps its own, infinity is none), its rows, and its own test.

    Raises InputError with all errors, fewer rows than `least` among them.
    """
    task, dataset = load_dataset(with_budget(load_task(Path(task_file)), budget), least)
    return task, dataset, load_test(task)


def with_budget(task: Task, budget: float | None) -> Task:
    """The task under another budget in seconds: None keeps its own, infinity is none."""
    if budget is None:
        return task
    return replace(task, budget_seconds=None if math.isinf(budget) else budget)


def carry_out(
    task_run: TaskRun,
    work: Callable[[Run, OnEvent], None],
    report: Callable[[Path], object],
    *,
    fresh: bool,
    on_event: OnEvent,
) -> Run:
    """Do the work of a run, from where an earlier attempt stopped, and write its report; nothing where it is complete.

    `fresh` starts anew: see `set_aside`. What an error or a Ctrl-C leaves is reported too, and an error before there
    is anything to keep leaves no run. Raises RunError for the folder, and whatever `work` raises.
    """
    run, kept = task_run.run, None
    read_openings(run.folder.parent)  # an error there is raised before hours are spent
    if fresh:
        with run.locked():
            kept = set_aside(run)
    with run.locked():
        check_whole(run)
        if not run.complete:
            publish = EventLog(run, on_event)
            if kept:
                publish(NoteEvent(f"Starting again from scratch. The earlier run is kept as {kept.name}."))
            begin(run, task_run.task, task_run.inputs, publish)
            publish(RunOpened(run.folder))
            _worked(run, lambda: work(run, publish), report, publish)
        elif not all((run.folder / name).exists() for name in ("report.html", "report.md")):
            report(run.folder)
    return run


def _worked(run: Run, work: Callable[[], None], report: Callable[[Path], object], publish: OnEvent) -> None:
    """Does the work and writes the report. What else goes wrong after an error is a note of that error."""
    before = any(run.folder.glob("methods/*"))  # half-done work of an earlier attempt is kept
    try:
        work()
        run.update(status="complete")
    except BaseException as error:
        try:
            kept = before or run.methods or any(run.folder.glob("methods/*/train.jsonl"))
            paid = (run.folder / REQUESTS).exists()  # answers that need not be asked for again
            if not kept and not paid and isinstance(error, EtudeError):
                forget(run)
            else:
                failed = isinstance(error, Exception)
                run.update(status="failed" if failed else "interrupted")
                publish(RunEnded("failed", str(error)) if failed else RunEnded("interrupted"))
            if kept:
                report(run.folder)
        except (OSError, RunError) as later:
            error.add_note(f"The report on what was done so far could not be written: {later}")
        raise
    report(run.folder)
    publish(RunEnded("complete"))


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
        kept = read_json(run.method(name) / "method.json").get("dev_rows")
        _check_answers(run, name, "dev", len(split["dev"]), kept)
        if complete:
            _check_answers(run, name, "test", len(split["test"]), run.info["plan"]["limits"]["test_rows"])


def _check_method(run: Run, name: str) -> None:
    record, folder = read_json(run.method(name) / "method.json"), run.method(name) / "assistant"
    read_json(folder / FILE)
    learned = record["tuned"] or not backend_of(record["model"]).is_language_model
    if learned and not any((folder / ADAPTER).glob("*")):
        raise RunError(f"{folder / ADAPTER} is missing: it holds what {name} has learned. {REMEDY}")


def _check_answers(run: Run, name: str, side: Side, rows: int, planned: int | None) -> None:
    """Whether predictions.jsonl holds an answer to each of the side's `rows`, or to the `planned` sample of them."""
    file = run.method(name) / "predictions.jsonl"
    found = sum(line["side"] == side for line in read_lines(file))
    wanted = min(rows, planned or rows)
    if found != wanted:
        raise RunError(f"{file} holds {found} of {wanted} answers to {side} rows. {REMEDY}")


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
