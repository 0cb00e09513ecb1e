"""Where the kinds of personal data whose rules are rarely wrong stand in the rows, searched once for all checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from etude.privacy import OwnContact, Span, find_all
from etude.privacy.own import CONTACT


class SensitiveRows:
    """Rows with each kind; those with contact data are told apart only when all answers have been read."""

    def __init__(
        self,
        texts: Sequence[str],
        own: OwnContact,
        stand_ins: Collection[str],
        learn: Callable[[str, Iterable[Span]], None] | None = None,
    ) -> None:
        self._own, self._stand_ins = own, stand_ins
        self._rows: defaultdict[str, set[int]] = defaultdict(set)
        self._contact: list[tuple[int, Span]] = []
        self._any: set[int] = set()
        for row, (text, spans) in enumerate(zip(texts, find_all(texts, review=False), strict=True)):
            if learn:
                learn(text, spans)
            self._read(row, spans)

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

    def _read(self, row: int, spans: Iterable[Span]) -> None:
        for span in spans:
            self._any.add(row)
            if span.text in self._stand_ins:
                continue
            if span.kind in CONTACT:
                self._contact.append((row, span))
            else:
                self._rows[span.kind].add(row)


def sensitive_rows(
    inputs: Sequence[str], answers: Sequence[str], stand_ins: Collection[str]
) -> tuple[SensitiveRows, SensitiveRows]:
    """Of the inputs and of the answers; contact data that a large share of the answers gives is the organisation's."""
    own = OwnContact()
    given = SensitiveRows(answers, own, stand_ins, own.read)
    return SensitiveRows(inputs, own, stand_ins), given
