"""fine_tune: weights trained on the training rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from etude.assistant import Assistant
from etude.base.files import read_json, write_json
from etude.data.dataset import Dataset
from etude.errors import Issue
from etude.evaluate import evaluate, sample_of
from etude.methods.fit_context import Candidate, FitContext, longest_answer
from etude.methods.foresight.row_lengths import RowLengths
from etude.methods.foresight.timing import spread
from etude.methods.method import Method, TrainingTime
from etude.methods.tuned.prompt import kept_by_tuned
from etude.methods.tuned.training_rows import too_long_to_train, training_rows, with_room_for
from etude.methods.tuned.training_run import (
    CHECKPOINT,
    Facts,
    TrainingRun,
    config_for,
    token_rows,
    training_run,
)
from etude.models.registry import Models, backend_of
from etude.stats.intervals import estimate_sample
from etude.task import Task
from etude.types import Example, ModelRef

TIMED_ROWS = 200
"""Rows whose lengths stand for those of all rows."""


@dataclass(frozen=True)
class FineTune(Method):
    """A LoRA adapter, or with `train: {weights: full}` all weights, trained to give the training answers; the
    best epoch by loss on dev is kept, or by the metric on dev where the task asks for it
    (`train: {dev_metric: true}`).

    The prompt is short, since the weights carry the rest: tuned/prompt.py has what of the instructions it holds.
    """

    name: ClassVar[str] = "fine_tune"
    label: ClassVar[str] = "Fine-tuned"
    tuned: ClassVar[bool] = True
    prompted: ClassVar[bool] = False
    keys: ClassVar[tuple[str, ...]] = ("model", "train")
    copies: ClassVar[bool] = False
    """Whether the answer is in what the model is shown."""

    def suits(self, task: Task) -> bool:
        """Whether the model has weights to train, or learns by itself."""
        return not {"train", "learn"}.isdisjoint(backend_of(task.model).can)

    def takes(self, task: Task) -> tuple[str, ...]:
        """With the keys of the metric where it chooses the epoch."""
        return (*self.keys, "metric", "check") if task.train.get("dev_metric") else self.keys

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Trains; goes on from the last checkpoint where an earlier attempt was killed."""
        drawn, dev_rows = training_rows(task, train, context), context.dev_sample(dev)
        untrained = self.asked(task, start, train, context.models)
        student, rows, shown_dev = self.prepared(task, train, dev, untrained, drawn, dev_rows, context)

        def prepare() -> TrainingRun:
            model = context.models.trainable(student.model)
            run = training_run(task, student, train, rows, shown_dev, model, context.effort.epochs)
            context.log({"supervision": list(run.supervision)})
            return run

        tuned = trained(task, student, rows, dev_rows, context, prepare)
        return context.choose([Candidate("best epoch", tuned)], dev).assistant

    def prepared(
        self,
        task: Task,
        train: Dataset,
        dev: Dataset,
        student: Assistant,
        rows: Sequence[Example],
        dev_rows: Dataset,
        context: FitContext,
    ) -> tuple[Assistant, Sequence[Example], Dataset]:
        """The student, and the training and dev rows as it is to read them in training."""
        return student, rows, dev_rows

    def asked(self, task: Task, start: Assistant, train: Dataset, models: Models) -> Assistant:
        """The task's model under the short prompt that training will use, not yet trained, without passages.

        Where another model answered the prompts, room for the answer is counted anew with its own tokenizer.
        """
        model = ModelRef(task.model)
        same = task.max_tokens is not None or start.model == model
        return replace(
            start.without_examples(),
            search=None,
            num_passages=1,
            enforced=False,
            method=self.name,
            model=model,
            instructions=kept_by_tuned(task).text,
            place="system",
            max_tokens=start.max_tokens if same else longest_answer(train, models, model),
        )

    def training_time(
        self, task: Task, start: Assistant, train: Dataset, models: Models, answer: float
    ) -> TrainingTime | None:
        """With the loss on dev before training and after each epoch, and with answers to dev as often where the task
        chooses the epoch by the metric."""
        if learns_by_itself(task):
            return None
        from etude.training import estimate_speed

        student = self.asked(task, start, train, models)
        model = models.trainable(student.model)
        examples = spread(train, TIMED_ROWS)
        rows = token_rows(model, student, examples)
        pace = estimate_speed(model.module, rows, config_for(task, model, len(train)), rows)
        answered = answer if task.train.get("dev_metric") else 0.0

        def seconds(num_rows: int, num_dev: int, most_epochs: int | None) -> float:
            epochs = config_for(task, model, num_rows, most_epochs, copies=self.copies).epochs
            steps_and_losses = pace.seconds(epochs, num_rows / len(examples), num_dev / len(examples))
            return steps_and_losses + (epochs + 1) * num_dev * answered

        return seconds

    def too_long(self, task: Task, start: Assistant, rows: RowLengths) -> Iterator[Issue]:
        """Rows that the model cannot be trained on, and rows that it could not answer afterwards."""
        student = self.asked(task, start, rows.train, rows.models)
        others = len(task.methods) > 1
        otherwise = (
            f", leave it out, or leave {self.name} out of `methods:`" if others else " or leave it out"
        )
        faults: list[Issue] = []
        if not learns_by_itself(task):
            model = rows.models.trainable(student.model)
            faults += too_long_to_train(student, (*rows.train, *rows.dev), model, task.row_tokens, otherwise)
            yield from faults
        student = with_room_for(faults, task, student, rows.train, rows.models)
        remedy = f"shorten the row{otherwise}"
        yield from rows.unanswered(student, f"the prompt of {self.name}", remedy, ["dev", "test"])


METHOD = FineTune()


def learns_by_itself(task: Task) -> bool:
    """Whether the task's model needs no training loop."""
    return "learn" in backend_of(task.model).can


def trained(
    task: Task,
    student: Assistant,
    rows: Sequence[Example],
    dev: Dataset,
    context: FitContext,
    prepare: Callable[[], TrainingRun],
) -> Assistant:
    """`student` with the adapter that training on `rows` gives; what is known of it goes into the context.

    `prepare` makes the run, where the training loop is needed. Trains once for each context's folder, and goes on
    where an earlier attempt was killed.
    """
    done, adapter = context.folder / "trained.json", context.folder / "adapter"
    if not done.exists():
        if learns_by_itself(task):
            facts = _learned(context.models, student.model, rows, adapter)
        else:
            measure = partial(dev_score, student, dev, context) if task.train.get("dev_metric") else dict
            facts = prepare().train(context.folder, task.model, context.log, measure, context.more)
        write_json(done, asdict(facts))
        shutil.rmtree(context.folder / CHECKPOINT, ignore_errors=True)
    kept = read_json(done)
    context.params.update(kept["params"], instructions=kept_by_tuned(task).part)
    context.train_seconds += kept["params"]["seconds"]
    context.learned = len(rows)
    context.notes.extend(kept["notes"])
    return replace(student, model=replace(student.model, adapter=adapter))


def _learned(models: Models, ref: ModelRef, rows: Sequence[Example], adapter: Path) -> Facts:
    """Has a model learn the rows by itself."""
    started = time.perf_counter()
    sentence, note = models.learning(ref).learn(rows, adapter)
    return Facts(
        {"rows": len(rows), "text": sentence, "seconds": time.perf_counter() - started},
        (note,),
    )


def dev_score(student: Assistant, dev: Dataset, context: FitContext) -> Mapping[str, Any]:
    """The metric on dev as the weights under training answer it: `score` with its interval and n."""
    from etude.training.layers.lora import merged

    with merged(context.models.trainable(student.model).module):
        scored = evaluate(student, context.models, dev, context.metric)
    found = estimate_sample(sample_of(context.metric, [row.outcome for row in scored]))
    return {"score": found.value, "low": found.low, "high": found.high, "n": found.n}
