"""Which rows are changed or left out, and why: only what needs no judgement, and labels that a person has corrected.

Contradictions are never touched, and nothing here reads an answer of the test. The file is gone over
a batch of rows at a time. Kept in memory: surrogates, the values found, and 16 bytes of hash for each row.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from types import MappingProxyType

from etude.data.dataset import Survey, survey_dataset, survey_test
from etude.data.formats.columns import named
from etude.errors import InputError, Issue
from etude.index.documents import published_contacts
from etude.privacy import BLOCKING, Masker, OwnContact, Span
from etude.privacy.mask.occurrences import Standing
from etude.privacy.mask.same_value import Values, is_telling
from etude.repair.change_log import Changes
from etude.repair.drafts import Draft, Drafts, Mender, found_in
from etude.repair.rewriting import columns_of
from etude.repair.texts import LEFTOVER, decoded, without_markup
from etude.task import Task
from etude.text.near_duplicates import near_matches

KINDS = (
    *("empty", "wrong_label", "encoding", "markup"),
    *(f"privacy_{kind}" for kind in BLOCKING),
    *("repeated_input", "test_overlap"),
)
"""Kinds of finding that can be put right without a person, and wrong labels, which a person corrects; in the order in
which it is done."""
BATCH = 4096
"""Rows in memory at once."""
Wanted = Callable[[str], bool]
"""Whether findings of a kind are to be put right."""


def changes(
    task: Task,
    wanted: Wanted,
    masker: Masker,
    known: Collection[str] = (),
    survey: Survey | None = None,
    labels: Mapping[str, str] = MappingProxyType({}),
) -> Outcome:
    """What is to be done to the task's examples, of which a `survey` may have been made.

    `labels` are corrected ones by the id of their row. `masker` gains the surrogates; those of an earlier fix are
    `known` and stay. Raises InputError where the file cannot be read or no row would be left.
    """
    survey = survey or survey_dataset(task)
    drafts = Drafts(task, survey)
    personal = _Personal(wanted, masker, known, OwnContact(published_contacts(task.documents)))
    held = _test_inputs(task) if wanted("test_overlap") else []
    columns = _taught_columns(task)
    menders: list[Mender] = [("encoding", decoded)] if wanted("encoding") else []
    with_html = 0
    for draft in drafts if personal.kinds or wanted("markup") else ():
        with_html += bool(draft.row) and draft.has_markup
        personal.read(draft, menders)
    personal.close()
    if wanted("markup") and with_html <= LEFTOVER * len(survey.rows):
        menders.append(("markup", without_markup))
    outcome = _gone_over(drafts, _Steps(wanted, menders, personal, held, columns, labels))
    if outcome.examples and not outcome.left:
        file = task.examples.file.name
        raise InputError([Issue(file, "no row would be left", "", "look at them with etude check first")])
    return outcome


def _test_inputs(task: Task) -> list[str]:
    test = survey_test(task)
    return [row.text for row in test[0]] if test else []


def _taught_columns(task: Task) -> list[str]:
    """The columns that make a row what it is: all that are read but its id."""
    columns = columns_of(task.examples)
    return [name for name in named(columns) if name != columns.id]


@dataclass
class Outcome:
    """What going over all rows has given."""

    changes: Changes = field(default_factory=Changes)
    """What is to be done, in the order of the rows."""
    unwritten: list[int] = field(default_factory=list)
    """Lines of the rows in which something could not be written."""
    examples: int = 0
    left: int = 0
    """Examples that are not left out."""

    def add(self, draft: Draft) -> None:
        """Takes a row in."""
        if draft.row:
            self.examples += 1
            self.left += not draft.out
        if draft.unwritten and not draft.out:
            self.unwritten.append(draft.record.line)
        if draft.kinds:
            self.changes.append(draft.change)


def _gone_over(drafts: Iterable[Draft], steps: _Steps) -> Outcome:
    outcome, rows = Outcome(), iter(drafts)
    while batch := list(islice(rows, BATCH)):
        steps.put_right(batch)
        for draft in batch:
            outcome.add(draft)
    return outcome


class _Personal:
    """What is personal or secret in the file, found before anything is masked: a value that one row has a label for
    is masked in all rows, and no surrogate is a value of another row."""

    def __init__(self, wanted: Wanted, masker: Masker, known: Collection[str], own: OwnContact) -> None:
        self.kinds = frozenset(kind for kind in BLOCKING if wanted(f"privacy_{kind}"))
        self._masker = masker
        self._known = Standing(known)
        """Surrogates of an earlier fix."""
        self._own = own
        self._values = Values()
        """What is masked in every row."""
        self._found: dict[tuple[str, str], int] = {}
        """Kind and text of what was read -> its number."""
        self._places = array("Q")
        """Of each place where it stands the line of the row, then its number."""
        self._lines: set[int] = set()
        """Lines of the rows in which something is masked."""

    def read(self, draft: Draft, menders: list[Mender]) -> None:
        """Takes in what a row holds. Once all rows are read, `close` is called."""
        if not self.kinds:
            return
        draft.mend(menders)
        for place in draft.taught[len(draft.now.inputs) :]:
            answer = draft.now.text(place)
            self._own.read(answer, found_in(answer))
        for place in (*draft.taught, *draft.now.others):
            self._masker.keep_clear_of(draft.now.text(place))
        for span in chain.from_iterable(draft.personal(self._not_made).values()):
            number = self._found.setdefault((span.kind, span.text), len(self._found))
            self._places.extend((draft.record.line, number))

    def close(self) -> None:
        """Says what is masked in every row, now that it is known what the organisation's own is: what a large share of
        the answers gives."""
        own = set()
        for (kind, text), number in self._found.items():
            if self._own.holds(Span(0, len(text), kind, text, "")):
                own.add(number)
            elif is_telling(kind, text):
                self._values.add(kind, text)
        pairs = zip(self._places[::2], self._places[1::2], strict=True)
        self._lines = {line for line, number in pairs if number not in own}
        self._found.clear()
        del self._places[:]

    def mask(self, draft: Draft) -> None:
        """Masks what was found in the row, and the values of all rows."""
        if self.kinds:
            look = draft.record.line in self._lines or draft.has_markup
            draft.mask(self._meant, self._values, self._masker, look)

    def _meant(self, text: str, spans: Iterable[Span]) -> list[Span]:
        return self._not_made(text, (span for span in spans if not self._own.holds(span)))

    def _not_made(self, text: str, spans: Iterable[Span]) -> list[Span]:
        """The spans of the kinds in question; what a surrogate, or a part of it, looks like is not masked again."""
        wanted = [span for span in spans if span.kind in self.kinds]
        if not wanted:
            return []
        made = sorted(chain(self._masker.standing.places(text), self._known.places(text)))
        return [
            span for span in wanted if not any(start < span.end and span.start < end for start, end in made)
        ]


@dataclass
class _Steps:
    """What is done to the rows, batch by batch, so that doing it once more changes nothing."""

    wanted: Wanted
    menders: list[Mender]
    personal: _Personal
    held: list[str]
    """Inputs of the test."""
    columns: list[str]
    labels: Mapping[str, str]
    """Corrected ones, by the id of their row."""
    seen: set[bytes] = field(default_factory=set)
    """Hashes of the rows that stay."""

    def put_right(self, batch: list[Draft]) -> None:
        """Mends, masks and leaves out."""
        for draft in batch:
            if draft.fault and self.wanted(draft.fault):
                draft.leave_out(draft.fault)
        examples = [draft for draft in batch if draft.row]
        for draft in examples if self.wanted("wrong_label") else ():
            draft.relabel(self.labels.get(draft.row))
        self._leave_out_seen(examples)
        for draft in examples:
            draft.mend(self.menders)
            self.personal.mask(draft)
        if self.wanted("repeated_input"):
            self._leave_out_copies(examples)
        self._leave_out_seen([draft for draft in examples if draft.now is not draft.record])

    def _leave_out_seen(self, drafts: Iterable[Draft]) -> None:
        """Leaves out examples whose input, as it is now, nearly is that of a test row."""
        live = [draft for draft in drafts if not draft.out]
        if self.held and live:
            for row, *_ in near_matches([draft.asked for draft in live], self.held):
                live[row].leave_out("test_overlap")

    def _leave_out_copies(self, drafts: Iterable[Draft]) -> None:
        """Leaves out rows that are, their id aside, an earlier one to the letter."""
        for draft in drafts:
            if not draft.out:
                key = self._hash(draft)
                if key in self.seen:
                    draft.leave_out("repeated_input")
                self.seen.add(key)

    def _hash(self, draft: Draft) -> bytes:
        values = [_stripped(draft.now.cells.get(name)) for name in self.columns]
        return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=16).digest()


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value
