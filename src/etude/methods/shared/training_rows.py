"""A method's share of the training rows, and rows that are too long to train on."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from etude.assistant import TOKEN_MARGIN, Assistant, PromptLimit
from etude.data.dataset import Dataset, count_reads
from etude.errors import Issue
from etude.methods.method import Method
from etude.methods.shared.fit_context import FitContext, choose_max_tokens, name_shape
from etude.methods.shared.training_run import build_token_rows, locate
from etude.models.registry import Models
from etude.stats.sample import order_by_strata
from etude.task import Task
from etude.types import Example, TrainableModel


def sample_share(method: Method, task: Task, train: Dataset) -> Dataset:
    """Sample the training rows of a method: as many as the task allows. Training reads a
    conversation once, with all its answers, so it gets no separate rows of earlier turns.
    """
    if "train" not in method.keys:
        return train
    return sample_training_rows(task, train.whole, int(task.train.get("max_rows") or len(train)))


def list_left_out(train: Dataset, share: Dataset) -> list[str]:
    """List the locations of the training rows that are not in the share."""
    ids = {row.id for row in share}
    return [locate(row) for row in train.whole if row.id not in ids]


def fit_on_share(
    method: Method, task: Task, share: Dataset, dev: Dataset, start: Assistant, context: FitContext
) -> Assistant:
    """Fit the method on its share, and count in the context how many rows of it were read."""
    rows, positions_read = count_reads(share)
    assistant = method.fit(task, rows, dev, start, context)
    context.num_read = len(
        {share[position].conversation or position for position in positions_read}
    )
    return assistant


def sample_training_rows(task: Task, train: Dataset, size: int) -> Dataset:
    """Sample `size` training rows in their original order; return `train` if it is not larger. A
    conversation is one row, with all its questions.

    A large enough sample has every label or set of fields. With one seed, small samples are part of
    large ones.
    """
    conversations = train.whole
    if size >= len(conversations):
        return train
    shapes = [name_shape(task.kind, task.contract, example) for example in conversations]
    positions = order_by_strata(shapes, random.Random(f"{task.seed}/train"))[:size]
    ids = {conversations[position].id for position in positions}
    names = [row.id for row in train if (row.conversation or row.id) in ids]
    return train.select(names, f"{size:,} of {len(conversations):,} training rows")


def find_too_long_to_train(
    student: Assistant,
    rows: Iterable[Example],
    model: TrainableModel,
    limit: int,
    alternatives: str,
) -> Iterator[Issue]:
    """Find rows with more tokens than the model's context or the task's `limit`. The remedy
    contains a limit that is enough for all of them, and ends with the `alternatives`.
    """
    max_tokens = min(limit, model.context)
    message = (
        f"the row is longer than the {max_tokens} tokens that {student.method} can be trained on"
    )
    prompt_limit = PromptLimit(student, model)
    counts = [(row, _count_tokens_above(prompt_limit, row, model, max_tokens)) for row in rows]
    long_rows = [(row, tokens) for row, tokens in counts if tokens]
    readable = [tokens for _, tokens in long_rows if tokens <= model.context]
    for row, tokens in long_rows:
        allow = f", set train: {{max_tokens: {max(readable)}}}" if tokens <= model.context else ""
        remedy = f"shorten the row{allow}{alternatives}"
        yield Issue(
            row.location or row.id, message, f"{tokens} tokens including its answer", remedy
        )


def update_max_tokens(
    issues: Sequence[Issue], task: Task, student: Assistant, train: Dataset, models: Models
) -> Assistant:
    """Set the student's `max_tokens` to what rows without `issues` need: no row is reported because
    of a long one.
    """
    locations = {issue.location for issue in issues}
    ids = [row.id for row in train if (row.location or row.id) not in locations]
    # Nothing changes if the task sets max_tokens, if no row can be learned, or if all rows can be.
    if task.max_tokens is not None or not ids or len(ids) == len(train):
        return student
    max_tokens = choose_max_tokens(
        train.select(ids, "those that can be learned"), models, student.model
    )
    return replace(student, max_tokens=max_tokens)


def _count_tokens_above(
    limit: PromptLimit, row: Example, model: TrainableModel, max_tokens: int
) -> int:
    student = limit.assistant
    messages = student.build_messages(row.input)
    if limit.is_clearly_within(messages, max_tokens - len(row.output.encode()) - TOKEN_MARGIN):
        return 0  # a token is at least a byte: no need to count
    tokens = max(len(token_row.ids) for token_row in build_token_rows(model, student, [row]))
    return tokens if tokens > max_tokens else 0
