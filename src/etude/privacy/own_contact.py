"""An organisation's own contact data, which assistants should give to users.

It is contact data in the organisation's documents or in many answers: a support address is in many
answers, a customer's address in few. If the support address were masked, the model would learn a
wrong one.
"""

from collections import Counter
from collections.abc import Collection, Iterable

from etude.privacy.mask.known_values import to_canonical
from etude.privacy.spans import Span

CONTACT_KINDS = ("email", "phone")
MIN_SHARE = 0.1
"""Least share of the different answers that must contain a value for it to count as the
organisation's own.
"""
MIN_ANSWERS = 5
"""Least number of different answers that must contain it."""


class OwnContact:
    """Counts contact data in different answers, and decides whether it is the organisation's own.

    `published` are the values of its documents, as `contact_key` returns them.
    """

    def __init__(self, published: Collection[tuple[str, str]] = ()) -> None:
        self._published = published
        self._answers: set[int] = set()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add_answer(self, answer: str, spans: Iterable[Span]) -> None:
        """Count the spans of an answer, unless an equal answer was counted."""
        digest = hash(answer)
        if digest not in self._answers:
            self._answers.add(digest)
            self._counts.update({contact_key(span) for span in spans if span.kind in CONTACT_KINDS})

    def is_own(self, span: Span) -> bool:
        """Whether the value is published, or is in at least MIN_ANSWERS and MIN_SHARE of the
        different answers.
        """
        key = contact_key(span)
        threshold = max(MIN_ANSWERS, MIN_SHARE * len(self._answers))
        return key in self._published or self._counts[key] >= threshold


def contact_key(span: Span) -> tuple[str, str]:
    """Return a key that is equal for all spellings of a value."""
    return span.kind, to_canonical(span.kind, span.text)
