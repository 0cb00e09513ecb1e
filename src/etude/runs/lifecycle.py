"""The lifecycle of a run, the same for a comparison and a training: open, lock, start or resume,
end.

A run is identified by its inputs: a second call with the same inputs opens the same folder and
resumes where the first call stopped; it does nothing if the run is complete.
"""

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
from etude.base.files import read_json, read_lines
from etude.data.dataset import COMPARE_MIN, Dataset, MinRows, load_dataset, load_test
from etude.data.starter import open_task_file
from etude.errors import RUN_REMEDY, EtudeError, RunError
from etude.models.registry import find_backend
from etude.runs.events import EventLog, NoteEvent, OnEvent, RunEnded, RunOpened
from etude.runs.folder import FOLDER, LOCK, REQUESTS, Run
from etude.runs.openings import read_openings
from etude.runs.record import find_hub_commits, start_record
from etude.task import Task, load_task
from etude.types import Side


@dataclass(frozen=True)
class TaskRun:
    """A task with its rows, and the run that they belong to."""

    task: Task
    dataset: Dataset
    test: Dataset | None
    """The user's own test, if the task has one."""
    inputs: Mapping[str, str]
    """Hashes that identify the run: see `compute_fingerprints`."""

    @property
    def run(self) -> Run:
        """The run's folder, which may not exist yet: its name ends in a hash of the inputs of its
        answers.
        """
        # Any change of them changes the name, so a run never mixes two of them. The limits of a
        # comparison are added to its assistants at the end.
        is_training = "command" in self.inputs
        named = {key: value for key, value in self.inputs.items() if key != "limits" or is_training}
        digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
        plain = re.sub(r"[^\w.-]+", "-", self.task.name).strip(".-") or "task"
        return Run(self.task.folder / FOLDER / f"{plain}-{digest[:8]}")


def load_task_rows(
    task_file: Path | str, budget: float | None, minimum: MinRows = COMPARE_MIN
) -> tuple[Task, Dataset, Dataset | None]:
    """Load a task with a budget in seconds (None: the task's own, infinity: none), its rows, and
    its own test. For a file of rows, the task file beside it is used, or a new one is written; the
    task's notes say so.

    Raises InputError with all errors; fewer rows than `minimum` is one.
    """
    file, notes = open_task_file(Path(task_file))
    task = set_budget(load_task(file), budget)
    task = replace(task, notes=(*map(str.strip, notes), *task.notes))
    if not task.encoder and "learn" in find_backend(task.model).can:
        # A fake model without weights is for trying out, so no real encoder is trained.
        task = replace(task, encoder="none")
    task, dataset = load_dataset(task, minimum)
    return task, dataset, load_test(task)


def set_budget(task: Task, budget: float | None) -> Task:
    """Set the task's budget in seconds: None keeps its own, infinity is none."""
    if budget is None:
        return task
    return replace(task, budget_seconds=None if math.isinf(budget) else budget)


def run_to_end(
    task_run: TaskRun,
    work: Callable[[Run, OnEvent], None],
    report: Callable[[Path], object],
    *,
    fresh: bool,
    on_event: OnEvent,
) -> Run:
    """Do the work of a run, from where an earlier attempt stopped, and write its report; nothing if
    it is complete.

    A complete comparison whose limits have changed is also continued.

    `fresh` starts from scratch: see `set_run_aside`. After an error or Ctrl-C, the report shows the
    results so far; an error before any result leaves no run. Raises RunError if the folder cannot
    be used, and whatever `work` raises.
    """
    run = task_run.run
    earlier = None
    read_openings(run.folder.parent)  # an unreadable file is reported before hours of work
    # 1. With --fresh: keep an earlier run under another name.
    if fresh:
        with run.lock():
            earlier = set_run_aside(run)
    # 2. Lock the folder; it is an error if another process works on the same run.
    with run.lock():
        check_files(run)
        is_over = run.is_complete and not run.info.get("failures")
        if not (is_over and run.info["inputs"].get("limits") == task_run.inputs.get("limits")):
            publish = EventLog(run, on_event)
            if earlier:
                publish(
                    NoteEvent(
                        f"Starting again from scratch. The earlier run is kept as {earlier.name}."
                    )
                )
            # 3. Start run.json or resume it, then work; every step is an event.
            start_record(run, task_run.task, task_run.inputs, publish)
            _run_work(run, work, report, publish)
            if commits := find_hub_commits(task_run.task):
                run.update(hub=commits)
        elif not all((run.folder / name).exists() for name in ("report.html", "report.md")):
            report(run.folder)
    return run


def _run_work(
    run: Run,
    work: Callable[[Run, OnEvent], None],
    report: Callable[[Path], object],
    publish: OnEvent,
) -> None:
    """Do the work and write the report. Errors that follow an error are added to it as notes."""
    is_resumed = any(run.folder.glob("methods/*"))  # half-done work of an earlier attempt is kept
    try:
        publish(RunOpened(run.folder))
        if is_resumed:
            publish(NoteEvent(f"Continuing {run.name}: what is finished is not repeated."))
        work(run, publish)
        run.update(status="complete")
    except BaseException as error:
        try:
            has_work = (
                is_resumed or run.fitted_methods or any(run.folder.glob("methods/*/train.jsonl"))
            )
            has_requests = (
                run.folder / REQUESTS
            ).exists()  # answers that need not be asked for again
            is_error = isinstance(error, Exception)
            publish(RunEnded("failed", str(error)) if is_error else RunEnded("interrupted"))
            if not has_work and not has_requests and isinstance(error, EtudeError):
                delete_run(run)
            else:
                run.update(status="failed" if is_error else "interrupted")
            if has_work:
                report(run.folder)
        except (OSError, RunError) as report_error:
            error.add_note(f"The report on the work so far could not be written: {report_error}")
        raise
    report(run.folder)
    publish(RunEnded("complete"))


def check_files(run: Run) -> None:
    """Raise RunError for the first file of a run that is missing or cannot be read.

    Checks the files that readers and a resumed run need: those of every fitted method, and in a
    complete run of all its methods. Weights are not opened.
    """
    if not ((run.folder / "run.json").exists() or any(run.folder.glob("methods/*/method.json"))):
        return
    verdict = run.verdict
    is_complete = run.is_complete
    methods = (
        list(run.info.get("test_answered") or run.info["methods"])
        if is_complete
        else run.fitted_methods
    )
    for name in methods:
        record = read_json(run.method_folder(name) / "method.json")
        folder = run.method_folder(name) / "assistant"
        read_json(folder / FILE)
        has_weights = record["tuned"] or not find_backend(record["model"]).is_language_model
        if has_weights and not any((folder / ADAPTER).glob("*")):
            raise RunError(
                f"{folder / ADAPTER}, the trained weights of {name}, is missing. {RUN_REMEDY}"
            )
    if run.command == "train" or not (methods or verdict):
        return
    split = read_json(run.folder / "split.json")
    for name in methods:
        num_planned = read_json(run.method_folder(name) / "method.json").get("dev_rows")
        _check_answers(run, name, "dev", len(split["dev"]), num_planned)
        if is_complete:
            _check_answers(run, name, "test", len(split["test"]), run.info["test_answered"][name])


def _check_answers(run: Run, name: str, side: Side, rows: int, planned: int | None) -> None:
    file = run.method_folder(name) / "predictions.jsonl"
    num_answers = sum(line["side"] == side for line in read_lines(file))
    num_expected = min(rows, planned or rows)
    if (
        num_answers < num_expected
    ):  # more: a kill left the answers of a longer look without its record
        message = f"{file} has {num_answers} answers to {side} rows, but {num_expected} are needed"
        raise RunError(f"{message}. {RUN_REMEDY}")


def set_run_aside(run: Run) -> Run | None:
    """Free the folder for a run of the same inputs that starts from scratch.

    If a method was fitted, the run is renamed to NAME-HASH.1, or the next free number, and
    returned. Otherwise its folder is emptied, except for the lock file of this process.
    """
    if not any(run.folder.glob("methods/*/method.json")):
        for path in run.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()
        return None
    # A renamed run keeps its verdict and can still be reported and compared.
    names = (run.folder.with_name(f"{run.name}.{number}") for number in itertools.count(1))
    return Run(run.folder.rename(next(folder for folder in names if not folder.exists())))


def delete_run(run: Run) -> None:
    """Delete a run that this process holds, and the folder of all runs if it was the only one."""
    shutil.rmtree(run.folder)
    with contextlib.suppress(OSError):  # the folder holds other runs
        run.folder.parent.rmdir()
