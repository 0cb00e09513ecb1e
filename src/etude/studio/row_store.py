"""The examples for the data page: searched, filtered and paged, without sealed test rows."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from etude.base.files import list_lines
from etude.base.typed_json import from_json
from etude.checks import check
from etude.errors import EtudeError
from etude.feedback.gather import hash_input
from etude.feedback.sealed import SealedTest
from etude.runs import Run
from etude.task import Task
from etude.types import Example, Excerpt, Finding, Message

PAGE_ROWS = 50
MAX_VALUES = 300  # values that a field of the filter offers
NUM_EXAMPLES = 3  # good answers that the guidelines display
FILTERS = ("tag", "kind", "state", "person")
"""The fields of the filter that offer values."""


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
    state: str = (
        ""  # the row in the next file of examples: "corrected", "left out" or "" for unchanged
    )


class RowStore:
    """The rows that may be displayed and the findings about them. Threads may use it at once: a
    field's marks are replaced as a whole.
    """

    def __init__(
        self, rows: Iterable[Example], sealed: SealedTest, findings: Sequence[Finding]
    ) -> None:
        self._rows = {row.id: _to_data_row(row) for row in rows if not sealed.contains(row.text)}
        self._by_key = defaultdict[str, list[DataRow]](list)
        for row in self._rows.values():
            self._by_key[row.key].append(row)
        self._marks: dict[str, Mapping[str, Set[str]]] = {name: {} for name in FILTERS}
        """Field of the filter -> value -> ids of the rows."""
        tags = (
            (f"{name}: {value}", row.id)
            for row in self._rows.values()
            for name, value in row.tags.items()
        )
        self.set_marks("tag", tags)
        self.set_findings(findings)

    def set_findings(self, findings: Sequence[Finding]) -> None:
        """Replace the findings by the findings of a new check."""
        self.set_marks(
            "kind", ((finding.kind, row) for finding in findings for row in finding.rows)
        )
        self.findings: list[tuple[Finding, list[Excerpt], int]] = [
            (
                finding,
                [excerpt for excerpt in finding.excerpts if excerpt.row in self._rows],
                len(self._rows.keys() & set(finding.rows)),
            )
            for finding in findings
        ]
        """For each finding: the finding, its excerpts from rows that may be displayed, and their
        number.
        """

    def set_marks(self, name: str, values: Iterable[tuple[str, str]]) -> None:
        """Replace the values of one field of the filter: pairs of a value and the id of a row."""
        marks: dict[str, set[str]] = {}
        for value, row_id in values:
            if row_id in self._rows:
                marks.setdefault(value, set()).add(row_id)
        self._marks[name] = marks
        self._examples: list[DataRow] | None = None

    def list_values(self, name: str) -> list[tuple[str, int]]:
        """List the most frequent values of a field of the filter, sorted, each with its number of
        rows.
        """
        counts = Counter({value: len(ids) for value, ids in self._marks[name].items()})
        return sorted(counts.most_common(MAX_VALUES))

    def search(self, row_filter: RowFilter, page: int | None = None) -> tuple[list[DataRow], int]:
        """Return the rows of one page (counted from 0) or of all pages that match the filter, and
        their number.
        """
        values = {name: getattr(row_filter, name) for name in FILTERS}
        marked = [self._marks[name].get(value, set()) for name, value in values.items() if value]
        words = row_filter.q.strip()
        text = words.casefold()
        rows = [
            row
            for row in self._rows.values()
            if all(row.id in ids for ids in marked)
            and (text in row.input.casefold() or text in row.output.casefold() or row.id == words)
        ]
        on_page = rows if page is None else rows[page * PAGE_ROWS : (page + 1) * PAGE_ROWS]
        return [self._add_marks(row) for row in on_page], len(rows)

    def list_examples(self) -> list[DataRow]:
        """List rows with different answers and without findings, the most frequent answers
        first.
        """
        if self._examples is None:
            marked = set[str]().union(*self._marks["kind"].values(), *self._marks["state"].values())
            plain = [row for row in self._rows.values() if row.id not in marked]
            first = {row.output: row for row in reversed(plain)}
            outputs = Counter(row.output for row in plain).most_common(NUM_EXAMPLES)
            self._examples = [first[output] for output, _ in outputs]
        return self._examples

    def find(self, row_id: str) -> DataRow | None:
        """Return the row with an id."""
        row = self._rows.get(row_id)
        return self._add_marks(row) if row else None

    def find_by_key(self, key: str) -> list[Example]:
        """Return id, input and output of the rows with a `hash_input`."""
        return [Example(row.id, row.turns, row.output) for row in self._by_key.get(key, ())]

    def find_ids(self, turns: Sequence[Message]) -> list[str]:
        """Return the ids of the rows with exactly this input."""
        rows = self._by_key.get(hash_input(tuple(turns)), ())
        return [row.id for row in rows if row.turns == tuple(turns)]

    def _add_marks(self, row: DataRow) -> DataRow:
        kinds, states = (
            [value for value, ids in self._marks[name].items() if row.id in ids]
            for name in ("kind", "state")
        )
        return replace(row, kinds=tuple(sorted(kinds)), state=min(states, default=""))


def _to_data_row(row: Example) -> DataRow:
    # Feedback does not say which turns are trained, so the turns of a row that it is compared with
    # do not either.
    turns = tuple(Message(turn.role, turn.content) for turn in row.input)
    return DataRow(
        row.id, row.location, row.text, row.output, row.tags, turns, hash_input(row.input)
    )


class DataCheck:
    """`etude check` in a background thread. `on_checked` gets the rows with the new findings."""

    def __init__(self, task: Task, data: RowStore, on_checked: Callable[[RowStore], None]) -> None:
        self.task = task
        self.data = data
        self._on_checked = on_checked
        self.is_running = False
        self.error = ""
        self.has_checked = False

    def start(self) -> None:
        """Start a check, unless one is running."""
        if not self.is_running:
            self.is_running = True
            self.error = ""
            threading.Thread(target=self._run, name="checking", daemon=True).start()

    def _run(self) -> None:
        try:
            self.data.set_findings(check(self.task.file).items)
            self._on_checked(self.data)
            self.has_checked = True
        except (EtudeError, OSError) as error:
            self.error = str(error)
        finally:
            self.is_running = False


def load_findings(run: Run) -> list[Finding]:
    """Load the findings of the quick checks before the run."""
    return [from_json(Finding, line) for line in list_lines(run.folder / "findings.jsonl")]
