"""What is asked in a row: its input columns as turns, whether or not an answer stands beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from etude.base.remedies import instead, raise_faults
from etude.data.formats.cells import Cells
from etude.data.formats.chat import read_turns
from etude.data.formats.columns import input_columns
from etude.data.formats.raw import raw_rows
from etude.data.formats.reading import Reading
from etude.data.formats.turns import holds_turns, role_of, speaker_of, turns_in, written_turns
from etude.errors import quote_value
from etude.types import Message

_HEAD = 100
"""Rows by which the columns are found."""


def asked(cells: Cells, columns: Sequence[str]) -> tuple[Message, ...]:
    """The turns in the columns of a row: a chat that ends with the user's, or texts joined by a blank line."""
    if len(columns) == 1 and isinstance(turns_in(cells.row.cells.get(columns[0])), list):
        return read_turns(cells, columns[0], "user")
    parts = [cells.text(name, needed=len(columns) == 1) for name in columns]
    spoken = [part for part in parts if part.strip()]
    if not spoken and len(parts) > 1:
        what = f"the columns {', '.join(columns)} are all empty"
        cells.fault(what, "", "fill in one, or delete the row", "empty")
    return (Message("user", "\n\n".join(spoken)),)


def question(cells: Cells, columns: Sequence[str]) -> tuple[Message, ...]:
    """As `asked`, but for the system message of a chat and its last answer."""
    held = turns_in(written_turns(cells.row.cells.get(columns[0])))
    if len(columns) > 1 or not holds_turns(held):
        return asked(cells, columns)
    kept = [turn for turn in held if role_of(turn) != "system"]
    if kept and speaker_of(kept[-1]) == "assistant":
        del kept[-1]
    return read_turns(cells.having(columns[0], kept), columns[0], "user")


def survey(
    file: Path, wanted: Sequence[str], usual: Sequence[str] = ()
) -> tuple[list[str], int, tuple[str, ...]]:
    """The names of a file's columns, the number of its rows, and the columns of the input: those `wanted`, else the
    `usual` ones if it has them all, else by their names, else the only one.

    Raises InputError with all rows that cannot be read, without rows, and if no column is known to be the input.
    """
    reading, names, head, total = Reading(file), dict[str, None](), list[Mapping[str, Any]](), 0
    for row in raw_rows(reading):
        total += 1
        names |= dict.fromkeys(row.cells)
        head += [row.cells] if total <= _HEAD else []
    reading.refuse_encoding()
    fault, remedy = "", ""
    known = tuple(usual) if set(usual) <= set(names) else ()
    columns = (
        tuple(wanted) or known or input_columns([*names], head) or (tuple(names) if len(names) == 1 else ())
    )
    if not total:
        fault, remedy = "the file holds no rows", "check the name, or write rows into it"
    elif missing := [name for name in columns if name not in names]:
        fault, remedy = f"no column {missing[0]!r}", instead(missing[0], names)
    elif not columns:
        fault, remedy = "unclear which column is the input", "name it: --input COLUMN, which may be repeated"
    if fault:
        reading.fault(1, fault, quote_value(", ".join(names)), remedy)
    raise_faults([each for _, each in reading.faults], file)
    return [*names], total, columns
