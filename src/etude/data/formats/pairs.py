"""Preferences and thumbs, read and written: pairs of a better and a worse answer, and answers that people judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etude.base.remedies import raise_faults
from etude.data.formats.columns import guess_columns, is_thumbs_down, preference_columns, thumbs_column
from etude.data.formats.read import peek_rows, read_rows
from etude.errors import InputError, Issue, quote_value
from etude.task import RowSource
from etude.types import Example, Message

Json = dict[str, Any]
THUMB = "label"
ROLES = {"system": "system", "user": "human", "assistant": "gpt"}
"""Role -> its name in ShareGPT's files."""


@dataclass(frozen=True)
class Pair:
    """One question with the better answer as its output, and the worse one."""

    system: str | None
    better: Example
    worse: str


@dataclass(frozen=True)
class Judged:
    """One answer, and whether people called it good."""

    system: str | None
    row: Example
    good: bool


def read_pairs(file: Path) -> list[Pair]:
    """The pairs of a file: prompt, chosen and rejected as texts or chats, chosen and rejected as whole chats or turns
    (also ShareGPT's), or OpenAI's input, preferred_output and non_preferred_output.

    Raises InputError with every row that cannot be read, and if there are no such columns.
    """
    head = peek_rows(file)
    names = list(dict.fromkeys(name for row in head for name in row))
    columns = preference_columns(names)
    if not columns:
        what, remedy = "no columns of a better and a worse answer", "name them chosen and rejected"
        raise InputError([Issue(file.name, what, quote_value(", ".join(names)), remedy)])
    source = guess_columns(head, RowSource(file)).source
    better = read_rows(source)
    chats = source.messages == columns[0]
    worse = read_rows(
        replace(source, messages=columns[1]) if chats else replace(source, output=columns[1])
    ).examples
    both = list(zip(better.examples, worse, strict=True))
    what = f"{columns[0]} and {columns[1]} ask different things"
    different = [(one.location, other.text) for one, other in both if one.input != other.input]
    raise_faults(
        [Issue(where, what, quote_value(text), "make them equal") for where, text in different], file
    )
    return [
        Pair(system, *pair)
        for system, pair in zip(better.systems, ((a, b.output) for a, b in both), strict=True)
    ]


def read_judged(file: Path) -> list[Judged]:
    """The answers of a file in KTO's shape (prompt, completion, label), each with what people said of it.

    Raises InputError with every row that cannot be read, and if there is no label of true and false.
    """
    head = peek_rows(file)
    source = guess_columns(head, RowSource(file)).source
    if thumbs_column(head, source) is None:
        names = quote_value(", ".join(dict.fromkeys(name for row in head for name in row)))
        remedy = "give each row a prompt, a completion and a label, true or false"
        raise InputError([Issue(file.name, "no column that says whether an answer is right", names, remedy)])
    rows = read_rows(replace(source, tags=(THUMB,)))
    return [
        Judged(system, replace(row, tags={}), not is_thumbs_down(row.tags.get(THUMB)))
        for system, row in zip(rows.systems, rows.examples, strict=True)
    ]


def _openai(pair: Pair) -> Iterator[Json]:
    asked = {"messages": [turn(each) for each in asking(pair.system, pair.better)]}
    better, worse = ([turn(said(text))] for text in (pair.better.output, pair.worse))
    yield {"input": asked, "preferred_output": better, "non_preferred_output": worse}


def _sharegpt(pair: Pair) -> Iterator[Json]:
    asked = [sharegpt_turn(each) for each in asking(pair.system, pair.better)]
    better, worse = (sharegpt_turn(said(text)) for text in (pair.better.output, pair.worse))
    yield {"conversations": asked, "chosen": better, "rejected": worse}


def _trl(pair: Pair) -> Iterator[Json]:
    better, worse = ([turn(said(text))] for text in (pair.better.output, pair.worse))
    yield {"prompt": prompt(pair.system, pair.better), "chosen": better, "rejected": worse}


def _kto(pair: Pair) -> Iterator[Json]:
    yield judged_row(Judged(pair.system, pair.better, good=True))
    yield judged_row(Judged(pair.system, replace(pair.better, output=pair.worse), good=False))


PAIR_SHAPES: Mapping[str, Callable[[Pair], Iterator[Json]]] = {
    "openai": _openai,
    "sharegpt": _sharegpt,
    "trl": _trl,
    "kto": _kto,
}
"""Name -> the rows that a pair becomes."""


def judged_row(judged: Judged) -> Json:
    """An answer with its thumb, as TRL's KTO reads it."""
    answer = [turn(said(judged.row.output))]
    return {"prompt": prompt(judged.system, judged.row), "completion": answer, THUMB: judged.good}


def asking(system: str | None, example: Example) -> Iterator[Message]:
    """The turns before the answer, the system's first."""
    if system:
        yield Message("system", system)
    yield from example.input


def prompt(system: str | None, example: Example) -> list[Json]:
    """The turns before the answer, as OpenAI and TRL have them."""
    return [turn(each) for each in asking(system, example)]


def said(answer: str) -> Message:
    """An answer as a turn."""
    return Message("assistant", answer)


def turn(message: Message) -> Json:
    """A turn as OpenAI has it."""
    return {"role": message.role, "content": message.content} | _silent(message)


def sharegpt_turn(message: Message) -> Json:
    """A turn as ShareGPT has it."""
    return {"from": ROLES[message.role], "value": message.content} | _silent(message)


def _silent(message: Message) -> Json:
    return {} if message.trained else {"weight": 0}
