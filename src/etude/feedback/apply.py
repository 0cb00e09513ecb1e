"""Right answers that people gave, as rows of a new file of examples beside the old one.

An input that is among the examples keeps its rows, whose answers are replaced; any other becomes a new row, and trains.
A row that people want left out is not in the new file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from itertools import count as count_from
from pathlib import Path
from typing import Any

import yaml

from etude.base.files import parse_json, write_text
from etude.base.spool import Examples
from etude.data.dataset import survey_dataset
from etude.data.formats.pairs import ROLES as SHAREGPT
from etude.data.formats.tools import COLUMNS as TOOLS
from etude.data.formats.turns import ROLE_KEYS, TEXT_KEYS, key_of, role_of, turns_in
from etude.data.splits import input_key
from etude.errors import InputError, Issue, parse_location
from etude.feedback.entry import FILE, Feedback, FeedbackLog
from etude.feedback.gather import Gathered, RightAnswer, gather, rows_meant
from etude.feedback.sealed import sealed_rows
from etude.repair.change_log import (
    Change,
    Changes,
    Files,
    FixLog,
    check_ours,
    hash_of,
    read_log,
    stand_ins,
    write_fix,
)
from etude.repair.fix import source_line
from etude.repair.rewriting import Record, columns_of, new_row, records
from etude.runs import FOLDER
from etude.runs.split import keep_in_train
from etude.task import RowSource, Task, load_task
from etude.types import Example, Message

ENDING = re.compile(r"(.+)\.feedback(?:-(\d+))?")
"""The name, without its suffix, of a file that feedback has been applied to."""
ADDED, REPLACED, EXCLUDED = "feedback_added", "feedback_replaced", "feedback_excluded"


@dataclass(frozen=True)
class Applied:
    """What became of the feedback of a task."""

    files: Files
    gathered: Gathered
    changes: Changes
    """Rows added, replaced and left out; nothing is written if there are none."""
    known: int
    """Right answers that the examples hold already."""
    unwritten: tuple[RightAnswer, ...]
    """Right answers that the file has no way to write, such as a chat of several turns in a table."""
    line: str
    """What to write in the task file to use the new rows."""

    def count(self, kind: str) -> int:
        """Rows that were added, replaced or left out."""
        return sum(kind in change.kinds for change in self.changes)


def read_task_feedback(task: Task) -> tuple[Gathered, Examples]:
    """What comes of the task's feedback, and its examples. Raises InputError and RunError for files that cannot be
    read."""
    rows = survey_dataset(task).rows
    entries = FeedbackLog(task.folder / FILE).entries
    return gather(entries, task, sealed_rows(task, rows)), rows


def apply(task: Task | Path | str, update: bool = False) -> Applied:
    """Writes the examples of a task with the right answers of its feedback to a new file: rows.feedback.jsonl beside
    rows.jsonl, or rows.feedback-2.jsonl beside rows.feedback.jsonl.

    The old file is not written to. With `update` the task file names the new one. Nothing is written if the examples
    hold all right answers already. New rows never become test rows: the next split puts them into train. Every change
    is in a log beside the new file, with the row before and after and who asked for it. Raises InputError if a file
    cannot be read or if the new file is there and was changed by somebody else, OSError if it cannot be written.
    """
    task = task if isinstance(task, Task) else load_task(task, needs_model=False)
    gathered, rows = read_task_feedback(task)
    by_key: dict[str, list[Example]] = {}
    for row in rows:
        by_key.setdefault(input_key(row), []).append(row)
    new = [answer for answer in gathered.answers if answer.key not in by_key]
    corrected = [
        answer
        for answer in gathered.answers
        if any(answer.differs(row) for row in by_key.get(answer.key, ()))
    ]
    files = next_files(task.examples.file)
    check_ours(files, read_log(files.log))
    made = _Rows(task, by_key)
    out = {
        parse_location(row.location)[1]: (row.id, said)
        for key, said in gathered.excluded.items()
        for row in rows_meant(by_key.get(key, ()), said)
    }
    made.take([*corrected, *new], out)
    known = len(gathered.answers) - len(corrected) - len(new)
    line = source_line(task, files.fixed)
    applied = Applied(files, gathered, made.changes, known, tuple(made.unwritten), line)
    if not len(made.changes):
        return applied
    keep_in_train(task.folder / FOLDER, [answer.key for answer in new])
    surrogates = tuple(sorted(stand_ins(files.source)))
    log = FixLog(files.source.name, hash_of(files.source), stand_ins=surrogates, changes=made.changes)
    write_fix(files, log)
    if update:
        update_task(task, files.fixed)
    return applied


def next_files(source: Path) -> Files:
    """The new file beside the old one: rows.feedback.jsonl of rows.jsonl, rows.feedback-2.jsonl of that one."""
    found = ENDING.fullmatch(source.stem)
    return Files(
        source, f"{found[1]}.feedback-{int(found[2] or 1) + 1}" if found else f"{source.stem}.feedback"
    )


@dataclass
class _Rows:
    """Changes of a file of examples in the making."""

    task: Task
    rows: Mapping[str, Sequence[Example]]
    """Key of an input -> its rows, which may differ in case and punctuation."""
    changes: Changes = field(default_factory=Changes)
    unwritten: list[RightAnswer] = field(default_factory=list)

    def take(self, answers: Sequence[RightAnswer], out: Mapping[int, tuple[str, Sequence[Feedback]]]) -> None:
        """Replaces the answers of the rows that are there, adds the others behind the last row, and leaves out the rows
        that begin on the lines of `out`: their ids, and who says so."""
        old = {
            parse_location(row.location)[1]: (row.id, answer)
            for answer in answers
            for row in self.rows.get(answer.key, ())
            if answer.differs(row)
        }
        like: Record | None = None
        for record in records(self.task.examples, self.task.kind) if answers or out else ():
            like = like or record
            if record.line in old:
                row, answer = old[record.line]
                new = record.with_texts({record.answers[0]: answer.output}) if record.answers else None
                self._change(row, answer, record, new.raw if new else None)
            elif record.line in out:
                row, entries = out[record.line]
                before, note = record.raw.decode(), _note(entries)
                self.changes.append(Change(row, record.line, record.last, (EXCLUDED,), before, None, note))
        if like is not None:
            self._add([answer for answer in answers if answer.key not in self.rows], like)

    def _change(self, row: str, answer: RightAnswer, record: Record, raw: bytes | None) -> None:
        if raw is None:
            self.unwritten.append(answer)
            return
        change = Change(
            row,
            record.line,
            record.last,
            (REPLACED,),
            record.raw.decode(),
            raw.decode(),
            _note(answer.entries),
        )
        self.changes.append(change)

    def _add(self, answers: Sequence[RightAnswer], like: Record) -> None:
        columns = columns_of(self.task.examples)
        lines, missing_end = _lines(self.task.examples.file)
        ids = {row.id for rows in self.rows.values() for row in rows}
        for answer in answers:
            name = next(name for name in _names(answer.key) if name not in ids)
            cells = _cells(answer, name, columns, like)
            raw = new_row(like, cells) if cells else None
            if raw is None:
                self.unwritten.append(answer)
                continue
            after, missing_end = missing_end + raw.decode(), ""
            self.changes.append(Change(name, lines + 1, lines, (ADDED,), "", after, _note(answer.entries)))


def _note(entries: Sequence[Feedback]) -> str:
    return "; ".join(f"{entry.who}, {entry.at}, {entry.id}" for entry in entries)


def _names(key: str) -> Iterator[str]:
    """Ids for a new row: of an input that was changed by hand since, the first is taken."""
    yield from (f"feedback-{key[:12]}{ending}" for ending in chain([""], (f"-{n}" for n in count_from(2))))


def _lines(file: Path) -> tuple[int, str]:
    """Lines of a file, and the line end that its last line lacks."""
    with file.open("rb") as stream:
        number, last = max(enumerate(stream, 1), default=(0, b"\n"))
    return number, "" if last.endswith(b"\n") else "\n"


def _cells(answer: RightAnswer, name: str, columns: RowSource, like: Record) -> dict[str, Any] | None:
    """The values of a new row in the shape of another; None if the file has no way to hold its turns."""
    known = {str(columns.id): name} if columns.id else {}
    if columns.system and isinstance(like.cells.get(columns.system), str):
        known[columns.system] = like.cells[columns.system]
    if columns.messages:
        known |= {each: like.cells[each] for each in TOOLS if like.cells.get(each)}
        return known | {columns.messages: _chat(answer, columns.messages, like)}
    turns = [{"role": turn.role, "content": turn.content} for turn in answer.input]
    if len(turns) > 1 and (like.table or len(columns.input) > 1):
        return None
    asked = turns if len(turns) > 1 else answer.input[0].content
    rest = dict.fromkeys(columns.input[1:], "")
    return known | {
        columns.input[0]: asked,
        **rest,
        str(columns.output): _value(answer, str(columns.output), like),
    }


def _value(answer: RightAnswer, column: str, like: Record) -> Any:
    """The answer as a text, or as a JSON value where another row has one."""
    if isinstance(like.cells.get(column), str | list):
        return answer.output
    try:
        return parse_json(answer.output)
    except ValueError:
        return answer.output


def _chat(answer: RightAnswer, column: str, like: Record) -> Any:
    """The turns with the answer, their keys and roles named as in another row, behind its system turn."""
    turns = turns_in(like.cells[column])
    role, text = key_of(turns[0], ROLE_KEYS), key_of(turns[0], TEXT_KEYS)
    said = {each: SHAREGPT[each] if role == "from" else each for each in SHAREGPT}
    said |= {turns_role: turn[role] for turn in turns if (turns_role := role_of(turn))}
    system = [turn for turn in turns[:1] if role_of(turn) == "system"]
    spoken = (*answer.input, Message("assistant", answer.output))
    made = [*system, *({role: said[turn.role], text: turn.content} for turn in spoken)]
    return json.dumps(made, ensure_ascii=False) if like.table or column in like.written else made


def update_task(task: Task, file: Path) -> None:
    """Names another file of examples in the task file; everything else in it stays, comments too.

    Raises InputError, with the line to write, if the file is written in a way that cannot be changed so.
    """
    text = task.file.read_text(encoding="utf-8")
    wanted = yaml.safe_load(text)
    name = str(file.relative_to(task.folder) if file.is_relative_to(task.folder) else file)
    if isinstance(wanted["examples"], dict):
        wanted["examples"]["file"] = name
    else:
        wanted["examples"] = name
    node = _node_of(yaml.compose(text), "examples")
    node = _node_of(node, "file") if isinstance(node, yaml.MappingNode) else node
    written = yaml.safe_dump([name], default_flow_style=True, allow_unicode=True, width=10_000).strip()[1:-1]
    new = f"{text[: node.start_mark.index]}{written}{text[node.end_mark.index :]}"
    if yaml.safe_load(new) != wanted:
        line = source_line(task, file)
        raise InputError(
            [Issue(task.file.name, "examples: cannot be changed in place", "", f"write in it: {line}")]
        )
    write_text(task.file, new)


def _node_of(mapping: Any, key: str) -> Any:
    return next(value for name, value in mapping.value if name.value == key)
