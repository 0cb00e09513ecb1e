"""Rows of a file that can be rewritten one by one, while every byte of the other rows stays the
same.

The texts that are trained on (input and answers) can be changed, and so can other texts and whole
numbers with personal data. Everything else keeps its value, except that numbers with more than the
17 digits of a float are rounded in a changed row of JSON lines. A changed row is written by json or
csv, with its previous separators and line ending.
"""

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

from etude.base.formatting import format_command
from etude.data.formats import binary_files, guess_columns, peek_rows, raw_rows, row_reader
from etude.data.formats import turns as turn_format
from etude.errors import InputError
from etude.privacy import find
from etude.task import RowSource
from etude.task.questions import split_answers
from etude.text.label_lists import YES_OR_NO
from etude.types import Kind, TaskQuestion

# Keys and indices that lead to a text in the cells of a row, such as ("messages", 0, "content")
CellPath = tuple[str | int, ...]
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class EditableRow:
    """One row as it is in the file, and the paths of its texts."""

    line: int
    """Its first line, from 1."""
    last_line: int
    raw: bytes
    """Its bytes, with the line end."""
    cells: Mapping[str, Any]
    input_paths: tuple[CellPath, ...]
    answer_paths: tuple[CellPath, ...]
    """The answer, then the references."""
    other_paths: tuple[CellPath, ...]
    """Other texts and whole numbers, which are not trained on; without system messages."""
    joint: str
    """The separator between the texts of the input when they are searched as one text."""
    table: row_reader.TableFormat | None = field(repr=False)
    encoded_turns: Mapping[str, str] = field(default_factory=dict)
    """Column whose turns are JSON inside a text -> that text; `cells` has the parsed turns."""
    questions: tuple[TaskQuestion, ...] = ()
    """The questions whose answers have a column each."""

    def place_answer(self, output: str) -> dict[CellPath, str]:
        """Return the texts, by their paths, that make `output` the answer; empty if the row has no
        place for it.
        """
        if not self.questions:
            return {path: output for path in self.answer_paths[:1]}
        answers = split_answers(output)
        pairs = [(question.column, answers[question.name]) for question in self.questions]
        return {(column,): answer for column, answer in pairs if column in self.cells}

    def get_text(self, path: CellPath) -> str:
        """Return the text at a path, or any other value as JSON."""
        value: Any = self.cells
        for key in path:
            value = value[key]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def with_texts(self, texts: Mapping[CellPath, str]) -> "EditableRow | None":
        """Return the row with other texts at these paths; None if the file format cannot hold
        them.
        """
        cells: Any = copy.deepcopy(dict(self.cells))
        for path, text in texts.items():
            _set_text(cells, path, text)
        encoded_turns = {
            name: text if cells[name] == self.cells[name] else _dump_like(cells[name], text)
            for name, text in self.encoded_turns.items()
        }
        new_cells = {**cells, **encoded_turns}
        raw: bytes | None
        if self.table is None:
            mark = _BOM if self.raw.startswith(_BOM) else b""
            raw = (
                mark + _dump_like(new_cells, self.raw.decode()).encode() + _find_line_end(self.raw)
            )
        else:
            (old_values,) = _read_values(self.raw, self.table)
            names = {path[0] for path in texts}
            pairs = zip(self.table.header, old_values, strict=True)
            values = [new_cells[name] if name in names else value for name, value in pairs]
            raw = _encode_record(values, self.table, _find_line_end(self.raw))
        return (
            None
            if raw is None
            else replace(self, raw=raw, cells=cells, encoded_turns=encoded_turns)
        )


def read_editable_rows(source: RowSource, kind: Kind) -> Iterator[EditableRow]:
    """Yield the rows in valid UTF-8. Raises InputError if --fix cannot write this kind of file,
    OSError in reading.
    """
    if binary_files.is_binary(source.file):
        remedy = f"convert it to text first: {format_command('convert', source.file)} --to openai"
        raise InputError.of(source.file.name, "--fix cannot write this kind of file", "", remedy)
    columns = resolve_columns(source)
    reader = row_reader.RowReader(source.file, kind)
    line = 0
    with source.file.open("rb") as stream:
        for row in raw_rows.read_raw_rows(reader):
            if reader.is_list:
                message = "--fix cannot change single rows in a list of objects"
                jq_command = f"jq -c '.[]' {shlex.quote(source.file.name)} > rows.jsonl"
                remedy = (
                    f"write one object on each line ({jq_command}), then set examples: to that file"
                )
                raise InputError.of(source.file.name, message, "", remedy)
            raw = b"".join(islice(stream, row.line - 1 - line, row.last_line - line))
            line = row.last_line
            try:
                raw.decode()
            except UnicodeDecodeError:
                continue
            else:
                yield _to_editable_row(row, raw, columns, reader.table)


def _to_editable_row(
    row: row_reader.RawRow, raw: bytes, columns: RowSource, table: row_reader.TableFormat | None
) -> EditableRow:
    chat = row.cells.get(columns.messages) if columns.messages else None
    turns = turn_format.parse_turns(chat)
    encoded_turns = (
        {str(columns.messages): chat} if isinstance(chat, str) and turns is not chat else {}
    )
    cells = {**row.cells, str(columns.messages): turns} if encoded_turns else row.cells
    # The paths of trained texts come first, because they decide which other texts may be masked.
    input_paths = tuple(_list_input_paths(cells, columns))
    answer_paths = tuple(_list_answer_paths(cells, columns))
    other_paths = tuple(_list_other_paths(cells, (), {*input_paths, *answer_paths}, columns.system))
    joint = "\n" if any(len(path) > 1 for path in input_paths) else "\n\n"
    paths = (input_paths, answer_paths, other_paths)
    questions = columns.questions if columns.answer_columns else ()
    return EditableRow(
        row.line, row.last_line, raw, cells, *paths, joint, table, encoded_turns, questions
    )


def create_row(template: EditableRow, cells: Mapping[str, Any]) -> bytes | None:
    """Return a new row for the file of `template`, with its line end; None if the file format
    cannot hold it.
    """
    end = _find_line_end(template.raw) or b"\n"
    if template.table is None:
        return _dump_like(dict(cells), template.raw.decode()).encode() + end
    return _encode_record(
        [cells.get(name, "") for name in template.table.header], template.table, end
    )


def resolve_columns(source: RowSource) -> RowSource:
    """Return the columns by which the file is read, guessed ones included."""
    return guess_columns(peek_rows(source.file), source).source


def _list_input_paths(cells: Mapping[str, Any], columns: RowSource) -> Iterator[CellPath]:
    if columns.messages:
        yield from _list_turn_paths(cells, columns.messages, slice(0, -1))
        return
    for name in columns.input:
        value = cells.get(name)
        if isinstance(turn_format.unwrap_turns(value), list):
            yield from _list_turn_paths(cells, name, slice(None))
        elif isinstance(value, str) and value.strip():
            yield (name,)


def _list_answer_paths(cells: Mapping[str, Any], columns: RowSource) -> Iterator[CellPath]:
    if columns.messages:
        yield from _list_turn_paths(cells, columns.messages, slice(-1, None))
    elif turn_format.unwrap_single_turn(content := cells.get(str(columns.output))):
        name = str(columns.output)
        paths = _list_turn_paths(
            {name: [turn_format.unwrap_single_turn(content)]}, name, slice(None)
        )
        yield from paths if isinstance(content, list) else ((path[0], *path[2:]) for path in paths)
    else:
        for name in columns.answer_columns or (str(columns.output),):
            if cells.get(name) is not None:
                yield (name,)
    for name in columns.references:
        value = cells.get(name)
        if isinstance(value, list):
            yield from (
                (name, number) for number, item in enumerate(value) if isinstance(item, str)
            )
        elif isinstance(value, str):
            yield (name,)


def _list_turn_paths(cells: Mapping[str, Any], name: str, selection: slice) -> Iterator[CellPath]:
    turns = turn_format.unwrap_turns(cells.get(name))
    if not isinstance(turns, list):
        return
    path: CellPath = (name,) if turns is cells[name] else (name, "messages")
    for number in range(len(turns))[selection]:
        turn = turns[number]
        if (
            not isinstance(turn, dict)
            or turn_format.parse_role(turn) == "system"
            or turn_format.has_calls(turn)
        ):
            continue
        key = turn_format.find_key(turn, turn_format.TEXT_KEYS)
        content = turn.get(key)
        if isinstance(content, str):
            yield *path, number, key
        for number_in_content, item in enumerate(content if isinstance(content, list) else ()):
            if isinstance(item, dict) and isinstance(item.get("text"), str):
                yield *path, number, key, number_in_content, "text"


def _list_other_paths(
    value: Any, path: CellPath, trained: Collection[CellPath], system: str | None
) -> Iterator[CellPath]:
    """Yield the paths of texts and whole numbers below a path, without trained texts and the system
    message.

    An object with a personal key, such as an e-mail address, counts as one text, so that the key is
    masked too.
    """
    if path in trained or (path and path == (system,)):
        return
    if isinstance(value, dict):
        left_out = _list_unmasked_keys(value)
        if path and not left_out and any(map(_is_personal, value)):
            yield path
            return
        for key, inner in value.items():
            if key not in left_out:
                yield from _list_other_paths(inner, (*path, key), trained, system)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _list_other_paths(inner, (*path, number), trained, system)
    # In a column with gaps, phone numbers become floats: 4155552671.0.
    elif path and (
        isinstance(value, str)
        or type(value) is int
        or (type(value) is float and value.is_integer())
    ):
        yield path


def _list_unmasked_keys(turn: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of a chat turn that are never masked; empty for other objects: `from` in a
    mail is not a role.
    """
    role = turn_format.parse_role(turn)
    if role is None:
        return ("role",) if "role" in turn else ()
    key = turn_format.find_key(turn, turn_format.ROLE_KEYS)
    return (key, turn_format.find_key(turn, turn_format.TEXT_KEYS)) if role == "system" else (key,)


@lru_cache(1024)
def _is_personal(key: str) -> bool:
    return bool(find(key, review=False))


def _set_text(cells: Any, path: CellPath, text: str) -> None:
    """Set the text at a path. A number stays a number: it is not replaced by a text that is not
    JSON.
    """
    *outer_keys, key = path
    inner = reduce(lambda outer, outer_key: outer[outer_key], outer_keys, cells)
    value = convert_cell(text, inner[key])
    if isinstance(inner[key], str) or not isinstance(value, str):
        inner[key] = value


def convert_cell(text: str, example: Any) -> Any:
    """Convert a text to a value for a cell of the same column as `example`; a text that is not JSON
    stays a text.
    """
    if isinstance(example, str):
        return text
    if isinstance(example, bool) and text in YES_OR_NO.values():
        return text == YES_OR_NO["true"]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _dump_like(value: Any, template: str) -> str:
    separators = (", ", ": ") if '": ' in template else (",", ":")
    text = json.dumps(value, ensure_ascii=template.isascii(), separators=separators)
    try:
        text.encode()
    except UnicodeEncodeError:  # an escaped half of a surrogate pair
        return json.dumps(value, separators=separators)
    return text


def _encode_record(values: list[Any], table: row_reader.TableFormat, end: bytes) -> bytes | None:
    """Return a row of a table; None if it would not be read back, as a line break without
    quotes.
    """
    out = io.StringIO(newline="")
    try:
        # With this line end, csv quotes values with \r as well as those with \n.
        csv.writer(out, **_csv_options(table), lineterminator="\r\n").writerow(values)
    except csv.Error:
        return None
    encoded = out.getvalue().removesuffix("\r\n").encode() + end
    return encoded if _read_values(encoded, table) == [values] else None


def _read_values(raw: bytes, table: row_reader.TableFormat) -> list[list[str]]:
    text = raw.decode()
    with raw_rows.limit_field_size(len(text) + 1):
        return list(csv.reader(io.StringIO(text, newline=""), **_csv_options(table)))


def _csv_options(table: row_reader.TableFormat) -> dict[str, Any]:
    quotechar = '"' if table.quoting == csv.QUOTE_MINIMAL else None
    return {"delimiter": table.delimiter, "quoting": table.quoting, "quotechar": quotechar}


def _find_line_end(raw: bytes) -> bytes:
    return next((end for end in (b"\r\n", b"\n") if raw.endswith(end)), b"")
