"""A file of rows whose rows can be written anew one by one; every byte of the others stays.

A row is changed in the texts that are taught (input and answers) and, where they hold personal data, in its other
texts and whole numbers; all else stays equal, but for numbers of more digits than a float holds (17), which are rounded
in a changed row of JSON lines. Such a row is written as JSON anew, one of a table by csv, its separator and its line
end as they were.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from itertools import islice
from typing import Any

from etude.base.wording import command
from etude.data.formats import guess_columns, peek_rows
from etude.data.formats.packed import is_packed
from etude.data.formats.raw import field_limit, raw_rows
from etude.data.formats.reading import Reading, Row, Table
from etude.data.formats.turns import (
    ROLE_KEYS,
    TEXT_KEYS,
    calls_functions,
    key_of,
    role_of,
    single_turn,
    turns_in,
    written_turns,
)
from etude.errors import InputError, Issue
from etude.privacy import find
from etude.task import RowSource
from etude.types import Kind

Place = tuple[str | int, ...]
"""Where a text stands in the values of a row: ("messages", 0, "content")."""
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Record:
    """One row as it stands in the file, and where its texts are."""

    line: int
    last: int
    raw: bytes
    cells: Mapping[str, Any]
    inputs: tuple[Place, ...]
    answers: tuple[Place, ...]
    """The answer, then the references."""
    others: tuple[Place, ...]
    """Other texts and whole numbers, which are not taught; without system messages."""
    joint: str
    """What stands between the texts of the input where they are read as one."""
    table: Table | None = field(repr=False)
    written: Mapping[str, str] = field(default_factory=dict)
    """Column whose turns stand in the file as JSON in a text -> that text; `cells` hold the turns."""

    def text(self, place: Place) -> str:
        """The text at a place; a value that is none as JSON."""
        value: Any = self.cells
        for key in place:
            value = value[key]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def with_texts(self, texts: Mapping[Place, str]) -> Record | None:
        """The row with other texts at these places; None where it cannot be written with them."""
        cells: Any = copy.deepcopy(dict(self.cells))
        for place, text in texts.items():
            _put(cells, place, text)
        written = {
            name: text if cells[name] == self.cells[name] else _dumped(cells[name], text)
            for name, text in self.written.items()
        }
        closed = {**cells, **written}
        if self.table is None:
            raw: bytes | None = _as_json(self.raw, closed)
        else:
            raw = _as_record(self.raw, self.table, {place[0]: closed[place[0]] for place in texts})
        return None if raw is None else replace(self, raw=raw, cells=cells, written=written)


def records(source: RowSource, kind: Kind) -> Iterator[Record]:
    """The rows of a file that can be read as text, one at a time; raises InputError where the file cannot be read at
    all, OSError where it can no more."""
    if is_packed(source.file):
        remedy = f"write it as text first: {command('convert', source.file)} --to openai"
        raise InputError([Issue(source.file.name, "rows of this kind of file are not corrected", "", remedy)])
    columns = columns_of(source)
    reading = Reading(source.file, kind)
    at = 0
    with source.file.open("rb") as stream:
        for row in raw_rows(reading):
            if reading.is_list:
                what = "a list of objects, of which --fix cannot write single rows"
                each = f"jq -c '.[]' {shlex.quote(source.file.name)} > rows.jsonl"
                remedy = f"write one object on each line ({each}) and name that file under examples:"
                raise InputError([Issue(source.file.name, what, "", remedy)])
            raw = b"".join(islice(stream, row.line - 1 - at, row.last - at))
            at = row.last
            if _is_text(raw):
                yield _record(row, raw, columns, reading.table)


def _record(row: Row, raw: bytes, columns: RowSource, table: Table | None) -> Record:
    chat = row.cells.get(columns.messages) if columns.messages else None
    turns = written_turns(chat)
    written = {str(columns.messages): chat} if isinstance(chat, str) and turns is not chat else {}
    cells = {**row.cells, str(columns.messages): turns} if written else row.cells
    inputs, answers = tuple(_inputs(cells, columns)), tuple(_answers(cells, columns))
    others = tuple(_others(cells, (), {*inputs, *answers}, columns.system))
    joint = "\n" if any(len(place) > 1 for place in inputs) else "\n\n"
    return Record(row.line, row.last, raw, cells, inputs, answers, others, joint, table, written)


def new_row(like: Record, cells: Mapping[str, Any]) -> bytes | None:
    """A further row of a file, with its line end, written as another row is; None where the file cannot hold it."""
    end = _line_end(like.raw) or b"\n"
    if like.table is None:
        return _dumped(dict(cells), like.raw.decode()).encode() + end
    blank = io.StringIO(newline="")
    csv.writer(blank, **_dialect(like.table), lineterminator="").writerow([""] * len(like.table.header))
    return _as_record(blank.getvalue().encode() + end, like.table, cells)


def columns_of(source: RowSource) -> RowSource:
    """The columns by which a file is read, guessed ones included."""
    return guess_columns(peek_rows(source.file), source).source


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _inputs(cells: Mapping[str, Any], columns: RowSource) -> Iterator[Place]:
    if columns.messages:
        yield from _turns(cells, columns.messages, slice(0, -1))
        return
    for name in columns.input:
        value = cells.get(name)
        if isinstance(turns_in(value), list):
            yield from _turns(cells, name, slice(None))
        elif isinstance(value, str) and value.strip():
            yield (name,)


def _answers(cells: Mapping[str, Any], columns: RowSource) -> Iterator[Place]:
    if columns.messages:
        yield from _turns(cells, columns.messages, slice(-1, None))
    elif single_turn(held := cells.get(str(columns.output))):
        places = _turns({str(columns.output): [single_turn(held)]}, str(columns.output), slice(None))
        yield from places if isinstance(held, list) else ((place[0], *place[2:]) for place in places)
    elif cells.get(str(columns.output)) is not None:
        yield (str(columns.output),)
    for name in columns.references:
        value = cells.get(name)
        if isinstance(value, list):
            yield from ((name, number) for number, item in enumerate(value) if isinstance(item, str))
        elif isinstance(value, str):
            yield (name,)


def _turns(cells: Mapping[str, Any], name: str, which: slice) -> Iterator[Place]:
    """The texts of some of a chat's turns, without the system's and those that call functions."""
    turns = turns_in(cells.get(name))
    if not isinstance(turns, list):
        return
    place: Place = (name,) if turns is cells[name] else (name, "messages")
    for number in range(len(turns))[which]:
        turn = turns[number]
        if not isinstance(turn, dict) or role_of(turn) == "system" or calls_functions(turn):
            continue
        key = key_of(turn, TEXT_KEYS)
        content = turn.get(key)
        if isinstance(content, str):
            yield *place, number, key
        for part, item in enumerate(content if isinstance(content, list) else ()):
            if isinstance(item, dict) and isinstance(item.get("text"), str):
                yield *place, number, key, part, "text"


def _others(value: Any, place: Place, taught: Collection[Place], system: str | None) -> Iterator[Place]:
    """Texts and whole numbers at and below a place, without the taught ones and those of the system; what has a
    key that is personal is one text."""
    if place in taught or (place and place == (system,)):
        return
    if isinstance(value, dict):
        left_out = _left_out(value)
        if place and not left_out and any(map(_is_personal, value)):
            yield place
            return
        for key, inner in value.items():
            if key not in left_out:
                yield from _others(inner, (*place, key), taught, system)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _others(inner, (*place, number), taught, system)
    elif place and (isinstance(value, str) or type(value) is int or _is_whole(value)):
        yield place


def _left_out(turn: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of a turn that are never masked; none of what is no turn: a mail's `from` is no role."""
    role = role_of(turn)
    if role is None:
        return ("role",) if "role" in turn else ()
    key = key_of(turn, ROLE_KEYS)
    return (key, key_of(turn, TEXT_KEYS)) if role == "system" else (key,)


@lru_cache(1024)
def _is_personal(key: str) -> bool:
    return bool(find(key, review=False))


def _is_whole(value: Any) -> bool:
    """Whether a number is written with a fraction that is none: 4155552671.0, of a column that has gaps elsewhere."""
    return isinstance(value, float) and value.is_integer()


def _put(cells: Any, place: Place, text: str) -> None:
    """Puts a text where one was; a value that was none is put back as a value, or stays where that is no JSON."""
    *path, key = place
    inner = reduce(lambda outer, step: outer[step], path, cells)
    if isinstance(inner[key], str):
        inner[key] = text
        return
    try:
        inner[key] = json.loads(text)
    except ValueError:
        return


def _dumped(value: Any, like: str) -> str:
    """A value as JSON, its spaces and escapes as those of another JSON."""
    separators = (", ", ": ") if '": ' in like else (",", ":")
    text = json.dumps(value, ensure_ascii=like.isascii(), separators=separators)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, escaped, in a value that is not taught
        return json.dumps(value, separators=separators)
    return text


def _as_json(raw: bytes, cells: Any) -> bytes:
    mark = _BOM if raw.startswith(_BOM) else b""
    return mark + _dumped(cells, raw.decode()).encode() + _line_end(raw)


def _as_record(raw: bytes, table: Table, texts: Mapping[Any, str]) -> bytes | None:
    """The values in the order of the columns, quoted where they need be; None where they would not be read as they
    are: a line break, say, in a table whose values cannot hold one."""
    (old,) = _values(raw, table)
    new = [texts.get(name, value) for name, value in zip(table.header, old, strict=True)]
    out = io.StringIO(newline="")
    try:
        # By this end of line, breaks of either kind inside a value are quoted.
        csv.writer(out, **_dialect(table), lineterminator="\r\n").writerow(new)
    except csv.Error:
        return None
    written = out.getvalue().removesuffix("\r\n").encode() + _line_end(raw)
    return written if _values(written, table) == [new] else None


def _values(raw: bytes, table: Table) -> list[list[str]]:
    text = raw.decode()
    with field_limit(len(text) + 1):
        return list(csv.reader(io.StringIO(text, newline=""), **_dialect(table)))


def _dialect(table: Table) -> dict[str, Any]:
    quotes = '"' if table.quoting == csv.QUOTE_MINIMAL else None
    return {"delimiter": table.delimiter, "quoting": table.quoting, "quotechar": quotes}


def _line_end(raw: bytes) -> bytes:
    return next((end for end in (b"\r\n", b"\n") if raw.endswith(end)), b"")
