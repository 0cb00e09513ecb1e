"""The examples as a page shows them: searched, filtered and paged in SQLite; rows of the sealed test are left out."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from etude.base.files import Json, read_lines
from etude.base.typed_json import from_json
from etude.checks import check
from etude.data.splits import input_key
from etude.errors import EtudeError
from etude.feedback.sealed import Sealed
from etude.runs import Run
from etude.studio.proposals import Proposals
from etude.task import Task
from etude.types import Example, Excerpt, Finding, Message

PAGE = 50
"""Rows of a page."""
MOST_TAGS = 300
"""Values of tags that can be chosen."""
_SCHEMA = """
create table rows (
  number integer primary key, id text, place text, input text, output text, tags text, turns text, key text);
create table tagged (tag text, number integer);
create table found (kind text, id text);
create index of_tag on tagged (tag);
create index of_row on rows (id);
create index of_key on rows (key);
create index of_finding on found (kind, id);
"""


@dataclass(frozen=True)
class DataRow:
    """One row on the page."""

    id: str
    where: str
    input: str
    output: str
    tags: Mapping[str, str]
    turns: tuple[Message, ...]
    kinds: tuple[str, ...] = ()
    """Kinds of finding that name it."""


class Data:
    """The rows that may be shown, and what was found in them."""

    def __init__(self, rows: Iterable[Example], sealed: Sealed, findings: Sequence[Finding]) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.executescript(_SCHEMA)
        self.tags: Counter[str] = Counter()
        """`name: value` of a tag -> rows."""
        shown = (row for row in rows if not sealed.holds(row.text))
        with self._database:
            for number, row in enumerate(shown):
                self._add(number, row)
        self.set_findings(findings)

    def _add(self, number: int, row: Example) -> None:
        tags = [f"{name}: {value}" for name, value in row.tags.items()]
        self.tags.update(tags)
        turns = json.dumps([(turn.role, turn.content) for turn in row.input])
        said = (row.text, row.output, json.dumps(dict(row.tags)), turns, input_key(row))
        line = (number, row.id, row.location, *said)
        self._database.execute("insert into rows values (?, ?, ?, ?, ?, ?, ?, ?)", line)
        self._database.executemany("insert into tagged values (?, ?)", [(tag, number) for tag in tags])

    def set_findings(self, findings: Sequence[Finding]) -> None:
        """Takes what a check has found in place of what is known."""
        with self._lock, self._database:
            known = {row for (row,) in self._database.execute("select id from rows")}
            self._database.execute("delete from found")
            pairs = {(finding.kind, row) for finding in findings for row in finding.rows if row in known}
            self._database.executemany("insert into found values (?, ?)", sorted(pairs))
        self.findings = [_shown(finding, known) for finding in findings]

    def search(self, words: str, tag: str, kind: str, page: int) -> tuple[list[DataRow], int]:
        """The rows of a page, from 0, that hold the words, have the tag and are named by a finding of the kind; and how
        many such rows there are."""
        where, values = ["1"], list[str]()
        if words:
            where.append("(input like ? escape '!' or output like ? escape '!' or id = ?)")
            values += [_like(words), _like(words), words]
        if tag:
            where.append("number in (select number from tagged where tag = ?)")
            values.append(tag)
        if kind:
            where.append("id in (select id from found where kind = ?)")
            values.append(kind)
        clause = " and ".join(where)
        with self._lock:
            (total,) = self._database.execute(f"select count(*) from rows where {clause}", values).fetchone()
            query = f"select * from rows where {clause} order by number limit {PAGE} offset ?"
            lines = self._database.execute(query, [*values, page * PAGE]).fetchall()
        return [self._row(line) for line in lines], total

    def row(self, name: str) -> DataRow | None:
        """The row with an id."""
        with self._lock:
            line = self._database.execute("select * from rows where id = ?", (name,)).fetchone()
        return self._row(line) if line else None

    def inputs(self, names: Iterable[str]) -> dict[str, tuple[Message, ...]]:
        """The inputs of the rows with these ids, of those that are shown."""
        with self._lock:
            query = "select id, turns from rows where id in (select value from json_each(?))"
            lines = self._database.execute(query, (json.dumps([*names]),)).fetchall()
        return {name: _turns(turns) for name, turns in lines}

    def with_key(self, key: str) -> list[Example]:
        """The rows with an `input_key`: id, input and output."""
        with self._lock:
            query = "select id, turns, output from rows where key = ? order by number"
            lines = self._database.execute(query, (key,)).fetchall()
        return [Example(name, _turns(turns), output) for name, turns, output in lines]

    def _row(self, line: tuple[str, ...]) -> DataRow:
        _, name, where, text, output, tags, turns, _ = line
        with self._lock:
            kinds = self._database.execute("select kind from found where id = ?", (name,)).fetchall()
        found = tuple(kind for (kind,) in kinds)
        return DataRow(name, where, text, output, json.loads(tags), _turns(turns), found)


class Checking:
    """`etude check` beside the pages."""

    def __init__(self, task: Task, data: Data) -> None:
        self.task, self.data, self.proposals = task, data, Proposals()
        self.running, self.problem = False, ""

    def start(self) -> None:
        """Starts a check, unless one is running."""
        if not self.running:
            self.running, self.problem = True, ""
            threading.Thread(target=self._check, name="checking", daemon=True).start()

    def _check(self) -> None:
        try:
            self.data.set_findings(check(self.task.file).found)
            self.proposals.find(self.task, lambda row: self.data.row(row) is not None)
        except (EtudeError, OSError) as error:
            self.problem = str(error)
        finally:
            self.running = False


def findings_of(run: Run) -> list[Finding]:
    """What the quick checks found before the run."""
    file = run.folder / "findings.jsonl"
    lines: list[Json] = list(read_lines(file)) if file.exists() else []
    return [from_json(Finding, line) for line in lines]


def _shown(finding: Finding, known: set[str]) -> tuple[Finding, list[Excerpt], int]:
    """A finding, its passages in rows that may be shown, and how many of these rows it names."""
    return (
        finding,
        [each for each in finding.excerpts if each.row in known],
        len(known.intersection(finding.rows)),
    )


def _turns(written: str) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in json.loads(written))


def _like(words: str) -> str:
    escaped = words.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"
