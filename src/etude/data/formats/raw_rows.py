"""Read raw rows from files: JSON lines, JSON lists and tables, row by row, each with its line."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Literal

from etude.base import files, formatting
from etude.data.formats.binary_files import is_binary, read_binary_rows
from etude.data.formats.row_reader import RawRow, RowReader, TableFormat
from etude.errors import InputError, quote_value
from etude.task import JSON_SUFFIXES, TABLE_SUFFIXES

# Message of Python's json -> the same in our words.
_JSON_MESSAGES = {
    "Expecting value": "a value is missing",
    "Expecting ',' delimiter": "a comma or a closing bracket is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting property name enclosed in double quotes": "a key in double quotes is missing",
    "Invalid control character at": (
        "a text has no closing quote, or contains a tab or a line break"
    ),
    "Unterminated string starting at": "a text has no closing quote",
}
_SEPARATOR_LINE = re.compile(
    r'"?sep=(.)"?', re.IGNORECASE
)  # a first line that sets the separator for Excel
# The text between two values of a list, and at its ends.
_NEXT_VALUE = re.compile(r"\s*(\[\s*\]|[\[,\]])\s*")
# A first line that opens a list of objects, which then makes up the whole file.
_LIST_START = re.compile(r"\[(\]?|.*,|\s*\{.*)")
_ID_COLUMN = re.compile(r"(?:^|[\W_])(?i:id)\s*$|[a-z](?:Id|ID)\s*$")
_MAX_ID = 40  # characters of an id that is shown
_MAX_CELL_LENGTH = 2**24  # characters of one value in a table


def read_raw_rows(reader: RowReader) -> Iterator[RawRow]:
    """The rows of a file that can be read; the others become issues of the reader.

    Raises InputError at once if the kind of file is not supported.
    """
    if is_binary(reader.file):
        return read_binary_rows(reader)
    suffix = reader.file.suffix.lower()
    if suffix in (*JSON_SUFFIXES, *TABLE_SUFFIXES):
        if foreign := reader.find_foreign_bytes():
            raise InputError([foreign])
        return read_json_lines(reader) if suffix in JSON_SUFFIXES else read_delimited(reader)
    is_sheet = suffix == ".xls"
    remedy = (
        "save the sheet as .xlsx or as CSV (UTF-8)"
        if is_sheet
        else ("give a .jsonl, .ndjson, .csv, .tsv, .parquet or .xlsx file")
    )
    raise InputError.of(
        reader.file.name, "this type of file is not supported", quote_value(suffix), remedy
    )


def read_json_lines(reader: RowReader) -> Iterator[RawRow]:
    """The rows of JSON: one object on each line, or one list of objects."""
    has_begun = False
    lines = reader.lines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            reader.counts["blank lines"] += 1
        elif not has_begun and _LIST_START.fullmatch(line.strip()):
            # The decoder counts lines in the text, so empty lines replace those before the list.
            yield from read_json_list(reader, "\n" * (number - 1) + line + "".join(lines))
            return
        elif not has_begun and line.strip() == "{":
            message = "a JSON value spans several lines, but each line must be one object"
            remedy = "write one JSON object on each line, or a list of them (jq -c . FILE > NEW)"
            reader.add_issue(number, message, quote_value(line.strip()), remedy)
            return
        elif number not in reader.undecodable:
            cells = _parse_object(reader, number, line)
            if cells is not None:
                yield RawRow(number, number, cells)
        has_begun = has_begun or bool(line.strip())


def read_json_list(reader: RowReader, text: str) -> Iterator[RawRow]:
    """The objects of a list, each with the line on which it begins; a second object on a line gets
    the next number.
    """
    reader.is_list = True
    decoder = json.JSONDecoder()
    line = 1
    number = 0
    end = text.index("[")
    # The values are decoded one by one: json.loads of the whole list would lose their lines.
    separator = _NEXT_VALUE.match(text, end)
    try:
        while separator and separator[1] in "[,":
            start = separator.end()
            line += text.count("\n", end, start)
            number = max(line, number + 1)
            end = decoder.raw_decode(text, start)[1]
            cells = _parse_object(reader, number, text[start:end])
            if cells is not None:
                yield RawRow(number, number, cells)
            line += text.count("\n", start, end)
            separator = _NEXT_VALUE.match(text, end)
        if not separator or text[separator.end() :].strip():
            end = separator.end() if separator else end
            message = (
                "there is text after the list"
                if separator
                else "the ] that ends the list is missing"
            )
            raise json.JSONDecodeError(message, text, end)
    except (json.JSONDecodeError, RecursionError) as error:
        message = getattr(error, "msg", "it is nested too deeply")
        position = getattr(error, "pos", end)
        reader.add_issue(
            text.count("\n", 0, position) + 1,
            f"not JSON: {_JSON_MESSAGES.get(message, message)}",
            quote_value(text[position:][:80]),
            "correct it; everything after it was skipped",
        )
    if number > line:
        reader.notes.append(
            f"{reader.file.name}: the number after the colon counts the objects of the list, not "
            "lines"
        )


def check_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object from its members. Raises ValueError if a key is repeated."""
    cells = dict(pairs)
    if len(cells) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {repeated!r} occurs twice")
    return cells


def _parse_object(reader: RowReader, number: int, line: str) -> dict[str, Any] | None:
    value = quote_value(line.strip())
    remedy = 'write one whole object on the line, such as {"input": "...", "output": "..."}'
    if line.lstrip().startswith("["):
        remedy = "write one JSON object on each line, without a list around them"
    try:
        cells = files.parse_json(line, object_pairs_hook=check_unique_keys)
    except json.JSONDecodeError as error:
        message = f"not JSON: {_JSON_MESSAGES.get(error.msg, error.msg)}"
        reader.add_issue(number, message, f"{value}, at position {error.pos + 1}", remedy)
    except ValueError as error:  # valid JSON whose meaning is unclear, such as a repeated key
        reader.add_issue(number, str(error), value, "correct the line")
    else:
        if isinstance(cells, dict):
            return cells
        reader.add_issue(number, "the line is not a JSON object", value, remedy)
    return None


def read_delimited(reader: RowReader) -> Iterator[RawRow]:
    """The rows of a CSV or TSV file; its first line has the column names."""
    lines = reader.lines()
    first = next(lines, "")
    if separator := _SEPARATOR_LINE.fullmatch(first.rstrip("\r\n")):
        first = next(lines, "")
    delimiter = separator[1] if separator else _detect_delimiter(reader, first)
    quoting = _detect_quoting(reader, delimiter)
    header: list[str] | None = None
    records = _read_records(reader, chain([first], lines), delimiter, quoting, int(bool(separator)))
    for number, (line, last_line, values) in enumerate(records, 1):
        if header is not None and line != number:
            reader.places[line] = _describe_sheet_row(number, header, values)
        if not any(value.strip() for value in values):
            reader.counts["empty rows"] += 1
        elif header is not None and not reader.undecodable.isdisjoint(range(line, last_line + 1)):
            continue  # its bytes are already an error, from which other errors would follow
        elif header is None:
            header = [name.strip() for name in values]
            for name, number in Counter(header).items():
                if name and number > 1:
                    reader.add_issue(
                        line,
                        "two columns have the same name",
                        quote_value(name),
                        "rename one of them",
                    )
            reader.table = TableFormat(delimiter, quoting, tuple(header))
        elif len(values) != len(header):
            num_values = formatting.format_count(len(values), "value")
            message = f"{num_values} for {formatting.format_count(len(header), 'column')}"
            remedy = (
                "quote values that contain the separator or a line break, and add missing values"
            )
            reader.add_issue(line, message, quote_value(delimiter.join(values)), remedy)
        else:
            yield RawRow(line, last_line, dict(zip(header, values, strict=True)))


def _describe_sheet_row(number: int, header: Sequence[str], values: Sequence[str]) -> str:
    """Describe a record whose number is not that of its line, as ` (row 294, T-10003)`, with its
    id if a column is named for one and the id is short.
    """
    ids = [value for name, value in zip(header, values, strict=False) if _ID_COLUMN.search(name)]
    is_short = bool(ids) and 0 < len(ids[0]) <= _MAX_ID and ids[0].isprintable()
    return f" (row {number}, {ids[0]})" if is_short else f" (row {number})"


def _detect_delimiter(reader: RowReader, header: str) -> str:
    # Another separator is accepted only if the usual one does not occur. Quoted names may contain
    # any of them.
    usual = TABLE_SUFFIXES[reader.file.suffix.lower()]
    names = re.sub(r'"[^"]*"', "", header)
    candidate = max(",;\t|", key=names.count)
    if usual in names or candidate not in names:
        return usual
    separator = "tabs" if candidate == "\t" else repr(candidate)
    reader.notes.append(f"{reader.file.name}: values are separated by {separator}")
    return candidate


def _read_records(
    reader: RowReader,
    lines: Iterator[str],
    delimiter: str,
    quoting: Literal[0, 3],
    num_skipped: int,
) -> Iterator[tuple[int, int, list[str]]]:
    """(first line, last line, values) of every record; `num_skipped` lines of the file come before
    `lines`.
    """
    current: list[str] = []

    def note_lines() -> Iterator[str]:
        for line in lines:
            current.append(line)
            yield line

    records = csv.reader(note_lines(), delimiter=delimiter, strict=True, quoting=quoting)
    with limit_field_size(_MAX_CELL_LENGTH):
        while True:
            # csv counts the lines it has read, so the next record begins one line later.
            start = num_skipped + records.line_num + 1
            current.clear()
            try:
                values = next(records)
            except StopIteration:
                return
            except csv.Error as error:
                message = str(error)
                remedy = "write a quote inside a quoted value twice"
                if "new-line" in message:
                    message = "a line ends with CR only"
                    remedy = r"save the file with usual line endings (tr '\r' '\n' < FILE > NEW)"
                elif "end of data" in message or "limit" in message:
                    remedy = "close the quote that this row opens"
                table = reader.file.suffix.lower().removeprefix(".").upper()
                reader.add_issue(
                    start, f"not {table}: {message}", quote_value(current[0].strip()), remedy
                )
            else:
                yield start, num_skipped + records.line_num, values


@contextmanager
def limit_field_size(limit: int) -> Iterator[None]:
    """Lets csv read values of at most `limit` characters within the block. The limit is global to
    the process.
    """
    # Python's default of 131,072 is too small for long documents.
    before = csv.field_size_limit(limit)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _detect_quoting(reader: RowReader, delimiter: str) -> Literal[0, 3]:
    """Whether quotes enclose values. In TSV they often do not, and then enclosing quotes would join
    rows. They enclose values in TSV if all names of the first line are quoted, or if the whole file
    can be read so without errors.
    """
    if reader.file.suffix.lower() != ".tsv":
        return csv.QUOTE_MINIMAL
    names = next(RowReader(reader.file).lines(), "").strip().split("\t")
    if all(len(name) > 1 and name[0] == name[-1] == '"' for name in names):
        return csv.QUOTE_MINIMAL
    widths: set[int] = set()
    with limit_field_size(_MAX_CELL_LENGTH), suppress(csv.Error):
        for values in csv.reader(RowReader(reader.file).lines(), delimiter=delimiter, strict=True):
            widths |= {len(values)} if values else set()
            # Several rows joined into one value would show as separators and line breaks inside it.
            if len(widths) > 1 or any(delimiter in value and "\n" in value for value in values):
                break
        else:
            return csv.QUOTE_MINIMAL
    reader.notes.append(
        f"{reader.file.name}: quotes are part of the values and do not enclose them"
    )
    return csv.QUOTE_NONE
