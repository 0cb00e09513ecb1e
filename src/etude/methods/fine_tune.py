"""fine_tune: weights trained on the training rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, ClassVar

from etude.base.files import read_json, write_json
from etude.errors import Issue
from etude.methods.method import (
    Assistant,
    Candidate,
    Dataset,
    Example,
    FitContext,
    Method,
    RowLengths,
    Task,
)
from etude.methods.shared.fit_context import choose_max_tokens
from etude.methods.shared.fitted_search import FittedSearch
from etude.methods.shared.instructions import choose_instructions
from etude.methods.shared.replay import add_replayed_rows
from etude.methods.shared.training_rows import find_too_long_to_train, update_max_tokens
from etude.methods.shared.training_run import (
    CHECKPOINT,
    TrainingRecord,
    TrainingRun,
    build_training_run,
)
from etude.models.registry import Models, find_backend
from etude.types import ModelRef

if TYPE_CHECKING:
    from etude.training.config import EarlierTraining, TrainConfig

ADAPTER_SETTINGS = ("rank", "alpha", "targets", "epochs", "seed")
"""The settings that a training must share with one that it continues."""


class FineTune(Method):
    """A LoRA adapter, trained to give the training answers.

    The epoch with the lowest loss on dev is kept. The prompt is short, because the weights learn
    the rest; shared/instructions.py chooses its instructions.
    """

    name = "fine_tune"
    label = "Tuned small model"
    tuned = True
    prompted = False
    keys: ClassVar[tuple[str, ...]] = ("model", "train")

    def is_supported(self, task: Task) -> bool:
        """Whether the model has weights to train, or learns rows by itself."""
        return not {"train", "learn"}.isdisjoint(find_backend(task.model).can)

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Train, from the last checkpoint if an earlier attempt was stopped."""
        rows: Sequence[Example] = train.examples[:]
        dev_rows = context.loss_sample(dev)
        student = self.build_untrained(task, start, train, context.models)
        dev_to_train = dev_rows
        # A method with passages fits its search first; then training uses the passages that the
        # search will find.
        if fitted := self.fit_passages(task, train, dev, context):
            student = replace(student, search=fitted.ref)
            rows = fitted.add_passages(rows)
            dev_to_train = replace(dev_rows, examples=tuple(fitted.add_passages(dev_rows.examples)))

        def build_run() -> TrainingRun:
            model = context.models.get_trainable(student.model)
            run = build_training_run(
                task,
                student,
                rows,
                dev_to_train,
                model,
                context.left_out,
                context.effort.train_rows,
            )
            context.log({"supervision": list(run.supervision)})
            return run

        tuned = train_student(task, student, rows, context, build_run)
        return context.choose([Candidate("best epoch", tuned)], dev).assistant

    def fit_passages(
        self, task: Task, train: Dataset, dev: Dataset, context: FitContext
    ) -> FittedSearch | None:
        """Fit the search whose passages the rows are trained with; None if they are trained
        without.
        """
        return None

    def build_untrained(
        self, task: Task, start: Assistant, train: Dataset, models: Models
    ) -> Assistant:
        """Build an assistant of the untrained model with the short prompt of training, without
        passages.
        """
        model = ModelRef(task.model)
        # If prompts use another model, max_tokens is counted again with this model's tokenizer.
        same = task.max_tokens is not None or start.model == model
        return replace(
            start.without_examples(),
            search=None,
            num_passages=1,
            enforced=False,
            method=self.name,
            model=model,
            instructions=choose_instructions(task).text,
            instructions_role="system",
            max_tokens=start.max_tokens if same else choose_max_tokens(train, models, model),
        )

    def find_too_long(self, task: Task, start: Assistant, rows: RowLengths) -> Iterator[Issue]:
        """Find rows that the model cannot be trained on, and rows that it could not answer
        afterwards.
        """
        student = self.build_untrained(task, start, rows.train, rows.models)
        alternatives = " or leave it out"
        if len(task.methods) > 1:
            alternatives = f", leave it out, or leave {self.name} out of `methods:`"
        issues: list[Issue] = []
        if not learns_by_itself(task):
            model = rows.models.get_trainable(student.model)
            known_rows = (*rows.train.whole, *rows.dev.whole)
            issues += find_too_long_to_train(
                student, known_rows, model, task.row_tokens, alternatives
            )
            yield from issues
        # A row that is too long to train on must not decide max_tokens for the others.
        student = update_max_tokens(issues, task, student, rows.train, rows.models)
        remedy = f"shorten the row{alternatives}"
        yield from rows.find_too_long(
            student, f"the prompt of {self.name}", remedy, ["dev", "test"]
        )


METHOD = FineTune()


def learns_by_itself(task: Task) -> bool:
    """Whether the task's model needs no training loop."""
    return "learn" in find_backend(task.model).can


def train_student(
    task: Task,
    student: Assistant,
    rows: Sequence[Example],
    context: FitContext,
    build_run: Callable[[], TrainingRun],
) -> Assistant:
    """Train the student on `rows` and return it with the adapter; settings, seconds and notes go
    into the context.

    Trains once per folder of a context, from the last checkpoint if an earlier attempt was stopped.
    `build_run` makes the run if the model needs the training loop.
    """
    record_file = context.folder / "trained.json"
    adapter = context.folder / "adapter"
    if not record_file.exists():
        if learns_by_itself(task):
            started = time.perf_counter()
            sentence, note = context.models.get_learning(student.model).learn(rows, adapter)
            seconds = time.perf_counter() - started
            result = TrainingRecord(
                {"rows": len(rows), "text": sentence, "seconds": seconds}, (note,)
            )
        else:
            run = build_run()
            started = time.perf_counter()
            run = add_replayed_rows(run, task, context)
            run = replace(run, earlier=find_earlier(run.config, context))
            result = run.train(
                context.folder, task.model, context.log, box=context.make_box(started)
            )
        # The record is written last: with it, the training is done and its checkpoints are useless.
        write_json(record_file, asdict(result))
        shutil.rmtree(context.folder / CHECKPOINT, ignore_errors=True)
    record = read_json(record_file)
    context.params.update(record["params"], instructions=choose_instructions(task).extent)
    context.train_seconds += record["params"]["seconds"]
    context.record_training(record["params"].get("trained_rows"))
    if full_seconds := record["params"].get("full_seconds"):
        context.is_cut = True
        context.full_seconds = full_seconds
    context.notes.extend(record["notes"])
    return replace(student, model=replace(student.model, adapter=adapter))


def find_earlier(config: TrainConfig, context: FitContext) -> EarlierTraining | None:
    """Find the training of the method's first look, if adapters with these settings can go on from
    it in their time.
    """
    from etude.training.config import EarlierTraining

    record_file = context.first_look / "trained.json" if context.first_look else None
    if record_file is None or not record_file.exists() or context.effort.train_seconds is None:
        return None
    params = read_json(record_file)["params"]
    own = {**config.to_dict(), "targets": list(config.targets)}
    settings = params.get("settings", {})
    is_same = all(settings.get(name) == own[name] for name in ADAPTER_SETTINGS)
    if not (is_same and params["best_epoch"] and {"full_seconds", "kept_steps"} <= {*params}):
        return None
    return EarlierTraining(
        record_file.with_name("adapter"), params["kept_steps"], params["seconds"]
    )
