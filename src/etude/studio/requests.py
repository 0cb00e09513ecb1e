"""A file of requests without answers, or of logged chats, as inputs for an assistant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etude.base.remedies import raise_faults
from etude.data.formats.column_names import names_of
from etude.data.formats.raw import raw_rows
from etude.data.formats.reading import Reading, Row
from etude.data.formats.turns import TEXT_KEYS, holds_turns, key_of, role_of, turns_in, written_turns
from etude.errors import shown
from etude.types import Message


@dataclass(frozen=True)
class Requests:
    """The inputs of a file, each once."""

    inputs: tuple[tuple[Message, ...], ...]
    repeated: int
    """Rows left out, because an earlier one has the same input."""


def read_requests(file: Path, columns: Sequence[str] = ()) -> Requests:
    """Reads a .jsonl, .csv or .tsv file of requests.

    A column that holds chats is read as the turns up to the user's last one: a system message and the answer that was
    given then are left out. Else the input is in `columns`, if the file has them all, or in the one whose name says
    so. Raises InputError with every row that cannot be read.
    """
    reading = Reading(file)
    rows = list(raw_rows(reading))
    reading.refuse_encoding()
    found: dict[tuple[Message, ...], None] = {}
    for row in rows:
        turns = _turns(row, columns)
        if turns:
            found[turns] = None
        else:
            remedy = "write the request under input, or a chat with a turn of the user under messages"
            reading.fault(row.line, "no request in the row", shown(dict(row.cells)), remedy)
    if not rows:
        reading.fault(1, "the file holds no rows", "", "write requests into it")
    raise_faults([fault for _, fault in reading.faults], file)
    return Requests(tuple(found), len(rows) - len(found))


def _turns(row: Row, columns: Sequence[str]) -> tuple[Message, ...]:
    """The input of a row; empty if it has none."""
    for value in row.cells.values():
        turns = turns_in(written_turns(value))
        if holds_turns(turns):
            return _spoken(turns)
    texts = [row.cells.get(name) for name in _columns(row.cells, columns)]
    text = "\n\n".join(text for text in texts if isinstance(text, str) and text.strip())
    return (Message("user", text),) if text else ()


def _columns(cells: Mapping[str, Any], columns: Sequence[str]) -> Sequence[str]:
    if columns and all(name in cells for name in columns):
        return columns
    by_name = {name.casefold(): name for name in cells}
    usual = (by_name[name] for name in names_of("inputs", "asked") if name in by_name)
    only = next(iter(cells)) if len(cells) == 1 else None
    found = next(usual, only)
    return () if found is None else (found,)


def _spoken(turns: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """The turns of user and assistant up to the user's last one; empty if they do not alternate."""
    spoken = []
    for turn in turns:
        role, text = role_of(turn), turn.get(key_of(turn, TEXT_KEYS))
        if role == "system":
            continue
        if role is None or not isinstance(text, str) or not text.strip():
            return ()
        spoken.append(Message(role, text))
    while spoken and spoken[-1].role == "assistant":
        spoken.pop()
    wanted = [("user", "assistant")[number % 2] for number in range(len(spoken))]
    return tuple(spoken) if [turn.role for turn in spoken] == wanted else ()
