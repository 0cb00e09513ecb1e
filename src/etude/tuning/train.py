"""The whole path of one training, top to bottom: read, split, tell, foresee, ask, train, keep.

task.yaml + examples  ->  a run folder with an assistant, train.jsonl, report.html, report.md
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from etude.base.files import Json, read_json
from etude.base.processes import World, joined
from etude.base.wording import count
from etude.checks.quick_checks import row_notes, run_quick_checks
from etude.checks.rows.enough import USUAL
from etude.data.dataset import VERDICT_LEAST
from etude.data.formats.columns import BY_NAMES
from etude.data.splits import Split
from etude.errors import Declined
from etude.methods.fine_tune import trained
from etude.methods.fit_context import FitContext
from etude.methods.tuned.training_rows import training_rows
from etude.methods.tuned.training_run import CHECKPOINT, TrainingRun
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.report import write_report
from etude.runs import Run
from etude.runs.events import NoteEvent, OnEvent, TrainingPrepared
from etude.runs.lifecycle import TaskRun, carry_out
from etude.runs.questions import Confirm, agreed
from etude.runs.record import describe_data, write_record
from etude.runs.split import sizes_of, split_once
from etude.runs.training_log import TrainingLog
from etude.task import Task
from etude.tuning.foresight import disk_in_words, foreseen, held, question, question_of_memory, remedy
from etude.tuning.task_run import METHOD, NAME, check_processes, checked_student, opened, sizes, training

if TYPE_CHECKING:
    from etude.training.config import TrainConfig


@dataclass(frozen=True)
class Training:
    """A finished training: its run folder, and what is in it."""

    run: Run

    @property
    def record(self) -> Json:
        """method.json: settings with their reasons, losses, notes."""
        return read_json(self.run.method(NAME) / "method.json")

    @property
    def sentence(self) -> str:
        """What came of it."""
        return str(self.record["params"]["text"])

    @property
    def assistant(self) -> Path:
        """The folder of what was trained, for `etude.assistant.load`."""
        return self.run.assistant(NAME)


def train(
    task_file: Path | str,
    *,
    budget: float | None = None,
    fresh: bool = False,
    on_event: OnEvent = lambda event: None,
    confirm: Confirm = agreed,
) -> Training:
    """Fine-tunes the task's model on its training rows and writes the run folder beside the task file.

    Rows are split as `compare` splits them, and no test row is answered or shown (where they are too few for a
    verdict on tuning, all of them train or choose the epoch); what is trained is what
    the method fine_tune of a comparison without a budget trains. `confirm` is asked once where the run would
    exceed `budget` (seconds; the task's where None; one hour where there is none) or the memory there is.
    The same call on the same inputs goes on where an earlier one stopped, to the same weights, and returns
    at once where it had finished; `fresh` starts anew. Under torchrun all processes call it: the first does
    and tells everything, the others take part in the steps, and all return the same run.
    Raises InputError for faults of the task or its rows (all of them), ModelError for weights and for a
    loss that is no number or a spike, RunError for the run folder, Declined when `confirm` says no, Parted
    where another process has ended.
    """
    with joined() as world:
        if world.leads:
            run = _led(opened(task_file, budget), fresh, world, on_event, confirm)
            world.broadcast({"over": str(run.folder.absolute())})
            return Training(run)
        from etude.training.distributed.workers import run_jobs

        return Training(Run(Path(run_jobs(world))))


def _led(task_run: TaskRun, fresh: bool, world: World, on_event: OnEvent, confirm: Confirm) -> Run:
    """What process 0 does, which is all but its share of the steps."""
    check_processes(task_run.task, world)
    work = partial(_train, task_run, world, confirm)
    return carry_out(task_run, work, write_report, fresh=fresh, on_event=on_event)


def _train(task_run: TaskRun, world: World, confirm: Confirm, run: Run, on_event: OnEvent) -> None:
    """From the split to the assistant. Behind the split nothing is given a test row."""
    task, dataset, test = task_run.task, task_run.dataset, task_run.test
    checked = run_quick_checks(run, task, dataset, test, on_event, confirm)
    parts = split_once(run, task, dataset, test, checked, sizes(task_run))
    metric = choose_metric(task, parts.train)
    noted = [*_few_to_train_on(task, parts), *row_notes(task, parts, metric)]
    _tell(task, parts, describe_data(run, task, parts, metric, noted), on_event)
    models = Models()
    student = checked_student(task, parts, models)
    context = FitContext(
        models=models,
        metric=metric,
        folder=run.method(NAME) / "work",
        seed=task.seed,
        log=TrainingLog(
            NAME, run.method(NAME) / "train.jsonl", on_event, lambda: run.info.get("plan", {}).get("seconds")
        ),
    )
    rows = training_rows(task, parts.train, context)

    def prepared() -> TrainingRun:
        found = replace(training(task, student, parts, rows, models), world=world)
        on_event(TrainingPrepared(found.supervision, found.settings, found.config.defaults))
        if not run.info.get("plan"):
            disk = disk_in_words(found, context.folder / CHECKPOINT)
            on_event(NoteEvent(disk, detail=True))
            _agree_to_hold(found, confirm)
            on_event(NoteEvent("Timing a few steps ...", detail=True))
            expected = foreseen(task, found, student, parts.dev, models)
            _agree(run, task, expected, found.config, on_event, confirm)
        return found

    tuned = trained(task, student, rows, parts.dev, context, prepared)
    tuned.save(run.method(NAME) / "assistant")
    prompt = models.get(student.model).render_text(student.messages(parts.dev[0].input))
    write_record(run, METHOD, tuned, context, prompt)


def _tell(task: Task, parts: Split, notes: list[str], on_event: OnEvent) -> None:
    sizes = sizes_of(parts)
    test = f"{sizes['test']:,} test (sealed)" if sizes["test"] else f"no test (needs {VERDICT_LEAST} rows)"
    sides = f"{sizes['train']:,} train, {sizes['dev']:,} dev, {test}"
    on_event(NoteEvent(f"{sum(sizes.values()):,} rows: {sides}. Model: {task.model}."))
    for note in notes:
        on_event(NoteEvent(f"Note: {note}", detail=BY_NAMES in note))


def _few_to_train_on(task: Task, parts: Split) -> list[str]:
    """A note if the rows are too few for a verdict."""
    if sum(sizes_of(parts).values()) >= VERDICT_LEAST:
        return []
    return [
        f"{count(len(parts.train), 'row')} to train on and {len(parts.dev)} to choose the epoch are few: another "
        f"seed may give another result. Reported for tasks of this kind: {USUAL[task.kind].report}. With "
        f"{VERDICT_LEAST} rows or more, etude compare says whether tuning helps."
    ]


def _agree_to_hold(training: TrainingRun, confirm: Confirm) -> None:
    """Ask if less memory is available than the run needs, before a timed step allocates it."""
    from etude.training.memory.usage import less_memory

    if (asked := question_of_memory(held(training))) and not confirm(asked):
        raise Declined(f"Nothing was trained. {less_memory(training.config, at_rest=True)}")


def _agree(
    run: Run, task: Task, expected: Json, config: TrainConfig, on_event: OnEvent, confirm: Confirm
) -> None:
    """Report what the run will take and ask if that is too much; keep it, so a resumed run does not ask again."""
    first, *others = expected["lines"]
    on_event(NoteEvent(first))
    for line in others:
        on_event(NoteEvent(line, detail=True))
    if (asked := question(expected, task.budget_seconds)) and not confirm(asked):
        raise Declined(f"Nothing was trained. {remedy(expected, task.budget_seconds, config)}")
    run.update(plan=expected)
