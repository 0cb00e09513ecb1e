"""Where the kinds of personal data whose rules are rarely wrong stand in the rows, searched once for all checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import cache, partial

from etude.privacy import OwnContact, Span, find, find_by_form
from etude.privacy.mask.same_value import Values, is_word
from etude.privacy.own_contact import CONTACT, value_of

MOST_REVIEWED = 20_000
"""Rows looked at for what goes to review, which takes three times as long as the rest; of more an even sample."""


class SensitiveRows:
    """Rows with each kind; those with contact data are told apart only when all answers have been read. Of each
    step-th row the spans are kept."""

    def __init__(self, own: OwnContact, stand_ins: Collection[str], step: int) -> None:
        self._own, self._stand_ins, self._step = own, stand_ins, step
        self._rows: defaultdict[str, set[int]] = defaultdict(set)
        self._contact: list[tuple[int, Span]] = []
        self._kept: dict[int, tuple[Span, ...]] = {}

    def of(self, kind: str) -> set[int]:
        """Rows with somebody's data of the kind."""
        contact = {row for row, span in self._contact if span.kind == kind and not self._own.holds(span)}
        return self._rows[kind] | contact

    def own(self) -> dict[Span, set[int]]:
        """Contact data of the organisation, each value as it stands in the first row that gives it -> its rows."""
        first: dict[tuple[str, str], Span] = {}
        rows: defaultdict[Span, set[int]] = defaultdict(set)
        for row, span in self._contact:
            if self._own.holds(span):
                rows[first.setdefault(value_of(span), span)].add(row)
        return dict(rows)

    def kept(self, row: int) -> tuple[Span, ...]:
        """What stands in a row of which the spans are kept, stand-ins too."""
        return self._kept.get(row, ())

    def places(self, row: int, kind: str) -> list[tuple[int, int]]:
        """Where somebody's data of the kind stands in a row of which the spans are kept."""
        places = {
            (span.start, span.end)
            for span in self.kept(row)
            if span.kind == kind and span.text not in self._stand_ins and not self._own.holds(span)
        }
        return sorted(places)

    def add(self, row: int, spans: tuple[Span, ...]) -> None:
        """Takes in what stands in a row."""
        if spans and row % self._step == 0:
            self._kept[row] = spans
        for span in spans:
            if span.text in self._stand_ins:
                continue
            if span.kind in CONTACT:
                self._contact.append((row, span))
            else:
                self._rows[span.kind].add(row)


def sensitive_rows(
    inputs: Sequence[str],
    answers: Sequence[str],
    stand_ins: Collection[str],
    own: OwnContact,
    labels: bool = False,
) -> tuple[SensitiveRows, SensitiveRows]:
    """Of the inputs and of the answers, which may be `labels`; a value that only one of both has a label for counts
    where it stands. Contact data in `own` belongs to the organisation and is kept apart."""
    step = review_step(len(inputs))
    asked, given = SensitiveRows(own, stand_ins, step), SensitiveRows(own, stand_ins, step)
    found = partial(find, review=False)
    of_answers = map(cache(find_by_form) if labels else found, answers)
    both = zip(inputs, map(found, inputs), answers, of_answers, strict=True)
    for row, (text, in_text, answer, in_answer) in enumerate(both):
        if not labels:
            own.read(answer, in_answer)
        asked.add(row, (*in_text, *repeated(in_answer, text)))
        given.add(row, (*in_answer, *(() if labels else repeated(in_text, answer))))
    return asked, given


def review_step(num_rows: int) -> int:
    """Of how many rows one is looked at for what goes to review."""
    return max(-(-num_rows // MOST_REVIEWED), 1)


def repeated(spans: Collection[Span], text: str) -> Iterator[Span]:
    """Where the values of the spans of one text stand in another."""
    if spans:
        values = Values()
        for span in spans:
            if not is_word(span.kind, span.text):
                values.add(span.kind, span.text)
        yield from values.spans(text)
