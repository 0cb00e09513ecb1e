"""The subject of a test: an assistant, its base, the dev rows, and the folder of the results."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from etude import assistant as saved
from etude.assistant import Assistant
from etude.base.files import read_json
from etude.base.formatting import format_count
from etude.data.dataset import Dataset, load_dataset
from etude.errors import InputError, RunError, quote_value
from etude.methods import get_methods
from etude.methods.shared.fit_context import initial_assistant
from etude.metrics import Metric, restore_metric
from etude.models.registry import Models, find_backend
from etude.runs import Run, find_run
from etude.runs.folder import TESTS
from etude.runs.recommended import choose_method, describe_changes
from etude.task import Task, load_task
from etude.types import ModelRef

BASE = "prompt"  # the method of the base: the untuned model with the task's instructions
NO_ROWS = Dataset(())


@dataclass(frozen=True)
class Subject:
    """An assistant with its base, task and rows."""

    name: str  # the method's name, or the folder's
    assistant: Assistant
    base: Assistant  # the untuned model of the assistant, with only the task's instructions
    folder: Path  # the folder of the results
    task: Task | None = None  # None for an assistant's folder outside a run
    run: Run | None = None
    dev: Dataset = NO_ROWS
    train: Dataset = NO_ROWS
    metric: Metric | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def train_questions(self) -> frozenset[str]:
        """Questions of the training rows, with the turns before them; only the suite `leaks` asks
        them.
        """
        return frozenset(row.text for row in self.train)

    @property
    def instructions(self) -> str:
        return self.task.instructions if self.task else self.assistant.instructions


def find_subject(path: Path, run_name: str | None, method: str | None, models: Models) -> Subject:
    """Load the assistant of a run's folder, a task (its latest run, or `run_name`), or an
    assistant's folder.

    Raises RunError if there is no run or assistant, InputError if the task of a run can no longer
    be read.
    """
    path = path.resolve()
    if (path / saved.FILE).exists():
        run = Run(path.parent.parent.parent)
        inside = path.parent.parent.name == "methods" and (run.folder / "run.json").exists()
        return _load_from_run(run, path.parent.name, models) if inside else _load_folder(path)
    if (path / "run.json").exists():
        return _load_from_run(Run(path), method, models)
    if not path.exists():
        remedy = "give a task file, a run's folder or an assistant's folder"
        raise InputError.of(str(path), "no such file or folder", quote_value(str(path)), remedy)
    return _load_from_run(find_run(path, run_name), method, models)


def _load_folder(folder: Path) -> Subject:
    assistant = saved.load(folder)
    if not find_backend(assistant.model.name).is_language_model:
        message = "an assistant without a language model can only be tested in its run"
        raise InputError.of(str(folder), message, assistant.model.name, "give the run's folder")
    base = replace(
        assistant.without_examples().without_handover().without_limits(),
        method=BASE,
        model=ModelRef(assistant.model.name),
        search=None,
        enforced=False,
    )
    note = (
        "There is no task, so there are no dev rows, metric or gates. Only packaged questions are "
        "asked."
    )
    return Subject(
        folder.name, assistant, base, folder.with_name(f"{folder.name}-{TESTS}"), notes=(note,)
    )


def _load_from_run(run: Run, method: str | None, models: Models) -> Subject:
    name, reason = (method, "") if method else choose_method(run)
    assistant = saved.load(run.assistant_folder(name))
    info = run.info
    task, rows = load_dataset(load_task(run.task_file))
    split = read_json(run.folder / "split.json")
    ids = {row.id for row in rows}
    missing = [row_id for side in ("train", "dev") for row_id in split[side] if row_id not in ids]
    if missing:
        raise RunError(
            f"{task.examples.file.name} lacks {format_count(len(missing), 'row')} of {run.name}, "
            f"such as {missing[0]}. Restore the file, or run `etude {run.command} "
            f"{task.file.name}` again."
        )
    train, dev = (rows.select(split[side], side) for side in ("train", "dev"))
    metric = restore_metric(info["metric"], task.kind, task.check.load() if task.check else None)
    base = _load_base(run, task, train, assistant, models)
    notes = [reason.strip(), describe_changes(run)]
    for built_in in get_methods([name]):
        # An assistant that was trained on the dev rows knows the answers to questions made from
        # them.
        before = built_in.load_before_dev(assistant, run.method_folder(name))
        if before != assistant:
            assistant = before
            notes.append(f"{name} is tested in its state before it was trained on the dev rows.")
    folder = run.folder / TESTS / name
    all_notes = tuple(filter(None, notes))
    return Subject(name, assistant, base, folder, task, run, dev, train, metric, all_notes)


def _load_base(
    run: Run, task: Task, train: Dataset, assistant: Assistant, models: Models
) -> Assistant:
    """Load the method `prompt` of the run if it has the same model, else build the same
    assistant.
    """
    model_name = (
        assistant.model.name if find_backend(assistant.model.name).is_language_model else task.model
    )
    if BASE in run.fitted_methods:
        base = saved.load(run.assistant_folder(BASE)).without_limits()
        if base.model.name == model_name:
            return base
    base_task = replace(task, model=model_name, prompt_model=None)
    return replace(initial_assistant(base_task, train, models), method=BASE)
