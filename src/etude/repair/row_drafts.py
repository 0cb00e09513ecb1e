"""Rows while they are being fixed, one at a time."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain

from etude.checks.kinds import LEFT_OUT_KINDS
from etude.checks.rows.damaged_text import has_markup
from etude.data.dataset import Survey
from etude.errors import parse_location
from etude.privacy import Masker, Span, find
from etude.privacy.detect.phones import is_phone_column
from etude.privacy.mask.known_values import KnownValues, is_word_password
from etude.privacy.names.of_emails import find_names_of
from etude.privacy.spans import remove_overlaps
from etude.repair.change_log import Change
from etude.repair.editable_rows import CellPath, EditableRow, read_editable_rows
from etude.task import Task

# Maximum number of times that a text is repaired or masked again while it still changes
MAX_ROUNDS = 5
# Returns the spans of a text that are to be masked
SelectSpans = Callable[[str, Iterable[Span]], list[Span]]
# A kind of finding, and the function that fixes it in a text
Repair = tuple[str, Callable[[str], str]]


# A row is searched several times; 16 texts are enough for its fields.
@lru_cache(16)
def find_cached(text: str) -> tuple[Span, ...]:
    """Return the blocking kinds of personal data and secrets in a text."""
    return find(text, review=False)


@dataclass
class RowDraft:
    """One row while it is being fixed."""

    id: str
    """Id of the example; "" if the row is not one."""
    original: EditableRow
    """The row as it is in the file."""
    current: EditableRow
    """The row with the fixes so far."""
    has_label: bool
    """Whether its answer is a label, which repairs and masking do not change."""
    kinds: list[str] = field(default_factory=list)
    """Kinds of finding that were fixed, in this order."""
    is_left_out: bool = False
    issue_kind: str = ""
    """Kind of the issue for which the row is not an example."""
    has_unwritten: bool = False
    """Whether it needs a change that the file format cannot hold."""

    @property
    def input_text(self) -> str:
        return self._join(map(self.current.get_text, self.current.input_paths))

    @property
    def trained_paths(self) -> tuple[CellPath, ...]:
        """Paths of the texts that may be changed: the inputs, then the answers if they are not
        labels.
        """
        return self.current.input_paths + (() if self.has_label else self.current.answer_paths)

    @property
    def has_markup(self) -> bool:
        return any(has_markup(self.current.get_text(path)) for path in self.trained_paths)

    def to_change(self) -> Change:
        """Return the change from the original to the current row."""
        row = self.original
        after = None if self.is_left_out else self.current.raw.decode()
        kinds = tuple(dict.fromkeys(self.kinds))
        return Change(self.id, row.line, row.last_line, kinds, row.raw.decode(), after)

    def leave_out(self, kind: str) -> None:
        """Leave the row out because of a kind of finding."""
        self.is_left_out = True
        self.kinds.append(kind)

    def repair(self, repairs: Sequence[Repair]) -> None:
        """Repair each text until nothing changes. A repair that would make a text empty is not
        made.
        """
        for path in self.trained_paths:
            before = self.current.get_text(path)
            text, kinds = _repair_text(before, repairs)
            if text != before:
                self._write({path: text}, kinds)

    def find_personal(self, select: SelectSpans) -> dict[CellPath, list[Span]]:
        """Return the selected spans of each text.

        The inputs are searched as one text, each answer alone, and each other cell behind its
        column's name.
        """
        answer_paths = self.trained_paths[len(self.current.input_paths) :]
        spans_by_path: dict[CellPath, list[Span]] = {}
        for paths in (self.current.input_paths, *((path,) for path in answer_paths)):
            texts = {path: self.current.get_text(path) for path in paths}
            joined = self._join(texts.values())
            spans_by_path |= self._assign_spans(texts, select(joined, find_cached(joined)))
        for path in self.current.other_paths:
            text = self.current.get_text(path)
            if spans := select(text, _find_in_column(path, text)):
                spans_by_path[path] = spans
        return spans_by_path

    def mask(
        self, select: SelectSpans, values: KnownValues, masker: Masker, search: bool = True
    ) -> None:
        """Mask `values`, and with `search` also the values that are found in the row.

        A found value is masked everywhere in the row: an answer may repeat a value that has a label
        in the input.
        """
        for _ in range(MAX_ROUNDS if search or values else 0):
            before = self.current
            spans_by_path = self.find_personal(select) if search else {}
            # Values of this row that are masked wherever they occur in it.
            own_values = KnownValues()
            for span in chain.from_iterable(spans_by_path.values()):
                if not is_word_password(span.kind, span.text):
                    own_values.add(span.kind, span.text)
            # Names are found only by the row's own e-mail addresses, because other rules for names
            # are often wrong.
            row_spans = chain.from_iterable(spans_by_path.values())
            addresses = {span.text for span in row_spans if span.kind == "email"}
            masked = {}
            kinds = list[str]()
            for path in (*self.trained_paths, *self.current.other_paths):
                text = self.current.get_text(path)
                repeated = chain.from_iterable(
                    v.find_spans(text) for v in (own_values, values) if v
                )
                selected = [
                    *spans_by_path.get(path, ()),
                    *select(text, repeated),
                    *find_names_of(addresses, text),
                ]
                if spans := remove_overlaps(selected):
                    masked[path] = masker.mask(text, spans)
                    kinds += [
                        f"privacy_{'email' if span.kind == 'name' else span.kind}" for span in spans
                    ]
            if masked:
                self._write(masked, kinds)
            if self.current is before:
                break

    def _assign_spans(
        self, texts: Mapping[CellPath, str], spans: Sequence[Span]
    ) -> dict[CellPath, list[Span]]:
        spans_by_path: dict[CellPath, list[Span]] = {}
        start = 0
        for path, text in texts.items():
            end = start + len(text)
            inside = [span for span in spans if start <= span.start and span.end <= end]
            if inside:
                spans_by_path[path] = [
                    replace(span, start=span.start - start, end=span.end - start) for span in inside
                ]
            start = end + len(self.current.joint)
        return spans_by_path

    def _join(self, texts: Iterable[str]) -> str:
        return self.current.joint.join(texts)

    def _write(self, texts: Mapping[CellPath, str], kinds: Iterable[str]) -> None:
        row = self.current.with_texts(texts)
        if row is None:
            self.has_unwritten = True
        elif row.cells != self.current.cells:
            self.current = row
            self.kinds += kinds


def _repair_text(text: str, repairs: Sequence[Repair]) -> tuple[str, list[str]]:
    kinds: list[str] = []
    for _ in range(MAX_ROUNDS):
        before = text
        for kind, repair in repairs:
            repaired = repair(text)
            if repaired != text and repaired.strip():
                text = repaired
                kinds.append(kind)
        if text == before:
            break
    return text, kinds


def _find_in_column(path: CellPath, text: str) -> list[Span]:
    """Find personal data in a cell that is not trained on, read as "COLUMN: text"."""
    name = next((key for key in reversed(path) if isinstance(key, str)), "")
    words = re.sub("(?<=[a-z])(?=[A-Z])|[_-]+", " ", name)
    # The numbers of an id column count rows; they are not personal data.
    label = "" if re.search(r"(?i)\bids?$", words) else f"{words}: "
    start = len(label)
    spans = [
        replace(span, start=span.start - start, end=span.end - start)
        for span in find_cached(label + text.removesuffix(".0"))
        if span.start >= start
    ]
    doubtful = [span for span in spans if span.kind == "phone" and span.rule == "label"]
    if not doubtful or is_phone_column(words):
        return spans
    # A word in the column's name is not enough: 1732579200 in `registered_at` is a time.
    unlabelled = find_cached(text)
    return [span for span in spans if span not in doubtful or span in unlabelled]


class RowDrafts:
    """Drafts of the task's examples, and of rows that are empty or repeat an id. Every iteration
    creates new drafts.
    """

    def __init__(self, task: Task, survey: Survey) -> None:
        self._source = task.examples
        self._kind = task.kind
        self._rows = survey.rows
        left_out = (issue for issue in survey.issues if issue.kind in LEFT_OUT_KINDS)
        self._issue_kinds = {parse_location(issue.location)[1]: issue.kind for issue in left_out}
        for row in self._rows if self._issue_kinds else ():
            self._issue_kinds.pop(parse_location(row.location)[1], None)

    def __iter__(self) -> Iterator[RowDraft]:
        examples = ((parse_location(row.location)[1], row.id) for row in self._rows)
        end = (0, "")
        line, row_id = next(examples, end)
        for row in read_editable_rows(self._source, self._kind):
            while 0 < line < row.line:  # the file has changed: this example can no longer be read
                line, row_id = next(examples, end)
            if line == row.line:
                yield self._create_draft(row_id, row)
            elif row.line in self._issue_kinds:
                yield self._create_draft("", row, self._issue_kinds[row.line])

    def _create_draft(self, row_id: str, row: EditableRow, issue_kind: str = "") -> RowDraft:
        return RowDraft(row_id, row, row, self._kind == "classify", issue_kind=issue_kind)
