"""The rows that a model is trained on, and those that are too long for it."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from etude.assistant import TOKEN_MARGIN, Assistant
from etude.data.dataset import Dataset
from etude.errors import Issue
from etude.methods.fit_context import FitContext, choose_max_tokens
from etude.methods.shared.training_run import build_token_rows
from etude.models.registry import Models
from etude.task import Task
from etude.types import Example, TrainableModel


def choose_training_rows(task: Task, train: Dataset, context: FitContext) -> Sequence[Example]:
    """Choose the rows to train on: all, or a seeded sample as large as the task and the plan allow."""
    limits = [int(limit) for limit in (context.effort.train_rows, task.train.get("max_rows")) if limit]
    size = min([len(train), *limits])
    if size == len(train):
        return train.examples
    context.notes.append(f"trained on {size:,} of {len(train):,} rows")
    return sample_training_rows(task, train, size).examples


def sample_training_rows(task: Task, train: Dataset, size: int) -> Dataset:
    """Sample `size` training rows, in their old order; `train` itself if it has no more."""
    if size >= len(train):
        return train
    positions = sorted(random.Random(f"{task.seed}/train").sample(range(len(train)), size))
    return train.select(positions, f"{size:,} of {len(train):,} training rows")


def find_too_long_to_train(
    student: Assistant, rows: Iterable[Example], model: TrainableModel, limit: int, alternatives: str
) -> Iterator[Issue]:
    """Find rows with more tokens than the model can read or than the task's `limit`; the remedy says a limit that is
    enough for all of them, and ends with the `alternatives`."""
    max_tokens = min(limit, model.context)
    message = f"the row is longer than the {max_tokens} tokens that {student.method} can be trained on"
    counts = [(row, _count_tokens_above(student, row, model, max_tokens)) for row in rows]
    long_rows = [(row, tokens) for row, tokens in counts if tokens]
    readable = [tokens for _, tokens in long_rows if tokens <= model.context]
    for row, tokens in long_rows:
        allow = f", set train: {{max_tokens: {max(readable)}}}" if tokens <= model.context else ""
        remedy = f"shorten the row{allow}{alternatives}"
        yield Issue(row.location or row.id, message, f"{tokens} tokens with its answer", remedy)


def update_max_tokens(
    issues: Sequence[Issue], task: Task, student: Assistant, train: Dataset, models: Models
) -> Assistant:
    """Give the student the room for an answer that the rows without `issues` need, so no row is reported for another
    row's length."""
    locations = {issue.location for issue in issues}
    ids = [row.id for row in train if (row.location or row.id) not in locations]
    # Nothing changes if the task sets it, or if no row, or every row, can be learned.
    if task.max_tokens is not None or not ids or len(ids) == len(train):
        return student
    max_tokens = choose_max_tokens(train.select(ids, "those that can be learned"), models, student.model)
    return replace(student, max_tokens=max_tokens)


def _count_tokens_above(student: Assistant, row: Example, model: TrainableModel, max_tokens: int) -> int:
    """Count the tokens of the row with its answer; 0 if they are not above `max_tokens`."""
    text = model.render_text(student.build_messages(row.input)) + row.output
    if len(text.encode()) + TOKEN_MARGIN <= max_tokens:
        return 0  # a token is at least a byte: no need to count
    tokens = max(len(token_row.ids) for token_row in build_token_rows(model, student, [row]))
    return tokens if tokens > max_tokens else 0
