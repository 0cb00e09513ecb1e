"""Which rows are changed or left out, and why: only what needs no judgement.

Wrong labels and contradictions are never touched, and nothing here reads an answer of the test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from etude.dataset import survey_dataset, survey_test
from etude.errors import Fault, InputError, place_of
from etude.formats.columns import named
from etude.privacy import BLOCKING, Masker, OwnContact, Span, find
from etude.repair.records import Place, Record, columns_of, records
from etude.repair.texts import LEFTOVER, MARKUP, decoded, without_markup
from etude.task import Task
from etude.text import near_matches

KINDS = (
    *("empty", "encoding", "markup"),
    *(f"privacy_{kind}" for kind in BLOCKING),
    *("repeated_input", "test_overlap"),
)
"""Kinds of finding that can be put right without a person, in the order in which it is done."""
MOST_ROUNDS = 5
"""A text is gone over until nothing changes, so often at most."""
Wanted = Callable[[str], bool]
"""Whether findings of a kind are to be put right."""


@dataclass(frozen=True)
class Change:
    """What was done to one row."""

    row: str
    """Its id before the change; "" where the row could not be read."""
    line: int
    """On which it begins in the file of examples, from 1."""
    last: int
    kinds: tuple[str, ...]
    """The findings put right."""
    before: str
    """The row as it stands in the file, its line end included."""
    after: str | None
    """What stands in its place; None where it is left out."""


@dataclass
class _Draft:
    """One row on its way."""

    record: Record
    now: Record
    kinds: list[str] = field(default_factory=list)
    out: bool = False

    @property
    def asked(self) -> str:
        return _joined(self.now, [self.now.text(place) for place in self.now.inputs])

    def leave_out(self, kind: str) -> None:
        self.out = True
        self.kinds.append(kind)


def changes(task: Task, wanted: Wanted, masker: Masker, known: Collection[str] = ()) -> list[Change]:
    """What is to be done to the task's examples, in the order of the rows.

    `masker` gains the surrogates; those of an earlier fix are `known` and stay. Raises InputError where the file
    cannot be read or no row would be left.
    """
    dataset, faults = survey_dataset(task)
    ids = {place_of(row.where)[1]: row.id for row in dataset}
    empty = {place_of(fault.where)[1] for fault in faults if fault.kind == "empty"} - ids.keys()
    found = [
        record for record in records(task.examples, task.kind) if record.line in ids or record.line in empty
    ]
    drafts = [_Draft(record, record) for record in found]
    read = [draft for draft in drafts if draft.record.line in ids]
    for draft in drafts:
        if draft.record.line in empty and wanted("empty"):
            draft.leave_out("empty")
    _put_right(task, read, wanted, masker, known)
    if read and all(draft.out for draft in read):
        file = task.examples.file.name
        raise InputError([Fault(file, "no row would be left", "", "look at them with etude check first")])
    return [_change(draft, ids) for draft in drafts if draft.kinds]


def _change(draft: _Draft, ids: Mapping[int, str]) -> Change:
    record = draft.record
    after = None if draft.out else draft.now.raw.decode()
    kinds = tuple(dict.fromkeys(draft.kinds))
    return Change(ids.get(record.line, ""), record.line, record.last, kinds, record.raw.decode(), after)


def _joined(record: Record, texts: Iterable[str]) -> str:
    return record.joint.join(texts)


def _taught(task: Task, record: Record) -> tuple[Place, ...]:
    """The texts that may be changed; a label is none."""
    return record.inputs if task.kind == "classify" else (*record.inputs, *record.answers)


def _put_right(
    task: Task, drafts: Sequence[_Draft], wanted: Wanted, masker: Masker, known: Collection[str]
) -> None:
    """Mends, masks and leaves out, until doing it once more would change nothing.

    HTML may become a leftover only when rows have been left out; everything else is settled after one round.
    """
    menders = [("encoding", decoded)] if wanted("encoding") else []
    seen = _Seen(task) if wanted("test_overlap") else None
    done = False
    while not done:
        live = [draft for draft in drafts if not draft.out]
        done = not wanted("markup") or _is_leftover(task, live)
        if done and wanted("markup"):
            menders.append(("markup", without_markup))
        if seen:
            seen.leave_out(live)
        for draft in live:
            for place in _taught(task, draft.now):
                _mend(draft, place, menders)
        _mask(task, live, wanted, masker, known)
        if wanted("repeated_input"):
            _drop_copies(task, live)
        if seen:
            seen.leave_out(live)
        done = done or not _is_leftover(task, [draft for draft in live if not draft.out])


def _is_leftover(task: Task, drafts: Sequence[_Draft]) -> bool:
    """Whether the HTML in the rows is a leftover, and not how they are written."""
    found = sum(
        any(MARKUP.search(draft.now.text(place)) for place in _taught(task, draft.now)) for draft in drafts
    )
    return found <= LEFTOVER * len(drafts)


def _mend(draft: _Draft, place: Place, menders: Sequence[tuple[str, Callable[[str], str]]]) -> None:
    """Mends one text of a row until nothing changes; a text of which nothing would be left stays."""
    before = text = draft.now.text(place)
    kinds = []
    for _ in range(MOST_ROUNDS):
        start = text
        for kind, mend in menders:
            mended = mend(text)
            if mended != text and mended.strip():
                text = mended
                kinds.append(kind)
        if text == start:
            break
    if text != before:
        _take(draft, {place: text}, kinds)


def _take(draft: _Draft, texts: Mapping[Place, str], kinds: Iterable[str]) -> None:
    """Puts texts into a row, where it can be written with them."""
    written = draft.now.with_texts(texts)
    if written is not None and written.cells != draft.now.cells:
        draft.now = written
        draft.kinds += kinds


def _mask(
    task: Task, drafts: Sequence[_Draft], wanted: Wanted, masker: Masker, known: Collection[str]
) -> None:
    """Masks what is surely personal or secret, but no surrogate again, and not the organisation's own contact data."""
    own = _own_contact(task, drafts)

    def is_meant(span: Span) -> bool:
        new = span.text not in masker.stand_ins and span.text not in known and not own.holds(span)
        return new and span.kind in BLOCKING and wanted(f"privacy_{span.kind}")

    for draft in drafts:
        groups = [(place,) for place in _taught(task, draft.now)[len(draft.now.inputs) :]]
        for places in (draft.now.inputs, *groups):
            for _ in range(MOST_ROUNDS):
                if not _mask_once(draft, places, is_meant, masker):
                    break


def _own_contact(task: Task, drafts: Sequence[_Draft]) -> OwnContact:
    """What the answers say of the organisation itself; labels say nothing."""
    own = OwnContact()
    for draft in drafts:
        for place in _taught(task, draft.now)[len(draft.now.inputs) :]:
            text = draft.now.text(place)
            own.read(text, find(text))
    return own


def _mask_once(
    draft: _Draft, places: Sequence[Place], is_meant: Callable[[Span], bool], masker: Masker
) -> bool:
    """Masks texts that are read as one; False where there was nothing to mask."""
    texts = [draft.now.text(place) for place in places]
    spans = [span for span in find(_joined(draft.now, texts)) if is_meant(span)]
    masked, used, start = {}, [], 0
    for place, text in zip(places, texts, strict=True):
        own = [span for span in spans if start <= span.start and span.end <= start + len(text)]
        here = [Span(span.start - start, span.end - start, span.kind, span.text, span.rule) for span in own]
        if here:
            masked[place] = masker.mask(text, here)
            used += [f"privacy_{span.kind}" for span in here]
        start += len(text) + len(draft.now.joint)
    before = draft.now
    _take(draft, masked, used)
    return draft.now is not before


def _drop_copies(task: Task, drafts: Sequence[_Draft]) -> None:
    """Leaves out rows that are, their id aside, an earlier one to the letter."""
    columns = columns_of(task.examples)
    names = [name for name in named(columns) if name != columns.id]
    seen = set()
    for draft in drafts:
        if draft.out:
            continue
        key = json.dumps([_stripped(draft.now.cells.get(name)) for name in names], sort_keys=True)
        if key in seen:
            draft.leave_out("repeated_input")
        seen.add(key)


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


class _Seen:
    """Finds examples whose input nearly is that of a test row; each text is looked at once."""

    def __init__(self, task: Task) -> None:
        test = survey_test(task)
        self._held = [row.text for row in test[0]] if test else []
        self._known: set[str] = set()

    def leave_out(self, drafts: Sequence[_Draft]) -> None:
        """Leaves out those whose input, as it is now, is seen."""
        new = [draft for draft in drafts if not draft.out and draft.asked not in self._known]
        if not self._held or not new:
            return
        self._known.update(draft.asked for draft in new)
        for row, *_ in near_matches([draft.asked for draft in new], self._held):
            new[row].leave_out("test_overlap")
