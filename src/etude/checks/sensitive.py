"""Where the kinds of personal data whose rules are rarely wrong stand in the rows, searched once for all checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache

from etude.privacy import OwnContact, Span, find_all, find_by_form
from etude.privacy.own import CONTACT
from etude.privacy.values import Values, is_word


class SensitiveRows:
    """Rows with each kind; those with contact data are told apart only when all answers have been read."""

    def __init__(self, own: OwnContact, stand_ins: Collection[str]) -> None:
        self._own, self._stand_ins = own, stand_ins
        self._rows: defaultdict[str, set[int]] = defaultdict(set)
        self._contact: list[tuple[int, Span]] = []
        self._any: set[int] = set()

    def of(self, kind: str) -> set[int]:
        """Rows with somebody's data of the kind."""
        contact = {row for row, span in self._contact if span.kind == kind and not self._own.holds(span)}
        return self._rows[kind] | contact

    def own(self) -> set[int]:
        """Rows with contact data of the organisation."""
        return {row for row, span in self._contact if self._own.holds(span)}

    def hold_any(self, row: int) -> bool:
        """Whether anything stands in the row, stand-ins too."""
        return row in self._any

    def add(self, row: int, spans: Iterable[Span]) -> None:
        """Takes in what stands in a row."""
        for span in spans:
            self._any.add(row)
            if span.text in self._stand_ins:
                continue
            if span.kind in CONTACT:
                self._contact.append((row, span))
            else:
                self._rows[span.kind].add(row)


def sensitive_rows(
    inputs: Sequence[str], answers: Sequence[str], stand_ins: Collection[str], labels: bool = False
) -> tuple[SensitiveRows, SensitiveRows]:
    """Of the inputs and of the answers, which may be `labels`; a value that only one of both has a label for counts
    where it stands. Contact data that a large share of the answers gives is the organisation's."""
    own = OwnContact()
    asked, given = SensitiveRows(own, stand_ins), SensitiveRows(own, stand_ins)
    of_answers = map(cache(find_by_form), answers) if labels else find_all(answers, review=False)
    both = zip(inputs, find_all(inputs, review=False), answers, of_answers, strict=True)
    for row, (text, in_text, answer, in_answer) in enumerate(both):
        if not labels:
            own.read(answer, in_answer)
        asked.add(row, (*in_text, *repeated(in_answer, text)))
        given.add(row, (*in_answer, *(() if labels else repeated(in_text, answer))))
    return asked, given


def repeated(spans: Collection[Span], text: str) -> Iterator[Span]:
    """Where the values of the spans of one text stand in another."""
    if spans:
        values = Values()
        for span in spans:
            if not is_word(span.kind, span.text):
                values.add(span.kind, span.text)
        yield from values.spans(text)
