"""Readers of preferences and of rated answers, in the formats of OpenAI, ShareGPT and TRL."""

from dataclasses import dataclass, replace
from pathlib import Path

from etude.base.issues import raise_issues
from etude.data.formats import columns as guess
from etude.data.formats import read
from etude.errors import InputError, Issue, quote_value
from etude.task import RowSource
from etude.types import Example


@dataclass(frozen=True)
class PreferenceRow:
    """One input with the chosen answer as its output, and the rejected one."""

    system: str | None
    tools: str  # the functions on offer, as text; "" for none
    chosen: Example
    rejected: str


@dataclass(frozen=True)
class RatedAnswer:
    """One answer, and whether people rated it as good."""

    system: str | None
    tools: str  # the functions on offer, as text; "" for none
    example: Example
    is_good: bool


def read_preference_rows(file: Path) -> list[PreferenceRow]:
    """The preferences of a file.

    The file has prompt, chosen and rejected as texts or chats; chosen and rejected as whole chats
    or turns (also in ShareGPT's format); or OpenAI's input, preferred_output and
    non_preferred_output.

    Raises InputError with every row that cannot be read, and if there are no such columns.
    """
    head = read.peek_rows(file)
    names = guess.list_names(head)
    columns = guess.find_preference_columns(names)
    if not columns:
        message = "there are no columns with a better and a worse answer"
        remedy = "name these columns chosen and rejected"
        raise InputError.of(file.name, message, quote_value(", ".join(names)), remedy)
    source = guess.guess_columns(head, RowSource(file)).source
    is_chat = source.messages == columns[0]
    other = replace(source, messages=columns[1]) if is_chat else replace(source, output=columns[1])
    chosen = read.read_rows(source)
    rejected = read.read_rows(other)
    pairs = list(zip(chosen.examples, rejected.examples, strict=True))
    message = f"the inputs of {columns[0]} and {columns[1]} differ"
    issues = [
        Issue(good.location, message, quote_value(bad.text), "make them equal")
        for good, bad in pairs
        if good.input != bad.input
    ]
    raise_issues(issues, file)
    return [
        PreferenceRow(system, tools, good, bad.output)
        for system, tools, (good, bad) in zip(chosen.systems, chosen.offers, pairs, strict=True)
    ]


def read_rated_answers(file: Path) -> list[RatedAnswer]:
    """The answers of a file in KTO's format (prompt, completion, label), each with its rating.

    Raises InputError with every row that cannot be read, and if there is no label of true and
    false.
    """
    head = read.peek_rows(file)
    source = guess.guess_columns(head, RowSource(file)).source
    if guess.find_thumb_column(head, source) is None:
        message = "there is no column with ratings of the answers"
        remedy = "give each row a prompt, a completion and a label, true or false"
        raise InputError.of(
            file.name, message, quote_value(", ".join(guess.list_names(head))), remedy
        )
    rows = read.read_rows(replace(source, tags=(guess.THUMB_COLUMN,)))
    return [
        RatedAnswer(
            system,
            tools,
            replace(row, tags={}),
            not guess.is_thumbs_down(row.tags.get(guess.THUMB_COLUMN)),
        )
        for system, tools, row in zip(rows.systems, rows.offers, rows.examples, strict=True)
    ]
