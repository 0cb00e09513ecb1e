"""The examples for the data page: searched, filtered and paged in SQLite, without sealed test rows."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from etude.base.files import list_lines
from etude.base.typed_json import from_json
from etude.checks import check
from etude.errors import EtudeError
from etude.feedback.gather import hash_input
from etude.feedback.sealed import SealedTest
from etude.runs import Run
from etude.studio.proposals import Proposals
from etude.task import Task
from etude.types import Example, Excerpt, Finding, Message

PAGE_ROWS = 50
MAX_VALUES = 300  # values that a field of the filter offers
NUM_EXAMPLES = 3  # good answers that the guidelines display
FILTERS = ("tag", "kind", "state", "person")
"""The fields of the filter that offer values."""
_SCHEMA = """
create table rows (
  number integer primary key, id text, location text, input text, output text, tags text, turns text, key text);
create table marks (name text, value text, id text);
create index by_id on rows (id);
create index by_key on rows (key);
create index by_turns on rows (turns);
create index by_value on marks (name, value, id);
create index marks_by_id on marks (id, name);
"""


@dataclass(frozen=True)
class RowFilter:
    """A filter of the rows to display, export or change. An empty text matches every row."""

    q: str = ""  # words in input or answer, or an id
    tag: str = ""  # `name: value`
    kind: str = ""  # of a finding
    state: str = ""  # "corrected" or "left out"
    person: str = ""  # who has given feedback on the row


@dataclass(frozen=True)
class DataRow:
    """One row on the page."""

    id: str
    location: str
    input: str
    output: str
    tags: Mapping[str, str]
    turns: tuple[Message, ...]
    key: str  # `hash_input`
    kinds: tuple[str, ...] = ()  # kinds of the findings about it
    state: str = ""  # the row in the next file of examples: "corrected", "left out" or "" for unchanged


class RowStore:
    """The rows that may be displayed and the findings about them."""

    def __init__(self, rows: Iterable[Example], sealed: SealedTest, findings: Sequence[Finding]) -> None:
        self._lock = threading.Lock()
        self._examples: list[DataRow] | None = None
        self._database = sqlite3.connect(":memory:", check_same_thread=False)  # guarded by the lock
        self._database.executescript(_SCHEMA)
        with self._database:
            for number, row in enumerate(row for row in rows if not sealed.contains(row.text)):
                self._add(number, row)
        self.set_findings(findings)

    def _add(self, number: int, row: Example) -> None:
        tags = [("tag", f"{name}: {value}", row.id) for name, value in row.tags.items()]
        turns = _format_turns(row.input)
        texts = (row.text, row.output, json.dumps(dict(row.tags)), turns, hash_input(row.input))
        self._database.execute(
            "insert into rows values (?, ?, ?, ?, ?, ?, ?, ?)", (number, row.id, row.location, *texts)
        )
        self._database.executemany("insert into marks values (?, ?, ?)", tags)

    def set_findings(self, findings: Sequence[Finding]) -> None:
        """Replace the findings by the findings of a new check."""
        ids = {row_id for (row_id,) in self._run("select id from rows")}
        self.set_marks(
            "kind", {(finding.kind, row) for finding in findings for row in finding.rows if row in ids}
        )
        self.findings: list[tuple[Finding, list[Excerpt], int]] = [
            (
                finding,
                [excerpt for excerpt in finding.excerpts if excerpt.row in ids],
                len(ids.intersection(finding.rows)),
            )
            for finding in findings
        ]
        """For each finding: the finding, its excerpts from rows that may be displayed, and their number."""

    def set_marks(self, name: str, values: Iterable[tuple[str, str]]) -> None:
        """Replace the values of one field of the filter: pairs of a value and the id of a row."""
        self._examples = None
        marks = [(name, value, row_id) for value, row_id in sorted(set(values))]
        with self._lock, self._database:
            self._database.execute("delete from marks where name = ?", (name,))
            self._database.executemany("insert into marks values (?, ?, ?)", marks)

    def list_values(self, name: str) -> list[tuple[str, int]]:
        """List the most frequent values of a field of the filter, sorted, each with its number of rows."""
        query = (
            "select value, count(*) from marks where name = ? group by value order by count(*) desc limit ?"
        )
        return sorted(self._run(query, name, MAX_VALUES))

    def search(self, row_filter: RowFilter, page: int | None = None) -> tuple[list[DataRow], int]:
        """Return the rows of one page (counted from 0) or of all pages that match the filter, and their number."""
        values = asdict(row_filter)
        words = values.pop("q").strip()
        pattern = words.replace("!", "!!").replace("%", "!%").replace("_", "!_")
        values |= {"words": words, "pattern": f"%{pattern}%", "offset": (page or 0) * PAGE_ROWS}
        conditions = ["(input like :pattern escape '!' or output like :pattern escape '!' or id = :words)"]
        conditions += [
            f"id in (select id from marks where name = '{name}' and value = :{name})"
            for name in FILTERS
            if values[name]
        ]
        clause = " and ".join(conditions)
        ((total,),) = self._run(f"select count(*) from rows where {clause}", values)
        limit = -1 if page is None else PAGE_ROWS
        query = f"select * from rows where {clause} order by number limit {limit} offset :offset"
        return [self._read_row(record) for record in self._run(query, values)], total

    def list_examples(self) -> list[DataRow]:
        """List rows with different answers and without findings, the most frequent answers first."""
        if self._examples is None:
            query = (
                "select * from rows where id not in (select id from marks where name in ('kind', 'state')) "
                "group by output order by count(*) desc, number limit ?"
            )
            self._examples = [self._read_row(record) for record in self._run(query, NUM_EXAMPLES)]
        return self._examples

    def find(self, row_id: str) -> DataRow | None:
        """Return the row with an id."""
        records = self._run("select * from rows where id = ?", row_id)
        return self._read_row(records[0]) if records else None

    def find_inputs(self, ids: Iterable[str]) -> dict[str, tuple[Message, ...]]:
        """Return the inputs of the rows with these ids that may be displayed."""
        query = "select id, turns from rows where id in (select value from json_each(?))"
        return {row_id: _parse_turns(turns) for row_id, turns in self._run(query, json.dumps([*ids]))}

    def find_by_key(self, key: str) -> list[Example]:
        """Return id, input and output of the rows with a `hash_input`."""
        query = "select id, turns, output from rows where key = ? order by number"
        return [
            Example(row_id, _parse_turns(turns), output) for row_id, turns, output in self._run(query, key)
        ]

    def find_ids(self, turns: Sequence[Message]) -> list[str]:
        """Return the ids of the rows with exactly this input."""
        return [
            row_id for (row_id,) in self._run("select id from rows where turns = ?", _format_turns(turns))
        ]

    def _read_row(self, record: tuple[str, ...]) -> DataRow:
        _, row_id, location, text, output, tags, turns, key = record
        marks = self._run("select name, value from marks where id = ? and name in ('kind', 'state')", row_id)
        kinds = tuple(value for name, value in marks if name == "kind")
        state = next((value for name, value in marks if name == "state"), "")
        return DataRow(
            row_id, location, text, output, json.loads(tags), _parse_turns(turns), key, kinds, state
        )

    def _run(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a query with values, or with one mapping of named values."""
        parameters = values[0] if values and isinstance(values[0], dict) else values
        with self._lock:
            return self._database.execute(query, parameters).fetchall()


class DataCheck:
    """`etude check` in a background thread. `on_checked` gets the rows with the new findings."""

    def __init__(self, task: Task, data: RowStore, on_checked: Callable[[RowStore], None]) -> None:
        self.task, self.data, self.proposals, self._on_checked = task, data, Proposals(), on_checked
        self.is_running, self.error, self.has_checked = False, "", False

    def start(self) -> None:
        """Start a check, unless one is running."""
        if not self.is_running:
            self.is_running, self.error = True, ""
            threading.Thread(target=self._run, name="checking", daemon=True).start()

    def _run(self) -> None:
        try:
            self.data.set_findings(check(self.task.file).items)
            self._on_checked(self.data)
            self.proposals.refresh(self.task, lambda row: self.data.find(row) is not None)
            self.has_checked = True
        except (EtudeError, OSError) as error:
            self.error = str(error)
        finally:
            self.is_running = False


def load_findings(run: Run) -> list[Finding]:
    """Load the findings of the quick checks before the run."""
    return [from_json(Finding, line) for line in list_lines(run.folder / "findings.jsonl")]


def _format_turns(turns: Sequence[Message]) -> str:
    return json.dumps([(turn.role, turn.content) for turn in turns])


def _parse_turns(text: str) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in json.loads(text))
