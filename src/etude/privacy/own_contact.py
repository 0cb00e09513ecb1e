"""An organisation's own contact data: what a large share of its answers gives, or its documents hold, is to be given.

A support address stands in very many answers, a customer's in few. Masking the first would teach a wrong address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from etude.privacy.mask.same_value import canonical
from etude.privacy.spans import Span

CONTACT = ("email", "phone")
SHARE = 0.1
"""Of the different answers, from which on a value counts as the organisation's own."""
LEAST = 5
"""Different answers, at least."""


class OwnContact:
    """Counts contact data in answers, each different answer once, and then says whose it is. `published` are the
    values (`value_of`) of its documents."""

    def __init__(self, published: Collection[tuple[str, str]] = ()) -> None:
        self._published = published
        self._answers: set[int] = set()
        self._counts: Counter[tuple[str, str]] = Counter()

    def read(self, answer: str, spans: Iterable[Span]) -> None:
        """Takes in what `find` saw in an answer; an answer seen before adds nothing."""
        digest = hash(answer)
        if digest not in self._answers:
            self._answers.add(digest)
            self._counts.update({value_of(span) for span in spans if span.kind in CONTACT})

    def holds(self, span: Span) -> bool:
        """Whether the value is published, or is in LEAST different answers and a SHARE of them."""
        value = value_of(span)
        return value in self._published or self._counts[value] >= max(LEAST, SHARE * len(self._answers))


def value_of(span: Span) -> tuple[str, str]:
    """What is equal for two ways to write the value of a span."""
    return span.kind, canonical(span.kind, span.text)
