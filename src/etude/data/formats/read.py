"""Read examples from a file of rows."""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

from etude.base.files import hash_text
from etude.base.formatting import format_count, list_first
from etude.base.issues import find_nearest, raise_issues, suggest_instead
from etude.data.formats import columns as guess
from etude.data.formats import raw_rows
from etude.data.formats import turns as keys
from etude.data.formats.cells import Cells
from etude.data.formats.chat import has_no_user, read_input, read_turn, read_turns
from etude.data.formats.row_reader import RawRow, RowReader
from etude.data.formats.tools import format_tools, list_tool_names
from etude.data.spool import Examples, Spool
from etude.errors import InputError, Issue, quote_value
from etude.task import RowSource
from etude.task.questions import join_answers
from etude.types import MADE, Example, Kind, Message

_HEAD = 100  # first rows, from which the columns are guessed
_MAX_LOCATIONS = 10  # locations of rows that are left out


@dataclass(frozen=True)
class LoadedRows:
    """The contents of a file of rows."""

    examples: Examples
    systems: tuple[str | None, ...]  # the system message of each row; None if it has none
    source: RowSource  # the columns, guessed ones included
    notes: tuple[str, ...]  # what was guessed, left out or changed, one sentence each
    # Errors of the rows that are not among the examples, in the order of the lines.
    issues: tuple[Issue, ...] = ()
    offers: tuple[str, ...] = ()  # the functions that each row offers, as text; "" for none

    @property
    def tools(self) -> str:
        """The functions that the rows share; "" if there are none, or if rows have different
        ones.
        """
        return find_shared(self.offers)


def find_shared(texts: Sequence[str | None]) -> str:
    """The text that most rows have, if no row has another one, so that it may be used for all; ""
    if there is none.
    """
    present = [text for text in texts if text]
    is_shared = len({text.strip() for text in present}) == 1 and 2 * len(present) > len(texts)
    return present[0] if is_shared else ""


def read_rows(source: RowSource, kind: Kind | None = None) -> LoadedRows:
    """Reads a whole file of rows, and guesses the columns that `source` does not set.

    Texts and numbers are accepted as answers; if `kind` is extract or None, any JSON value is.
    Spaces and line breaks around an answer are removed.

    Raises InputError with every error of the file (50 are spelled out), each as file:line.
    """
    rows = _load(RowReader(source.file, kind), source)
    raise_issues(rows.issues, source.file)
    return rows


def survey_rows(source: RowSource, kind: Kind | None = None) -> LoadedRows:
    """Like `read_rows`, but leaves out rows that cannot be read and returns their errors in
    `issues`.

    The examples are kept in a temporary file. Raises InputError if the whole file cannot be read.
    """
    return _load(RowReader(source.file, kind, examples=Spool()), source)


def peek_rows(file: Path, limit: int = _HEAD) -> list[Mapping[str, Any]]:
    """The first readable rows of a file as column -> value; rows with errors are skipped.

    Raises InputError if they are not in UTF-8, because then every guess from them would be wrong.
    """
    reader = RowReader(file)
    cells = [row.cells for row in islice(raw_rows.read_raw_rows(reader), limit)]
    reader.refuse_encoding()
    return cells


def find_input_columns(
    file: Path, wanted: Sequence[str], usual: Sequence[str] = ()
) -> tuple[list[str], int, tuple[str, ...]]:
    """The names of a file's columns, its number of rows, and the columns of the input.

    The columns of the input are, in this order of preference: `wanted`; `usual` if the file has all
    of them; a guess by names; the only column. Raises InputError for all rows that cannot be read,
    if there are no rows, and if the columns of the input are unknown.
    """
    reader = RowReader(file)
    names = dict[str, None]()
    head = list[Mapping[str, Any]]()
    num_rows = 0
    for row in raw_rows.read_raw_rows(reader):
        num_rows += 1
        names |= dict.fromkeys(row.cells)
        head += [row.cells] if num_rows <= _HEAD else []
    reader.refuse_encoding()
    columns = tuple(wanted) or (tuple(usual) if set(usual) <= set(names) else ())
    columns = (
        columns
        or guess.guess_input_columns([*names], head)
        or (tuple(names) if len(names) == 1 else ())
    )
    message = ""
    remedy = ""
    if not num_rows:
        message = "the file contains no rows"
        remedy = "check the name, or add rows to the file"
    elif missing := [name for name in columns if name not in names]:
        message = f"no column {missing[0]!r}"
        remedy = suggest_instead(missing[0], names)
    elif not columns:
        message = "unclear which column is the input"
        remedy = "set it with --input COLUMN, which may be repeated"
    if message:
        reader.add_issue(1, message, quote_value(", ".join(names)), remedy)
    raise_issues([issue for _, issue in reader.issues], file)
    return [*names], num_rows, columns


def _load(reader: RowReader, source: RowSource) -> LoadedRows:
    rows = raw_rows.read_raw_rows(reader)
    # The columns are guessed from the first rows. Every row is then read by these columns, or
    # reported.
    head = list(islice(rows, _HEAD))
    columns = _choose_columns(reader, head, source)
    thumb = guess.find_thumb_column([row.cells for row in head], columns) if columns else None
    for row in chain(head, rows):
        reader.columns.update(row.cells.keys() - {thumb})
        if thumb and guess.is_thumbs_down(row.cells.get(thumb)):
            reader.counts[f"rows with {thumb}: false, whose answers are not used"] += 1
        elif columns and columns.messages and has_no_user(row.cells.get(columns.messages)):
            reader.counts["chats without a turn of the user, which are left out"] += 1
        elif columns is not None:
            _read_example(reader, row, columns)
    # Issues and notes that concern the whole file: its encoding, absent columns, no rows.
    columns = columns or source
    reader.refuse_encoding()
    for name in guess.list_optional_columns(columns):
        if reader.examples and name not in reader.columns:
            remedy = suggest_instead(name, sorted(reader.columns))
            reader.add_issue(1, "no such column", quote_value(name), remedy)
    if not reader.issues and not reader.examples:
        _report_no_rows(reader)
    _write_notes(reader, columns)
    issues = tuple(issue for _, issue in sorted(reader.issues, key=lambda pair: pair[0]))
    examples = reader.examples if isinstance(reader.examples, Spool) else tuple(reader.examples)
    offers = tuple(reader.offers)
    return LoadedRows(examples, tuple(reader.systems), columns, tuple(reader.notes), issues, offers)


def _write_notes(reader: RowReader, columns: RowSource) -> None:
    notes = []
    unused = reader.columns - {
        *guess.list_columns(columns),
        guess.find_tool_column(reader.columns, columns),
    }
    pair = guess.find_preference_columns(reader.columns)
    if pair and pair[1] in unused:
        unused.remove(pair[1])
        trained = columns.messages or columns.output
        notes.append(f"the answers in {pair[1]} are not used for training; those in {trained} are")
    sets = Counter(filter(None, reader.offers))
    num_without = len(reader.examples) - sets.total()
    if tools := find_shared(reader.offers):
        names = ", ".join(list_tool_names(tools))
        notes.append(f"the available functions are listed below the instructions: {names}")
        if num_without:
            reader.counts[
                "rows without functions, which are asked with the functions of the other rows"
            ] = num_without
    elif sets:
        none = f" ({num_without:,} other rows have none)" if num_without else ""
        notes.append(
            f"{format_count(sets.total(), 'row has', 'rows have')} functions, in "
            f"{format_count(len(sets), 'set')}{none}; each row is asked with its own functions"
        )
    if unused:
        names = ", ".join(name or "a column without a name" for name in sorted(unused))
        notes.append(f"columns not used: {names}")
    if reader.empty:
        locations = list_first(reader.empty, _MAX_LOCATIONS)
        count = f"{format_count(len(reader.empty), 'row')} without an input or an output"
        notes.append(f"{count} left out ({locations})")
    notes += [f"{event}: {number:,}" for event, number in reader.counts.items()]
    reader.notes += [f"{reader.file.name}: {note}" for note in notes]


def _report_no_rows(reader: RowReader) -> None:
    if reader.table:
        message = "the file contains no rows, only column names"
        remedy = (
            "add rows below them; if this line is a row, put a line with the column names before it"
        )
        reader.add_issue(1, message, quote_value(", ".join(reader.table.header)), remedy)
        return
    # The most specific reason wins.
    reason = "all lines are blank" if reader.file.stat().st_size else "it is empty"
    reason = "its list is empty" if reader.is_list else reason
    reason = "; ".join(reader.counts) if reader.columns else reason
    reader.add_issue(
        1, f"the file contains no rows: {reason}", "", "check the name, or add rows to the file"
    )


def _choose_columns(
    reader: RowReader, head: Sequence[RawRow], source: RowSource
) -> RowSource | None:
    """The columns, guessed ones included; None, with an issue, if they are unknown or absent."""
    if not head:
        return None
    cells = [row.cells for row in head]
    # Columns that the user set must exist, except optional ones, which later rows may have.
    names = guess.list_names(cells)
    optional = guess.list_optional_columns(source)
    if source.questions and not {*source.answer_columns} & {*names}:  # the answers are JSON objects
        optional += source.answer_columns
    absent = [
        name for name in guess.list_columns(source) if name not in names and name not in optional
    ]
    if absent:
        if 1 not in reader.undecodable:
            _report_absent(reader, absent, cells)
        return None
    try:
        columns = guess.guess_columns(cells, source)
    except InputError as error:
        reader.issues.extend((1, issue) for issue in error.issues)
        return None
    if columns.sentence:
        reader.notes.append(columns.sentence)
    return columns.source


def _report_absent(
    reader: RowReader, absent: Sequence[str], cells: Sequence[Mapping[str, Any]]
) -> None:
    """Adds the error of columns that the file lacks, with the columns that may be intended."""
    names = guess.list_names(cells)
    remedy = "; ".join(suggest_instead(name, names) for name in absent)
    if not any(find_nearest(name, names) for name in absent):
        with suppress(InputError):
            columns = guess.to_task_columns(
                guess.guess_columns(cells, RowSource(reader.file)).source
            )
            mapping = yaml.safe_dump(
                {"file": reader.file.name, **columns},
                default_flow_style=True,
                sort_keys=False,
                width=10_000,
            )
            remedy = f"to use the file's own columns, write {mapping.strip()} in the task file"
    message = f"no column {' and no column '.join(map(repr, absent))}"
    reader.add_issue(1, message, quote_value(", ".join(names)), remedy)


def _read_example(reader: RowReader, row: RawRow, columns: RowSource) -> None:
    # All cells are read even after an error, so that one run reports every error of the row.
    num_issues = len(reader.issues)
    cells = Cells(reader, row)
    if columns.messages:
        turns, output = _read_chat(cells, columns.messages)
    else:
        output = _read_output(cells, columns)
        turns = read_input(cells, columns.input)
    tools = _read_tools(cells, columns)
    output = columns.tidy(output)
    row_id = cells.read_id(columns.id) if columns.id else None
    references = tuple(cells.read_list(columns.references))
    tags = cells.read_named(columns.tags)
    references = tuple(map(columns.tidy, references))
    answers = cells.read_named(columns.answers, keep_empty=True)
    group, system, document = map(
        cells.read_optional, (columns.group, columns.system, columns.source)
    )
    document = MADE if row.cells.get("source") == MADE else document
    issues = reader.issues[num_issues:]
    if issues:
        if columns.skip_empty and all(issue.kind == "empty" for _, issue in issues):
            del reader.issues[num_issues:]
            reader.empty.append(issues[0][1].location)
        return
    if turns[0].role == "system":
        if system and system.strip() != turns[0].content.strip():
            message = f"{columns.system} and the first turn are different system messages"
            cells.add_issue(message, quote_value(system), "delete one of the two", "instructions")
            return
        system = turns[0].content
        turns = turns[1:]
    # Without an id column the id is a hash, with a number for repeated rows.
    if row_id is None:
        content = json.dumps([[[turn.role, turn.content] for turn in turns], output])
        row_id = hash_text(content, 12)
        reader.hash_counts[row_id] += 1
        row_id += f"-{reader.hash_counts[row_id]}" if reader.hash_counts[row_id] > 1 else ""
    location = reader.locate(row.line)
    example = Example(row_id, turns, output, references, group, tags, location, document, answers)
    reader.examples.append(example)
    # Usually equal in all rows.
    reader.systems.append(system and sys.intern(system))
    reader.offers.append(sys.intern(tools))


def _read_output(cells: Cells, columns: RowSource) -> str:
    """The answer in a column; it may be a text or a turn, alone or in a list. With a column for
    each question, an object of the answers.
    """
    if columns.answer_columns:
        answers = {
            question.name: cells.read_optional(question.column) for question in columns.questions
        }
        for question in columns.questions:
            if answers[question.name] is None:
                cells.add_issue(
                    f"{question.column} is empty", "", "fill it in, or delete the row", "empty"
                )
        return join_answers({name: (answer or "").strip() for name, answer in answers.items()})
    column = str(columns.output)
    if single := keys.unwrap_single_turn(cells.row.cells.get(column)):
        turn = read_turn(cells, column, single)
        return turn.content if turn else ""
    if columns.several:
        return cells.read_labels(column)
    return cells.read_answer(column, is_json=bool(columns.questions))


def _read_chat(cells: Cells, column: str) -> tuple[tuple[Message, ...], str]:
    """(turns, answer) of a row that is a whole chat: the last turn is the answer."""
    if isinstance(cells.row.cells.get(column), str):
        cells = cells.with_value(column, keys.parse_turns(cells.row.cells[column]))
    turns = read_turns(cells, column, "assistant")
    if turns and not turns[-1].trained:
        message = f"{column}: the last turn, which is the answer, has weight 0"
        cells.add_issue(message, "", "set it to 1, or delete the row")
    return (turns[:-1], turns[-1].content) if turns else ((), "")


def _read_tools(cells: Cells, columns: RowSource) -> str:
    """The functions that a row with a chat offers, as text; "", with an issue, if they cannot be
    read.
    """
    row = cells.row.cells
    name = guess.find_tool_column(row, columns)
    chat = row.get(columns.messages or (columns.input[0] if columns.input else ""))
    if not isinstance(keys.unwrap_turns(keys.parse_turns(chat)), list):
        return ""
    # OpenAI's preferences have the functions beside the turns, in the same cell.
    offer = row[name] if name else chat.get("tools") if isinstance(chat, dict) else None
    try:
        return format_tools(offer)
    except ValueError as error:
        remedy = (
            "write the functions in OpenAI's format, or rename the column if it contains "
            "something else"
        )
        cells.add_issue(f"{name or 'tools'}: {error}", quote_value(offer), remedy, "tools")
        return ""
