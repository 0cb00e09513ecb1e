"""Which rows a model is trained on, and which are too long for it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from etude.assistant import SEAMS, Assistant
from etude.data.dataset import Dataset
from etude.errors import Issue
from etude.methods.fit_context import FitContext, longest_answer
from etude.methods.tuned.training_run import token_rows
from etude.models.registry import Models
from etude.task import Task
from etude.types import Example, TrainableModel


def training_rows(task: Task, train: Dataset, context: FitContext) -> Sequence[Example]:
    """The rows to train on: all, or a seeded draw as large as the task or the plan allows."""
    limits = [int(limit) for limit in (context.effort.train_rows, task.train.get("max_rows")) if limit]
    size = min([len(train), *limits])
    if size == len(train):
        return train.examples
    context.notes.append(f"trained on {size:,} of {len(train):,} rows")
    return drawn(task, train, size).examples


def drawn(task: Task, train: Dataset, size: int) -> Dataset:
    """The seeded draw of `size` training rows, in their old order; `train` itself where it has no more."""
    if size >= len(train):
        return train
    chosen = sorted(random.Random(f"{task.seed}/train").sample(range(len(train)), size))
    return train.select(chosen, f"{size:,} of {len(train):,} training rows")


def too_long_to_train(
    student: Assistant, rows: Iterable[Example], model: TrainableModel, limit: int, otherwise: str
) -> Iterator[Issue]:
    """Rows of more tokens than the model can read, or than the task's `limit`, with one limit that takes them all.
    `otherwise` ends what to do."""
    most = min(limit, model.context)
    what = f"the row is longer than the {most} tokens that {student.method} can be trained on"
    found = [(row, tokens) for row in rows if (tokens := _tokens_above(student, row, model, most))]
    readable = [tokens for _, tokens in found if tokens <= model.context]
    for row, tokens in found:
        allow = f", set train: {{max_tokens: {max(readable)}}}" if tokens <= model.context else ""
        yield Issue(
            row.location or row.id,
            what,
            f"{tokens} tokens with its answer",
            f"shorten the row{allow}{otherwise}",
        )


def with_room_for(
    faults: Sequence[Issue], task: Task, student: Assistant, train: Dataset, models: Models
) -> Assistant:
    """The student with the room for an answer that the rows without `faults` need, so that a row is not named for
    another's length."""
    named = {fault.location for fault in faults}
    left = [row.id for row in train if (row.location or row.id) not in named]
    if task.max_tokens is not None or not left or len(left) == len(train):
        return student
    max_tokens = longest_answer(train.select(left, "those that can be learned"), models, student.model)
    return replace(student, max_tokens=max_tokens)


def _tokens_above(student: Assistant, row: Example, model: TrainableModel, most: int) -> int:
    """Tokens of the row with its answer; 0 where they are not above `most`."""
    text = model.render_text(student.messages(row.input)) + row.output
    if len(text.encode()) + SEAMS <= most:
        return 0  # a token is at least a byte: no need to count
    tokens = max(len(found.ids) for found in token_rows(model, student, [row]))
    return tokens if tokens > most else 0
