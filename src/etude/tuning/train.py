"""All steps of one training, in order: read, check, split, estimate, ask, train, save.

task.yaml + examples  ->  a run folder with an assistant, train.jsonl, report.html, report.md
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from etude.assistant import Assistant
from etude.base.files import Json, read_json
from etude.base.formatting import format_count, format_size
from etude.checks.quick_checks import list_label_notes, run_quick_checks
from etude.checks.rows.whole_set import USUAL_SIZES
from etude.data.dataset import (
    COMPARE_MIN,
    MIN_DEV_ROWS,
    MIN_TEST_ROWS,
    MIN_TRAIN_ROWS_WITH_TEST,
    MIN_VERDICT_ROWS,
    TRAIN_MIN,
    MinRows,
)
from etude.data.formats.columns import BY_COLUMN_NAMES
from etude.data.splits import Split
from etude.errors import Declined
from etude.methods import unused_keys
from etude.methods.fine_tune import FineTune, train_student
from etude.methods.method import check_lengths
from etude.methods.shared.fit_context import Effort, FitContext, initial_assistant
from etude.methods.shared.training_rows import list_left_out, sample_share
from etude.methods.shared.training_run import TrainingRun, build_training_run
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.report import write_report
from etude.runs import Run
from etude.runs.events import NoteEvent, OnEvent, TrainingPrepared
from etude.runs.fingerprints import compute_fingerprints
from etude.runs.lifecycle import TaskRun, load_task_rows, run_to_end
from etude.runs.progress import choose_reporter
from etude.runs.questions import Confirm, answer_unasked
from etude.runs.record import write_data_record, write_method_record
from etude.runs.split import count_sides, load_split
from etude.runs.training_log import TrainingLog
from etude.task import Task

METHOD = FineTune()
NAME = METHOD.name


@dataclass(frozen=True)
class Training:
    """The run folder of a finished training."""

    run: Run

    @property
    def record(self) -> Json:
        """method.json: settings with their reasons, losses, notes."""
        return read_json(self.run.method_folder(NAME) / "method.json")

    @property
    def sentence(self) -> str:
        return str(self.record["params"]["text"])

    @property
    def assistant(self) -> Path:
        return self.run.assistant_folder(NAME)


def train(
    task_file: Path | str,
    *,
    budget: float | None = None,
    fresh: bool = False,
    on_event: OnEvent | None = None,
    confirm: Confirm = answer_unasked,
) -> Training:
    """Fine-tune the task's model on its training rows and write the run folder next to the task
    file.

    Rows are split as in `compare`, and no test row is answered or shown. If there are too few rows
    for a verdict, all of them are used to train or to choose the epoch. The result is that of the
    method fine_tune in a comparison without a budget, unless `budget` (seconds) ends the training
    earlier; the task's own budget is for comparisons. `confirm` is called if the run would need
    more than the available memory. The same call on the same inputs resumes a stopped training,
    ends with the same weights, and returns at once if the training had finished; `fresh` starts
    again.

    Raises InputError with all errors of the task and its rows, ModelError for weights and for a
    loss that is NaN or a spike, RunError for the run folder, Declined if `confirm` says no.
    """
    budget = None if budget is None or math.isinf(budget) else budget
    task_run = open_training_task(task_file)
    if budget is not None:
        task_run = replace(task_run, inputs={**task_run.inputs, "budget": f"{budget:g} s"})
    work = partial(_train, task_run, budget, confirm)
    return Training(
        run_to_end(
            task_run, work, write_report, fresh=fresh, on_event=on_event or choose_reporter()
        )
    )


def open_training_task(task_file: Path | str, least: MinRows = TRAIN_MIN) -> TaskRun:
    """Load the task and its rows. Raises InputError with all errors, including one for fewer rows
    than `least`.
    """
    task, dataset, test = load_task_rows(task_file, None, least)
    task = replace(task, methods=(NAME,))
    unused = unused_keys(METHOD, task)
    hashes = compute_fingerprints(task, dataset, test).items()
    inputs = {key: value for key, value in hashes if key not in unused} | {"command": "train"}
    return TaskRun(task, dataset, test, inputs)


def choose_min_sizes(task_run: TaskRun) -> tuple[MinRows, ...]:
    """Choose the smallest sizes of the sides: those of a comparison if its split leaves enough rows
    to train on; otherwise those of a training without a test. The split uses the first sizes for
    which there are enough rows.
    """
    num_train = len(task_run.dataset.real) - MIN_DEV_ROWS - (0 if task_run.test else MIN_TEST_ROWS)
    return (COMPARE_MIN, TRAIN_MIN) if num_train >= MIN_TRAIN_ROWS_WITH_TEST else (TRAIN_MIN,)


def _train(
    task_run: TaskRun, seconds: float | None, confirm: Confirm, run: Run, on_event: OnEvent
) -> None:
    task = task_run.task
    dataset = task_run.dataset
    test = task_run.test
    # 1. Check the rows, then split them: split.json, findings.jsonl. Nothing below gets a test row.
    checked = run_quick_checks(run, task, dataset, test, on_event, confirm)
    split = load_split(run, task, dataset, test, checked, choose_min_sizes(task_run))
    metric = choose_metric(task, split.train.real)
    notes = [*_warn_of_few_rows(task, split), *list_label_notes(task, split, metric)]
    _report_rows(task, split, write_data_record(run, task, split, metric, notes), on_event)
    # 2. Load the weights and check that no row is too long. This takes seconds and the memory of
    # the model.
    models = Models()
    student = build_student(task, split, models)
    context = FitContext(
        models=models,
        metric=metric,
        folder=run.method_folder(NAME) / "work",
        seed=task.seed,
        effort=Effort(train_seconds=seconds),
        log=TrainingLog(NAME, run.method_folder(NAME) / "train.jsonl", on_event),
    )
    share = sample_share(METHOD, task, split.train)
    rows = share.examples
    context.num_read = len(share)
    context.left_out = list_left_out(split.train, share)
    if context.left_out:
        context.notes.append(f"trained on {len(share):,} of {len(split.train.whole):,} rows")

    # 3. Check the memory, only before the first step. A resumed run has what it needs in run.json.
    def prepare_run() -> TrainingRun:
        model = models.get_trainable(student.model)
        training_run = build_training_run(
            task, student, rows, split.dev, model, left_out=context.left_out
        )
        defaults = training_run.config.defaults
        on_event(TrainingPrepared(training_run.supervision, training_run.settings, defaults))
        if not run.info.get("needs"):
            run.update(needs=confirm_memory(training_run, on_event, confirm))
        return training_run

    # 4. Train: minutes to hours, with checkpoints in work/. Then save assistant/ and method.json.
    tuned = train_student(task, student, rows, context, prepare_run)
    scoped = tuned
    if task.limits:
        from etude.limits.fit import fit_task_limits  # scikit-learn takes a second to import

        scope, clause_limits, limit_notes = fit_task_limits(task, split, models)
        scoped = replace(tuned, scope=scope, clause_limits=clause_limits)
        context.notes = [*context.notes, *limit_notes]
    scoped.save(run.method_folder(NAME) / "assistant")
    prompt = models.get(student.model).render_text(student.build_messages(split.dev[0].input))
    write_method_record(run, METHOD, tuned, context, prompt)


def build_student(task: Task, split: Split, models: Models) -> Assistant:
    """Build the assistant that will be trained, without the test. Raises InputError for too long
    train and dev rows.
    """
    start = initial_assistant(replace(task, prompt_model=None), split.train, models)
    sealed = replace(split, test=split.test.select([], "sealed"))
    check_lengths(task, [METHOD], start, sealed, models)
    return METHOD.build_untrained(task, start, split.train, models)


def _report_rows(task: Task, split: Split, notes: list[str], on_event: OnEvent) -> None:
    sizes = count_sides(split)
    test = (
        f"{sizes['test']:,} test (sealed)"
        if sizes["test"]
        else f"no test (needs {MIN_VERDICT_ROWS} rows)"
    )
    sides = f"{sizes['train']:,} train, {sizes['dev']:,} dev, {test}"
    on_event(NoteEvent(f"{sum(sizes.values()):,} rows: {sides}. Model: {task.model}."))
    for note in notes:
        on_event(NoteEvent(f"Note: {note}", detail=BY_COLUMN_NAMES in note))


def _warn_of_few_rows(task: Task, split: Split) -> list[str]:
    counts = count_sides(split)
    if sum(counts.values()) >= MIN_VERDICT_ROWS:
        return []
    sizes = (
        f"{format_count(counts['train'], 'row')} to train on and {counts['dev']} to choose the "
        "epoch"
    )
    usual = USUAL_SIZES[task.kind].report
    return [
        f"There are few rows ({sizes}), so another seed may give another result. "
        f"Usual for this kind of task: {usual}. "
        f"With at least {MIN_VERDICT_ROWS} rows, etude compare measures whether tuning helps."
    ]


def confirm_memory(training: TrainingRun, on_event: OnEvent, confirm: Confirm) -> Json:
    """Ask if less memory is available than a few steps have used. Returns the measured memory.
    Raises Declined.
    """
    from etude.training.memory.measurement import measure_training_memory
    from etude.training.memory.usage import available_memory, suggest_less_memory

    module = training.model.module
    config = training.config
    memory = measure_training_memory(module, training.rows, training.dev_rows, config)
    available = available_memory(module.device)
    if memory and available:
        on_event(
            NoteEvent(f"Memory: about {format_size(memory)} ({format_size(available)} available).")
        )
    # 0 bytes mean that the memory of the device is unknown.
    if memory > available > 0 and not confirm(
        f"This training needs about {format_size(memory)} of memory, and {format_size(available)} "
        "is available. Continue?"
    ):
        raise Declined(f"Nothing was trained. {suggest_less_memory(config)}")
    return {"memory": memory, "available_memory": available}
