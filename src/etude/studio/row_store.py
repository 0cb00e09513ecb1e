"""The examples as a page displays them: searched, filtered and paged in SQLite, without rows of the sealed test."""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etude.base.files import read_lines
from etude.base.typed_json import from_json
from etude.checks import check
from etude.data.splits import input_key
from etude.errors import EtudeError
from etude.feedback.sealed import SealedTest
from etude.runs import Run
from etude.studio.proposals import Proposals
from etude.task import Task
from etude.types import Example, Excerpt, Finding, Message

PAGE_ROWS = 50
MAX_TAGS = 300  # values of tags in the filter
_SCHEMA = """
create table rows (
  number integer primary key, id text, location text, input text, output text, tags text, turns text, key text);
create table tags (tag text, number integer);
create table findings (kind text, id text);
create index by_tag on tags (tag);
create index by_id on rows (id);
create index by_key on rows (key);
create index by_kind on findings (kind, id);
"""


@dataclass(frozen=True)
class DataRow:
    """One row on the page."""

    id: str
    location: str
    input: str
    output: str
    tags: Mapping[str, str]
    turns: tuple[Message, ...]
    kinds: tuple[str, ...] = ()  # kinds of the findings about it


class RowStore:
    """The rows that may be displayed, and the findings about them."""

    def __init__(self, rows: Iterable[Example], sealed: SealedTest, findings: Sequence[Finding]) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)  # guarded by the lock
        self._database.executescript(_SCHEMA)
        self.tags: Counter[str] = Counter()  # `name: value` of a tag -> number of rows
        with self._database:
            for number, row in enumerate(row for row in rows if not sealed.contains(row.text)):
                self._add(number, row)
        self.set_findings(findings)

    def _add(self, number: int, row: Example) -> None:
        tags = [f"{name}: {value}" for name, value in row.tags.items()]
        self.tags.update(tags)
        turns = json.dumps([(turn.role, turn.content) for turn in row.input])
        texts = (row.text, row.output, json.dumps(dict(row.tags)), turns, input_key(row))
        self._database.execute(
            "insert into rows values (?, ?, ?, ?, ?, ?, ?, ?)", (number, row.id, row.location, *texts)
        )
        self._database.executemany("insert into tags values (?, ?)", [(tag, number) for tag in tags])

    def set_findings(self, findings: Sequence[Finding]) -> None:
        """Replace the findings by those of a new check."""
        with self._lock, self._database:
            ids = {row_id for (row_id,) in self._database.execute("select id from rows")}
            self._database.execute("delete from findings")
            pairs = {(finding.kind, row) for finding in findings for row in finding.rows if row in ids}
            self._database.executemany("insert into findings values (?, ?)", sorted(pairs))
        self.findings: list[tuple[Finding, list[Excerpt], int]] = [
            (
                finding,
                [excerpt for excerpt in finding.excerpts if excerpt.row in ids],
                len(ids.intersection(finding.rows)),
            )
            for finding in findings
        ]
        """Each finding, its excerpts from rows that may be displayed, and how many of these rows it is about."""

    def search(self, words: str, tag: str, kind: str, page: int) -> tuple[list[DataRow], int]:
        """Return a page (from 0) of the rows that contain the words, have the tag and a finding of the kind; and the
        number of all such rows. An empty text matches every row."""
        conditions, values = ["1"], list[str]()
        if words:
            pattern = words.replace("!", "!!").replace("%", "!%").replace("_", "!_")
            conditions.append("(input like ? escape '!' or output like ? escape '!' or id = ?)")
            values += [f"%{pattern}%", f"%{pattern}%", words]
        if tag:
            conditions.append("number in (select number from tags where tag = ?)")
            values.append(tag)
        if kind:
            conditions.append("id in (select id from findings where kind = ?)")
            values.append(kind)
        clause = " and ".join(conditions)
        ((total,),) = self._run(f"select count(*) from rows where {clause}", *values)
        query = f"select * from rows where {clause} order by number limit {PAGE_ROWS} offset ?"
        return [self._read_row(record) for record in self._run(query, *values, page * PAGE_ROWS)], total

    def find(self, row_id: str) -> DataRow | None:
        """Return the row with an id."""
        records = self._run("select * from rows where id = ?", row_id)
        return self._read_row(records[0]) if records else None

    def find_inputs(self, ids: Iterable[str]) -> dict[str, tuple[Message, ...]]:
        """Return the inputs of the rows with these ids, as far as they may be displayed."""
        query = "select id, turns from rows where id in (select value from json_each(?))"
        return {row_id: _parse_turns(turns) for row_id, turns in self._run(query, json.dumps([*ids]))}

    def find_by_key(self, key: str) -> list[Example]:
        """Return id, input and output of the rows with an `input_key`."""
        query = "select id, turns, output from rows where key = ? order by number"
        return [
            Example(row_id, _parse_turns(turns), output) for row_id, turns, output in self._run(query, key)
        ]

    def _read_row(self, record: tuple[str, ...]) -> DataRow:
        _, row_id, location, text, output, tags, turns, _ = record
        kinds = tuple(kind for (kind,) in self._run("select kind from findings where id = ?", row_id))
        return DataRow(row_id, location, text, output, json.loads(tags), _parse_turns(turns), kinds)

    def _run(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()


class DataCheck:
    """`etude check` in a thread beside the pages."""

    def __init__(self, task: Task, data: RowStore) -> None:
        self.task, self.data, self.proposals = task, data, Proposals()
        self.is_running, self.error = False, ""

    def start(self) -> None:
        """Start a check, unless one is running."""
        if not self.is_running:
            self.is_running, self.error = True, ""
            threading.Thread(target=self._run, name="checking", daemon=True).start()

    def _run(self) -> None:
        try:
            self.data.set_findings(check(self.task.file).items)
            self.proposals.refresh(self.task, lambda row: self.data.find(row) is not None)
        except (EtudeError, OSError) as error:
            self.error = str(error)
        finally:
            self.is_running = False


def load_findings(run: Run) -> list[Finding]:
    """Load what the quick checks found before the run."""
    file = run.folder / "findings.jsonl"
    return [from_json(Finding, line) for line in read_lines(file)] if file.exists() else []


def _parse_turns(text: str) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in json.loads(text))
