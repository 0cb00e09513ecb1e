"""From a file of rows to examples."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

from etude.base.remedies import instead, nearest, raise_faults
from etude.base.spool import Examples, Spool
from etude.data.formats.asked import asked
from etude.data.formats.cells import Cells
from etude.data.formats.chat import read_turn, read_turns
from etude.data.formats.columns import (
    as_written,
    guess_columns,
    is_thumbs_down,
    named,
    offer_column,
    optional,
    preference_columns,
    thumbs_column,
)
from etude.data.formats.raw import raw_rows
from etude.data.formats.reading import Reading, Row
from etude.data.formats.tools import names_in, offer
from etude.data.formats.turns import single_turn, turns_in, written_turns
from etude.errors import InputError, Issue, quote_value
from etude.task import RowSource
from etude.types import Example, Kind, Message

_HEAD = 100
"""Rows by which the columns are guessed."""


@dataclass(frozen=True)
class Rows:
    """What a file of rows holds."""

    examples: Examples
    systems: tuple[str | None, ...]
    """The system message of each row, None where it has none."""
    source: RowSource
    """The columns as they were read, guessed ones included."""
    notes: tuple[str, ...]
    """What was guessed, left out or changed, a sentence each."""
    faults: tuple[Issue, ...] = ()
    """What is wrong with the rows that are not among the examples, in the order of the lines."""
    tools: str = ""
    """The functions on offer, in words, as the instructions are to name them."""


def read_rows(source: RowSource, kind: Kind | None = None) -> Rows:
    """Reads a whole file of rows, guessing the columns that `source` does not name.

    `kind` decides which values may stand as an answer beside texts and numbers: any JSON value for extract, and
    where it is None. Spaces and line breaks around an answer are taken off.

    Raises InputError with every fault of the file (50 are spelled out), each as file:line.
    """
    rows = _read(Reading(source.file, kind), source)
    raise_faults(rows.faults, source.file)
    return rows


def survey_rows(source: RowSource, kind: Kind | None = None) -> Rows:
    """As `read_rows`, but rows that cannot be read are left out, and why stands in `faults`.

    The examples are kept in a temporary file. Raises InputError where the file cannot be read at all.
    """
    return _read(Reading(source.file, kind, examples=Spool()), source)


def _read(reading: Reading, source: RowSource) -> Rows:
    rows = raw_rows(reading)
    head = list(islice(rows, _HEAD))
    columns = _columns(reading, head, source)
    thumbs = thumbs_column([row.cells for row in head], columns) if columns else None
    for row in chain(head, rows):
        reading.seen.update(row.cells.keys() - {thumbs})
        if thumbs and is_thumbs_down(row.cells.get(thumbs)):
            reading.counts[f"rows with {thumbs}: false, whose answers are not used"] += 1
        elif columns is not None:
            _take(reading, row, columns)
    return _finished(reading, columns or source)


def _offered(cells: Cells, columns: RowSource) -> str:
    """The functions on offer beside the chat of a row, in words; "" with a fault where they cannot be read, or are
    others than before: an assistant has one set of functions, as it has one system message."""
    name, row = offer_column(cells.row.cells, columns), cells.row.cells
    chat = columns.messages or (columns.input[0] if columns.input else "")
    if not name or not isinstance(turns_in(written_turns(row.get(chat))), list):
        return ""
    reading = cells.reading
    try:
        found = offer(row[name])
    except ValueError as error:
        remedy = "write them as OpenAI does, or name the column otherwise if it means something else"
        cells.fault(f"{name}: {error}", quote_value(row[name]), remedy, "tools")
        return ""
    reading.tools = reading.tools or found
    if found and found != reading.tools:
        what = "the row offers other functions than rows before it"
        remedy = "offer the same functions in all rows, in the same order, or write a file for each set"
        cells.fault(what, quote_value(", ".join(names_in(found))), remedy, "tools")
    return found


def peek_rows(file: Path, limit: int = 100) -> list[Mapping[str, Any]]:
    """The first readable rows of a file, column name -> value; faults are passed over."""
    return [row.cells for row in islice(raw_rows(Reading(file)), limit)]


def read_values(file: Path, column: str) -> Iterator[tuple[int, Any]]:
    """(line, value) of one column in every readable row, None where a row has it not; faults are passed over."""
    return ((row.line, row.cells.get(column)) for row in raw_rows(Reading(file)))


def check_encoding(file: Path) -> None:
    """Raises InputError where a file is in another encoding than UTF-8."""
    reading = Reading(file)
    for _ in raw_rows(reading):
        pass
    reading.refuse_encoding()


def _finished(reading: Reading, columns: RowSource) -> Rows:
    reading.refuse_encoding()
    for name in optional(columns):
        if reading.examples and name not in reading.seen:
            reading.fault(1, "no such column", quote_value(name), instead(name, sorted(reading.seen)))
    if not reading.faults and not reading.examples:
        _hold_no_rows(reading)
    faults = tuple(fault for _, fault in sorted(reading.faults, key=lambda pair: pair[0]))
    offers = offer_column(reading.seen, columns)
    unused = sorted(reading.seen - {*named(columns), offers})
    pair = preference_columns(reading.seen)
    if pair and pair[1] in unused:
        unused.remove(pair[1])
        taught = columns.messages or columns.output
        reading.notes.append(
            f"{reading.file.name}: the answers in {pair[1]} are not used for training; those in {taught} are"
        )
    if reading.tools:
        what = "the functions on offer are named below the instructions"
        reading.notes.append(f"{reading.file.name}: {what}: {', '.join(names_in(reading.tools))}")
        if without := len(reading.examples) - reading.offering:
            reading.counts["rows that offer no functions, which are asked with those of the others"] = without
    if unused:
        names = ", ".join(name or "one without a name" for name in unused)
        reading.notes.append(f"{reading.file.name}: columns not used: {names}")
    reading.notes.extend(f"{reading.file.name}: {what}: {count:,}" for what, count in reading.counts.items())
    examples = reading.examples if isinstance(reading.examples, Spool) else tuple(reading.examples)
    return Rows(examples, tuple(reading.systems), columns, tuple(reading.notes), faults, reading.tools)


def _hold_no_rows(reading: Reading) -> None:
    if reading.table:
        what, got = (
            "the file holds no rows, only the names of its columns",
            quote_value(", ".join(reading.table.header)),
        )
        remedy = (
            "write rows under them; if this line is a row, put a line with the names of the columns before it"
        )
        reading.fault(1, what, got, remedy)
    else:
        blank = "nothing but blank lines" if reading.file.stat().st_size else "it is empty"
        blank = "its list is empty" if reading.is_list else blank
        blank = "all are thumbs-down" if reading.seen else blank
        reading.fault(1, f"the file holds no rows: {blank}", "", "check the name, or write rows into it")


def _columns(reading: Reading, head: Sequence[Row], source: RowSource) -> RowSource | None:
    """The full columns; None, with the reason among the faults, when the rows cannot be read by any."""
    if not head:
        return None
    names = list(dict.fromkeys(name for row in head for name in row.cells))
    absent = [name for name in named(source) if name not in names and name not in optional(source)]
    cells = [row.cells for row in head]
    if absent and 1 not in reading.broken:
        _refuse_absent(reading, absent, cells)
    if absent:
        return None
    try:
        guess = guess_columns(cells, source)
    except InputError as error:
        reading.faults.extend((1, fault) for fault in error.issues)
        return None
    if guess.sentence:
        reading.notes.append(guess.sentence)
    return guess.source


def _refuse_absent(reading: Reading, absent: Sequence[str], cells: Sequence[Mapping[str, Any]]) -> None:
    """Adds the fault of columns that the file has not, with those that it may have in their place."""
    names = list(dict.fromkeys(name for row in cells for name in row))
    remedy = "; ".join(instead(name, names) for name in absent)
    if not any(nearest(name, names) for name in absent):
        with suppress(InputError):
            parts = {
                "file": reading.file.name,
                **as_written(guess_columns(cells, RowSource(reading.file)).source),
            }
            mapping = yaml.safe_dump(parts, default_flow_style=True, sort_keys=False, width=10_000).strip()
            remedy = f"if the file's own names are meant, write {mapping} in the task file"
    what = f"no column {' and no column '.join(map(repr, absent))}"
    reading.fault(1, what, quote_value(", ".join(names)), remedy)


def _take(reading: Reading, row: Row, columns: RowSource) -> None:
    """Adds the row's example, or its faults."""
    before = len(reading.faults)
    cells = Cells(reading, _opened(row, columns.messages))
    turns, output = _chat(cells, columns.messages) if columns.messages else _pair(cells, columns)
    offered = _offered(cells, columns)
    own = cells.own_id(columns.id) if columns.id else None
    references, tags = tuple(cells.several(columns.references)), cells.tags(columns.tags)
    group, system, source_of = (
        cells.optional(name) for name in (columns.group, columns.system, columns.source)
    )
    if len(reading.faults) > before:
        return
    if turns[0].role == "system":
        if system and system.strip() != turns[0].content.strip():
            what = f"{columns.system} and the first turn are different system messages"
            cells.fault(what, quote_value(system), "delete one of the two", "instructions")
            return
        system, turns = turns[0].content, turns[1:]
    reading.offering += bool(offered)
    name = own if own is not None else _hash_id(reading, turns, output)
    where = reading.where(row.line)
    reading.examples.append(Example(name, turns, output, references, group, tags, where, source_of))
    reading.systems.append(system and sys.intern(system))  # most often the same in all rows


def _opened(row: Row, column: str | None) -> Row:
    """The row with its chat as turns where it is written as JSON in a text."""
    if column is None or not isinstance(row.cells.get(column), str):
        return row
    return replace(row, cells={**row.cells, column: written_turns(row.cells[column])})


def _hash_id(reading: Reading, turns: Sequence[Message], output: str) -> str:
    row = json.dumps([[[turn.role, turn.content] for turn in turns], output])
    stem = hashlib.sha256(row.encode()).hexdigest()[:12]
    reading.repeats[stem] += 1
    return stem if reading.repeats[stem] == 1 else f"{stem}-{reading.repeats[stem]}"


def _pair(cells: Cells, columns: RowSource) -> tuple[tuple[Message, ...], str]:
    """(turns, answer) of a row with an input and an output."""
    output = _spoken_answer(cells, str(columns.output))
    return asked(cells, columns.input), output


def _spoken_answer(cells: Cells, column: str) -> str:
    """The answer of a column that holds it as it is, or as a turn, alone or in a list."""
    held = single_turn(cells.row.cells.get(column))
    if held:
        turn = read_turn(cells, column, held)
        return turn.content if turn else ""
    return cells.answer(column)


def _chat(cells: Cells, column: str) -> tuple[tuple[Message, ...], str]:
    """(turns, answer) of a row that is a whole chat: the last turn is the answer."""
    turns = read_turns(cells, column, "assistant")
    if turns and not turns[-1].trained:
        cells.fault(
            f"{column}: the last turn, which is the answer, has weight 0",
            "",
            "set it to 1, or delete the row",
        )
    return (turns[:-1], turns[-1].content) if turns else ((), "")
