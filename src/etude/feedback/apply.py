"""Write the right answers of the feedback to a new file of examples next to the old one.

If an input is in the examples, the answer of its rows is replaced; any other input becomes a new
train row. Rows that reviewers excluded are not in the new file.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from etude.base.files import Json, parse_json, write_text
from etude.data.dataset import Survey, survey_dataset
from etude.data.formats.tools import TOOL_COLUMNS, append_tools, parse_tools, split_tools
from etude.data.formats.turns import ROLE_KEYS, TEXT_KEYS, find_key, parse_role, unwrap_turns
from etude.data.formats.write import SHAREGPT_ROLES
from etude.data.splits import input_key
from etude.errors import InputError, parse_location
from etude.feedback.entry import FILE, Feedback, FeedbackLog
from etude.feedback.gather import (
    GatheredFeedback,
    RightAnswer,
    RowEdit,
    gather_feedback,
    hash_input,
)
from etude.feedback.sealed import load_sealed_test
from etude.privacy.mask.surrogate_log import read_surrogates
from etude.repair import change_log
from etude.repair.change_log import Change, ChangeList, FixFiles, FixLog
from etude.repair.editable_rows import (
    EditableRow,
    convert_cell,
    create_row,
    read_editable_rows,
    resolve_columns,
)
from etude.repair.fix_file import format_source_line
from etude.runs import FOLDER
from etude.runs.split import add_train_only
from etude.task import RowSource, Task, load_task
from etude.task.questions import split_answers
from etude.types import Example, Message

APPLIED_NAME = re.compile(r"(.+)\.feedback(?:-(\d+))?")
"""The stem of a file that feedback has been applied to."""
ADDED = "feedback_added"
REPLACED = "feedback_replaced"
EXCLUDED = "feedback_excluded"


@dataclass(frozen=True)
class AppliedFeedback:
    """The result of applying the feedback of a task."""

    files: FixFiles
    gathered: GatheredFeedback
    changes: ChangeList  # rows added, replaced and left out; nothing is written if there are none
    num_known: int  # right answers that the examples already have
    unwritable: tuple[RightAnswer, ...]
    """Right answers that do not fit the format of the file, such as a chat of several turns in a
    table.
    """
    task_line: str  # the line for the task file that uses the new rows

    def count(self, kind: str) -> int:
        """Count the rows that were added, replaced or left out."""
        return sum(kind in change.kinds for change in self.changes)


def read_task_feedback(task: Task) -> tuple[GatheredFeedback, Survey]:
    """Read the task's feedback with its results, and its examples. Raises InputError and RunError
    for their files.
    """
    survey = survey_dataset(task)
    entries = FeedbackLog(task.folder / FILE).entries
    return gather_feedback(entries, task, load_sealed_test(task, survey.rows)), survey


def apply_feedback(task: Task | Path | str, update: bool = False) -> AppliedFeedback:
    """Write the examples of a task with the right answers of its feedback to a new file:
    rows.feedback.jsonl for rows.jsonl, or rows.feedback-2.jsonl for rows.feedback.jsonl.

    The old file is not changed. With `update`, the task file is changed to use the new file.
    Nothing is written if the examples already have all right answers. New rows never become test
    rows: the next split puts them into train. A log next to the new file has every change, with the
    row before and after it, and the people who asked for it. Raises InputError if a file cannot be
    read or if somebody has changed the new file, OSError if it cannot be written.
    """
    task = task if isinstance(task, Task) else load_task(task, needs_model=False)
    gathered, survey = read_task_feedback(task)
    rows = survey.rows
    # 1. Compare the right answers with the examples.
    rows_by_key: dict[str, list[Example]] = {}
    for row in rows:
        rows_by_key.setdefault(hash_input(row.input), []).append(row)
    additions = [answer for answer in gathered.answers if answer.key not in rows_by_key]
    edits = {
        parse_location(edit.row.location)[1]: edit
        for edit in gathered.list_edits(lambda key: rows_by_key.get(key, ()))
    }
    num_changed = len(additions) + len({edit.answer.key for edit in edits.values() if edit.answer})
    files = next_files(task.examples.file)
    change_log.check_unchanged(files, change_log.read_log(files.log))
    # 2. Build the changes, row by row.
    builder = _ChangeBuilder(task, survey)
    if additions or edits:
        builder.build(additions, edits, {row.id for row in rows})
    applied = AppliedFeedback(
        files,
        gathered,
        builder.changes,
        len(gathered.answers) - num_changed,
        tuple(builder.unwritable),
        format_source_line(task, files.fixed_file),
    )
    if not len(builder.changes):
        return applied
    # 3. Write the files. The keys of new train rows come first, so that no new row gets into a test
    # after a kill.
    add_train_only(
        task.folder / FOLDER, [input_key(Example("", answer.input, "")) for answer in additions]
    )
    surrogates = tuple(sorted(read_surrogates(files.source)))
    log = FixLog(
        files.source.name,
        change_log.hash_file(files.source),
        surrogates=surrogates,
        changes=builder.changes,
    )
    change_log.write_fix(files, log)
    if update:
        update_task(task, files.fixed_file)
    return applied


def next_files(source: Path) -> FixFiles:
    """Return the paths of the new file: rows.feedback.jsonl for rows.jsonl, then
    rows.feedback-2.jsonl.
    """
    match = APPLIED_NAME.fullmatch(source.stem)
    if match is None:
        return FixFiles(source, f"{source.stem}.feedback")
    return FixFiles(source, f"{match[1]}.feedback-{int(match[2] or 1) + 1}")


@dataclass
class _ChangeBuilder:
    task: Task
    survey: Survey
    changes: ChangeList = field(default_factory=ChangeList)
    unwritable: list[RightAnswer] = field(default_factory=list)

    def build(
        self, new: Sequence[RightAnswer], edits: Mapping[int, RowEdit], ids: set[str]
    ) -> None:
        """Replace answers, leave out rows, and add the new answers after the last row. `edits` has
        the first line of each row to be changed.
        """
        template: EditableRow | None = None
        for row in read_editable_rows(self.task.examples, self.task.kind):
            template = template or row
            if row.line not in edits:
                continue
            example, entries, answer = edits[row.line]
            after = self._replace_answer(row, answer.output) if answer else None
            if answer and after is None:
                self.unwritable.append(answer)
                continue
            kind = REPLACED if answer else EXCLUDED
            before = row.raw.decode()
            note = _format_note(entries)
            self.changes.append(
                Change(example.id, row.line, row.last_line, (kind,), before, after, note)
            )
        if template is not None:
            self._add(new, template, ids)

    def _replace_answer(self, row: EditableRow, output: str) -> str | None:
        if texts := row.place_answer(output):
            replaced = row.with_texts(texts)
            return replaced.raw.decode() if replaced else None
        column = resolve_columns(self.task.examples).messages
        if column is None or row.table:
            return None
        # The answer calls functions, so its turn has no text that could be replaced.
        earlier = unwrap_turns(row.cells[column])[:-1]
        chat = [*earlier, *_format_turns([Message("assistant", output)], column, row)]
        raw = create_row(row, {**row.cells, column: _encode_turns(chat, column, row)})
        return raw.decode() if raw else None

    def _add(self, answers: Sequence[RightAnswer], template: EditableRow, ids: set[str]) -> None:
        columns = resolve_columns(self.task.examples)
        with self.task.examples.file.open("rb") as stream:
            num_lines, last = max(enumerate(stream, 1), default=(0, b"\n"))
        missing_end = "" if last.endswith(b"\n") else "\n"
        for answer in answers:
            # The first name may already exist, if the input of an earlier new row was edited by
            # hand.
            row_id = name = f"feedback-{answer.key[:12]}"
            numbers = count(2)
            while row_id in ids:
                row_id = f"{name}-{next(numbers)}"
            cells = _build_cells(answer, row_id, columns, template, self.survey)
            raw = create_row(template, cells) if cells else None
            if raw is None:
                self.unwritable.append(answer)
                continue
            after = missing_end + raw.decode()
            missing_end = ""
            note = _format_note(answer.entries)
            self.changes.append(Change(row_id, num_lines + 1, num_lines, (ADDED,), "", after, note))


def _format_note(entries: Sequence[Feedback]) -> str:
    return "; ".join(f"{entry.reviewer}, {entry.created}, {entry.id}" for entry in entries)


def _build_cells(
    answer: RightAnswer, row_id: str, columns: RowSource, template: EditableRow, survey: Survey
) -> dict[str, Any] | None:
    """Build the cells of a new row in the format of `template`; None if its turns do not fit the
    file.

    The system message and the functions are those of the answer's input, or the shared ones of the
    file's rows.
    """
    cells: dict[str, Any] = {str(columns.id): row_id} if columns.id else {}
    plain_turns = tuple(turn for turn in answer.input if turn.role != "system")
    own_system = answer.input[0].content if answer.input[0].role == "system" else ""
    system, tools = split_tools(own_system) if own_system else ("", survey.shared_tools)
    system = system or survey.shared_system
    tool_column = next((name for name in TOOL_COLUMNS if name in template.cells), None)
    if columns.messages and tools and (tool_column or not template.table):
        is_text = isinstance(template.cells.get(str(tool_column)), str)
        offer = parse_tools(tools)
        cells[tool_column or TOOL_COLUMNS[0]] = (
            json.dumps(offer, ensure_ascii=False) if is_text else offer
        )
        tools = ""
    system = append_tools(system, tools)
    if columns.system and system:
        cells[columns.system] = system
        system = ""
    if columns.messages:
        first_turn = [Message("system", system)] if system else []
        chat = (*first_turn, *plain_turns, Message("assistant", answer.output))
        items = _format_turns(chat, columns.messages, template)
        return cells | {columns.messages: _encode_turns(items, columns.messages, template)}
    chat = plain_turns if columns.system else answer.input
    turns = [{"role": turn.role, "content": turn.content} for turn in chat]
    if len(turns) > 1 and (template.table or len(columns.input) > 1):
        return None
    first, *empty = columns.input
    if columns.answer_columns:
        labels = split_answers(answer.output)
        cells |= {
            question.column: convert_cell(
                labels[question.name], template.cells.get(question.column)
            )
            for question in columns.questions
        }
    output: Any = answer.output
    if not isinstance(template.cells.get(str(columns.output)), str | list):
        with suppress(ValueError):  # the other row has a JSON value
            output = parse_json(answer.output)
    cells |= {first: turns if len(turns) > 1 else chat[0].content, **dict.fromkeys(empty, "")}
    return cells if columns.answer_columns else cells | {str(columns.output): output}


def _format_turns(chat: Sequence[Message], column: str, template: EditableRow) -> list[Json]:
    turns = unwrap_turns(template.cells[column])
    role_key = find_key(turns[0], ROLE_KEYS)
    text_key = find_key(turns[0], TEXT_KEYS)
    roles = {role: SHAREGPT_ROLES[role] if role_key == "from" else role for role in SHAREGPT_ROLES}
    roles |= {role: turn[role_key] for turn in turns if (role := parse_role(turn))}
    return [{role_key: roles[turn.role], text_key: turn.content} for turn in chat]


def _encode_turns(items: Sequence[Json], column: str, template: EditableRow) -> Any:
    is_text = template.table or column in template.encoded_turns
    return json.dumps(items, ensure_ascii=False) if is_text else items


def update_task(task: Task, file: Path) -> None:
    """Write the name of another file of examples into the task file. Everything else, including
    comments, is unchanged.

    Raises InputError, with the line to write, if the YAML of the file cannot be edited in place.
    """
    text = task.file.read_text(encoding="utf-8")
    expected = yaml.safe_load(text)
    name = str(file.relative_to(task.folder) if file.is_relative_to(task.folder) else file)
    if isinstance(expected["examples"], dict):
        expected["examples"]["file"] = name
    else:
        expected["examples"] = name
    node = _find_node(yaml.compose(text), "examples")
    node = _find_node(node, "file") if isinstance(node, yaml.MappingNode) else node
    quoted = yaml.safe_dump(
        [name], default_flow_style=True, allow_unicode=True, width=10_000
    ).strip()[1:-1]
    edited = f"{text[: node.start_mark.index]}{quoted}{text[node.end_mark.index :]}"
    if yaml.safe_load(edited) != expected:
        remedy = f"write this line yourself: {format_source_line(task, file)}"
        raise InputError.of(task.file.name, "examples: cannot be edited in place", "", remedy)
    write_text(task.file, edited)


def _find_node(mapping: Any, key: str) -> Any:
    return next(value for name, value in mapping.value if name.value == key)
