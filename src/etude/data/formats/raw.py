"""Files to raw rows: JSON lines and tables, one row after the other, each with its line."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Literal

from etude.base.files import parse_json
from etude.base.wording import count
from etude.data.formats.packed import is_packed, packed_rows
from etude.data.formats.reading import Reading, Row, Table
from etude.errors import InputError, Issue, quote_value
from etude.task import JSON_SUFFIXES, TABLE_SUFFIXES

_OTHER_SUFFIXES = {
    ".xls": "save the sheet as .xlsx or as CSV (UTF-8)",
}

_JSON_FAULTS = {
    "Expecting value": "no value stands there",
    "Expecting ',' delimiter": "a comma or a closing bracket is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting property name enclosed in double quotes": "a name in double quotes is missing",
    "Invalid control character at": "a text is not closed, or holds a tab or a line break",
    "Unterminated string starting at": "a text is not closed",
}
"""What Python says of JSON -> the same as the end of a sentence."""

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
"""The first line by which Excel is told what separates the values."""

_NEXT_VALUE = re.compile(r"\s*(\[\s*\]|[\[,\]])\s*")
"""What stands between two values of a list, and at its ends."""

_FIELD_LIMIT = 2**24
"""Characters of one value in a table."""


def raw_rows(reading: Reading) -> Iterator[Row]:
    """The rows of a file as they can be read; those that cannot are faults of the reading.

    Raises InputError at once when the kind of file is not read at all.
    """
    if is_packed(reading.file):
        return packed_rows(reading)
    suffix = reading.file.suffix.lower()
    if suffix in (*JSON_SUFFIXES, *TABLE_SUFFIXES) and (foreign := reading.foreign()):
        raise InputError([foreign])
    if suffix in JSON_SUFFIXES:
        return _json_rows(reading)
    if suffix in TABLE_SUFFIXES:
        return _table_rows(reading)
    remedy = _OTHER_SUFFIXES.get(suffix, "give a .jsonl, .ndjson, .csv, .tsv, .parquet or .xlsx file")
    raise InputError(
        [Issue(reading.file.name, "a kind of file that is not read", quote_value(suffix), remedy)]
    )


def _json_rows(reading: Reading) -> Iterator[Row]:
    """One object on each line, or a list of objects over any lines."""
    begun, lines = False, reading.lines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            reading.counts["blank lines"] += 1
        elif not begun and _opens_a_list(line):
            yield from _listed_rows(reading, "\n" * (number - 1) + line + "".join(lines))
            return
        elif not begun and line.strip() == "{":
            what = "one JSON value over many lines, not an object on each"
            remedy = "write one JSON object on each line, or a list of them (jq -c . FILE > NEW)"
            reading.fault(number, what, quote_value(line.strip()), remedy)
            return
        elif number not in reading.broken:
            cells = _json_object(reading, number, line)
            if cells is not None:
                yield Row(number, number, cells)
        begun = begun or bool(line.strip())


def _opens_a_list(line: str) -> bool:
    """Whether a first line opens a list of objects that is all of the file."""
    text = line.strip()
    return text.startswith("[") and (
        text in ("[", "[]") or text.endswith(",") or text[1:].lstrip()[:1] == "{"
    )


def _listed_rows(reading: Reading, text: str) -> Iterator[Row]:
    """The objects of a list, each at the line on which it begins; one that shares a line counts as on the next."""
    reading.is_list = True
    decoder, line, number, end = json.JSONDecoder(), 1, 0, text.index("[")
    parted = _NEXT_VALUE.match(text, end)
    try:
        while parted and parted[1] in "[,":
            start = parted.end()
            line += text.count("\n", end, start)
            number = max(line, number + 1)
            end = decoder.raw_decode(text, start)[1]
            cells = _json_object(reading, number, text[start:end])
            if cells is not None:
                yield Row(number, number, cells)
            line += text.count("\n", start, end)
            parted = _NEXT_VALUE.match(text, end)
        if not parted or text[parted.end() :].strip():
            end = parted.end() if parted else end
            raise json.JSONDecodeError(
                "something stands after the list" if parted else "no ] ends the list", text, end
            )
    except (json.JSONDecodeError, RecursionError) as error:
        what, at = getattr(error, "msg", "nested too deep"), getattr(error, "pos", end)
        got, remedy = quote_value(text[at:][:80]), "correct it: nothing after it was read"
        reading.fault(text.count("\n", 0, at) + 1, f"not JSON: {_JSON_FAULTS.get(what, what)}", got, remedy)
    if number > line:
        reading.notes.append(
            f"{reading.file.name}: the number after the colon counts the objects of the list"
        )


def _json_object(reading: Reading, number: int, line: str) -> dict[str, Any] | None:
    try:
        value = parse_json(line, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        got = f"{quote_value(line.strip())}, at position {error.pos + 1}"
        what = _JSON_FAULTS.get(error.msg, error.msg)
        reading.fault(number, f"not JSON: {what}", got, _json_remedy(line))
    except ValueError as error:  # JSON that Python could read and that means nothing certain
        reading.fault(number, str(error), quote_value(line.strip()), "correct the line")
    else:
        if isinstance(value, dict):
            return value
        reading.fault(number, "the line is no JSON object", quote_value(line.strip()), _json_remedy(line))
    return None


def _json_remedy(line: str) -> str:
    if line.lstrip().startswith("["):
        return "write one JSON object on each line, without a list around them"
    return 'write one whole object on the line, such as {"input": "...", "output": "..."}'


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return unique


def _table_rows(reading: Reading) -> Iterator[Row]:
    lines = reading.lines()
    first = next(lines, "")
    if said := _SEPARATOR_LINE.fullmatch(first.rstrip("\r\n")):
        first = next(lines, "")
    delimiter = said[1] if said else _delimiter(reading, first)
    quoting = _quoting(reading, delimiter)
    header: list[str] | None = None
    for line, last, record in _records(reading, chain([first], lines), delimiter, quoting, int(bool(said))):
        if not any(cell.strip() for cell in record):
            reading.counts["empty rows"] += 1
        elif header is not None and not reading.broken.isdisjoint(range(line, last + 1)):
            continue  # told by its bytes; what they hide would be told as a fault of its own
        elif header is None:
            header = _header(reading, line, record)
            reading.table = Table(delimiter, quoting, tuple(header))
        elif len(record) != len(header):
            what = f"{count(len(record), 'value')} for {count(len(header), 'column')}"
            remedy = "quote values that hold the separator or a line break, and fill up missing ones"
            reading.fault(line, what, quote_value(delimiter.join(record)), remedy)
        else:
            yield Row(line, last, dict(zip(header, record, strict=True)))


def _delimiter(reading: Reading, header: str) -> str:
    usual, names = TABLE_SUFFIXES[reading.file.suffix.lower()], re.sub(r'"[^"]*"', "", header)
    other = max(",;\t|", key=names.count)
    if usual in names or other not in names:
        return usual
    separator = "tabs" if other == "\t" else repr(other)
    reading.notes.append(f"{reading.file.name}: values are separated by {separator}")
    return other


def _records(
    reading: Reading, lines: Iterator[str], delimiter: str, quoting: Literal[0, 3], skipped: int
) -> Iterator[tuple[int, int, list[str]]]:
    """(line on which it begins, line on which it ends, values) of every record; of the file, `skipped` lines stand
    before them."""
    taken: list[str] = []
    reader = csv.reader(_noted(lines, taken), delimiter=delimiter, strict=True, quoting=quoting)
    with field_limit(_FIELD_LIMIT):
        while True:
            start = skipped + reader.line_num + 1
            taken.clear()
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                got = quote_value(taken[0].strip())
                what = f"not {_table_name(reading)}: {_table_fault(error)}"
                reading.fault(start, what, got, _table_remedy(error))
            else:
                yield start, skipped + reader.line_num, record


@contextmanager
def field_limit(most: int) -> Iterator[None]:
    """Let csv read values of at most so many characters, within the block; the limit belongs to the process."""
    before = csv.field_size_limit(most)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _noted(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    """The lines, each also put on a list when it is taken."""
    for line in lines:
        taken.append(line)
        yield line


def _quoting(reading: Reading, delimiter: str) -> Literal[0, 3]:
    """Whether quotes around values are marks. In TSV they often are not, and reading them as marks
    would join rows: there they are marks if all names of the first line are quoted, or if the whole
    file reads cleanly that way.
    """
    if reading.file.suffix.lower() != ".tsv" or _is_quoted_whole(next(Reading(reading.file).lines(), "")):
        return csv.QUOTE_MINIMAL
    with field_limit(_FIELD_LIMIT):
        records = csv.reader(Reading(reading.file).lines(), delimiter=delimiter, strict=True)
        if _reads_cleanly(records, delimiter):
            return csv.QUOTE_MINIMAL
    reading.notes.append(f"{reading.file.name}: quotes are read as they stand, they do not enclose values")
    return csv.QUOTE_NONE


def _reads_cleanly(records: Iterator[list[str]], delimiter: str) -> bool:
    """Whether all records have as many values, none of which seems to be several rows joined."""
    widths: set[int] = set()
    try:
        for record in filter(None, records):
            widths.add(len(record))
            if len(widths) > 1 or any(delimiter in cell and "\n" in cell for cell in record):
                return False
    except csv.Error:
        return False
    return True


def _is_quoted_whole(line: str) -> bool:
    cells = line.strip().split("\t")
    return all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)


def _table_name(reading: Reading) -> str:
    return reading.file.suffix.lower().removeprefix(".").upper()


def _table_fault(error: csv.Error) -> str:
    return "a line ends with CR alone" if "new-line" in str(error) else str(error)


def _table_remedy(error: csv.Error) -> str:
    if "end of data" in str(error) or "limit" in str(error):
        return "close the quote that this row opens"
    if "new-line" in str(error):
        return r"save the file with usual line ends (tr '\r' '\n' < FILE > NEW)"
    return "write a quote inside a quoted value twice"


def _header(reading: Reading, line: int, record: list[str]) -> list[str]:
    names = [name.strip() for name in record]
    for name, number in Counter(names).items():
        if name and number > 1:
            reading.fault(line, "two columns of one name", quote_value(name), "rename one of them")
    return names
