"""Rows too long for what the methods will do with them: told all at once, before anything is fitted.

A method sees no test row, so what it will ask of one is looked at here: only whether it fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from etude.assistant import SEAMS, Assistant, Room
from etude.data.dataset import Dataset
from etude.data.splits import Split
from etude.errors import Fault, InputError, place_of
from etude.methods.fine_tune import FineTune, student_of
from etude.methods.fit_context import Method, longest_answer
from etude.methods.prompt import ClearPrompt, fitting
from etude.methods.training_run import token_rows
from etude.models.registry import Models, is_fake
from etude.task import Task
from etude.types import Example

if TYPE_CHECKING:
    from etude.models.local import LocalModel


def check_lengths(
    task: Task, methods: Sequence[Method], start: Assistant, parts: Split, models: Models
) -> None:
    """Raises InputError listing every row that the methods could not answer or be trained on.

    Each row is listed once: its prompt and answer exceed what a model can read, or the row is longer than
    training allows.
    """
    names = [method.name for method in methods]
    rows = [*parts.train, *parts.dev, *parts.test]
    found: list[Iterator[Fault]] = []
    if any(method.prompted for method in methods):
        found.append(_unanswered(start, rows, models, "the prompt", "shorten the row or take another model"))
    if ClearPrompt.name in names:
        found.append(_too_long_for_wordings(task, start, parts, models))
    if FineTune.name in names:
        found.append(_too_long_to_tune(task, start, parts, models))
    faults: dict[str, Fault] = {}
    for fault in chain(*found):
        faults.setdefault(fault.where, fault)
    if faults:
        raise InputError(sorted(faults.values(), key=lambda fault: place_of(fault.where)))


def _unanswered(
    assistant: Assistant, rows: Iterable[Example], models: Models, what: str, remedy: str
) -> Iterator[Fault]:
    room = Room(assistant, models.get(assistant.model))
    if room.tokens < 1:
        limit = f"leaves no room for a prompt: the model reads {room.model.context} tokens with its answer"
        yield Fault("max_tokens", limit, str(assistant.max_tokens), "lower max_tokens: in the task file")
        return
    for row in rows:
        if not room.fits(row.input):
            tokens = room.model.count_tokens(assistant.messages(row.input))
            limit = f"{what} is longer than the {room.tokens} tokens the model can read before its answer"
            yield Fault(row.where or row.id, limit, f"{tokens} tokens", remedy)


def _too_long_for_wordings(task: Task, start: Assistant, parts: Split, models: Models) -> Iterator[Fault]:
    """Test rows that do not fit with a wording which every row that clear_prompt can see fits with."""
    candidates = ClearPrompt().candidates(task, start)
    seen = [*parts.train, *parts.dev]
    for candidate in fitting(candidates, models.get(start.model), seen)[1:]:
        what = f"the prompt of clear_prompt ({candidate.name})"
        remedy = "shorten the row or the instructions, or leave clear_prompt out of `methods:`"
        yield from _unanswered(candidate.assistant, parts.test, models, what, remedy)


def _too_long_to_tune(task: Task, start: Assistant, parts: Split, models: Models) -> Iterator[Fault]:
    """Rows that the student cannot answer, and rows that it cannot be trained on."""
    student = student_of(task, start, parts.train, models)
    others = len(task.methods) > 1
    otherwise = ", leave it out, or leave fine_tune out of `methods:`" if others else " or leave it out"
    untrained: list[Fault] = []
    if not is_fake(task.model):
        model = models.local(student.model)
        untrained += _untrained(student, (*parts.train, *parts.dev), model, task.row_tokens, otherwise)
        yield from untrained
    student = _as_without(untrained, task, student, parts.train, models)
    answered = [*parts.dev, *parts.test]
    remedy = f"shorten the row{otherwise}"
    yield from _unanswered(student, answered, models, "the prompt of fine_tune", remedy)


def _as_without(
    faults: Sequence[Fault], task: Task, student: Assistant, train: Dataset, models: Models
) -> Assistant:
    """The student with the room for an answer that the other rows need, so that a row is not named for another's
    length."""
    named = {fault.where for fault in faults}
    left = [row.id for row in train if (row.where or row.id) not in named]
    if task.max_tokens is not None or not left or len(left) == len(train):
        return student
    room = longest_answer(train.select(left, "those that can be learned"), models, student.model)
    return replace(student, max_tokens=room)


def _untrained(
    student: Assistant, rows: Iterable[Example], model: LocalModel, limit: int, otherwise: str
) -> Iterator[Fault]:
    """Rows of more tokens than the model can read, or than the task's `limit`, with one limit that takes them all."""
    most = min(limit, model.context)
    what = f"the row is longer than the {most} tokens that fine_tune can be trained on"
    found = [(row, tokens) for row in rows if (tokens := _tokens_above(student, row, model, most))]
    readable = [tokens for _, tokens in found if tokens <= model.context]
    for row, tokens in found:
        allow = f", set train: {{max_tokens: {max(readable)}}}" if tokens <= model.context else ""
        yield Fault(
            row.where or row.id,
            what,
            f"{tokens} tokens with its answer",
            f"shorten the row{allow}{otherwise}",
        )


def _tokens_above(student: Assistant, row: Example, model: LocalModel, most: int) -> int:
    """Tokens of the row with its answer; 0 where they are not above `most`."""
    text = model.render_text(student.messages(row.input)) + row.output
    if len(text.encode()) + SEAMS <= most:
        return 0  # a token is at least a byte: no need to count
    tokens = max(len(found.ids) for found in token_rows(model, student, [row]))
    return tokens if tokens > most else 0
