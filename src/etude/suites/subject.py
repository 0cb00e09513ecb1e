"""What is tested: an assistant, the base beside it, the dev rows, and where the results go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from etude import assistant as saved
from etude.assistant import Assistant
from etude.base.files import read_json
from etude.data.dataset import Dataset, load_dataset
from etude.errors import InputError, Issue, RunError, quote_value
from etude.methods import ladder
from etude.methods.fit_context import blank
from etude.metrics import Metric
from etude.models.registry import Models, backend_of
from etude.runs import FOLDER, Run, find_run
from etude.runs.recommended import recommended
from etude.task import Task, load_task
from etude.types import ModelRef

BASE = "prompt"
"""The method that is the base: the untuned model with the task's instructions."""
NO_ROWS = Dataset(())
TESTS = "tests"
"""Folder of a run's tests."""


@dataclass(frozen=True)
class Subject:
    """An assistant and what is known about it."""

    name: str
    """The method's name, or the folder's."""
    assistant: Assistant
    base: Assistant
    """The untuned model that the assistant came from, with the task's instructions alone."""
    folder: Path
    """Where results are written."""
    task: Task | None = None
    """None for an assistant's folder outside a run."""
    run: Run | None = None
    dev: Dataset = NO_ROWS
    train: Dataset = NO_ROWS
    metric: Metric | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def learned(self) -> frozenset[str]:
        """Questions of the training rows, which are not asked but to see what they give away."""
        return frozenset(row.input[-1].content for row in self.train)

    @property
    def instructions(self) -> str:
        """What both were told."""
        return self.task.instructions if self.task else self.assistant.instructions


def find_subject(place: Path, run_name: str | None, method: str | None, models: Models) -> Subject:
    """The assistant at a run folder, a task (its latest run, or `run_name`), or an assistant's folder.

    Raises RunError if there is no run or assistant, InputError if the task of a run can no longer be read.
    """
    place = place.resolve()
    if (place / saved.FILE).exists():
        run = Run(place.parent.parent.parent)
        inside = place.parent.parent.name == "methods" and (run.folder / "run.json").exists()
        return _of_run(run, place.parent.name, models) if inside else _alone(place)
    if (place / "run.json").exists():
        return _of_run(Run(place), method, models)
    if not place.exists():
        remedy = "name a task file, a run's folder or an assistant's folder"
        raise InputError([Issue(str(place), "no such file or folder", quote_value(str(place)), remedy)])
    root = (place if place.is_dir() else place.parent) / FOLDER
    return _of_run(find_run(root, run_name), method, models)


def _alone(folder: Path) -> Subject:
    assistant = saved.load(folder)
    if not backend_of(assistant.model.name).is_language_model:
        what, remedy = (
            "an assistant without a language model is tested in its run alone",
            "name the run's folder",
        )
        raise InputError([Issue(str(folder), what, assistant.model.name, remedy)])
    base = replace(
        assistant.without_examples(),
        method=BASE,
        model=ModelRef(assistant.model.name),
        search=None,
        enforced=False,
        handover=None,
    )
    note = "No task is known here: without dev rows, metric and gates only the starter pack is asked."
    return Subject(folder.name, assistant, base, folder.with_name(f"{folder.name}-{TESTS}"), notes=(note,))


def _of_run(run: Run, method: str | None, models: Models) -> Subject:
    name, why = (method, "") if method else recommended(run)
    assistant = saved.load(run.assistant(name))
    info = run.info
    task, rows = load_dataset(load_task(run.task_file))
    split = read_json(run.folder / "split.json")
    ids = {row.id for row in rows}
    missing = [each for side in ("train", "dev") for each in split[side] if each not in ids]
    if missing:
        raise RunError(
            f"{len(missing):,} rows of {run.name}, such as {missing[0]}, are no longer in {task.examples.file.name}. "
            f"Put the file back as it was, or run `etude {run.command} {task.file.name}` again."
        )
    train, dev = (rows.select(split[side], side) for side in ("train", "dev"))
    metric = Metric(info["metric"]["name"], task.kind, task.check.load() if task.check else None)
    base = _base(run, task, train, assistant, models)
    notes = [why.strip()]
    for each in ladder([name]):
        # One that has learned the dev rows knows the answers to questions that are made of them.
        before = each.before_dev(assistant, run.method(name))
        if before != assistant:
            assistant, note = before, f"{name} is asked as it was before it learned the dev rows too."
            notes.append(note)
    return Subject(
        name,
        assistant,
        base,
        run.folder / TESTS / name,
        task,
        run,
        dev,
        train,
        metric,
        tuple(filter(None, notes)),
    )


def _base(run: Run, task: Task, train: Dataset, assistant: Assistant, models: Models) -> Assistant:
    """The prompt step of the run if it asks the same model, else the same assistant made on the spot."""
    asked = assistant.model.name if backend_of(assistant.model.name).is_language_model else task.model
    if BASE in run.methods:
        base = saved.load(run.assistant(BASE))
        if base.model.name == asked:
            return base
    return replace(blank(replace(task, model=asked, prompt_model=None), train, models), method=BASE)
