"""Where surrogates stand in a text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

LONG = 12
"""Characters from which a surrogate is nothing else by chance."""
OPENING = 8
"""Characters by which the surrogates that may stand at a place are looked up."""


class Standing:
    """Finds surrogates in texts; a text costs time by its own length, however many surrogates there are."""

    def __init__(self, surrogates: Iterable[str] = ()) -> None:
        self._opened: defaultdict[str, list[str]] = defaultdict(list)
        """First OPENING characters -> the surrogates that begin with them."""
        self._sizes: set[int] = set()
        """How many characters these are: fewer in short surrogates."""
        for made in surrogates:
            self.add(made)

    def add(self, made: str) -> None:
        """Adds a surrogate."""
        self._opened[made[:OPENING]].append(made)
        self._sizes.add(len(made[:OPENING]))

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of each, none overlapping another, the longest where several stand at one place."""
        at = 0
        while self._sizes and at < len(text):
            near = (made for size in self._sizes for made in self._opened.get(text[at : at + size], ()))
            made = max((made for made in near if _stands(made, text, at)), key=len, default="")
            if made:
                yield at, at + len(made)
            at += len(made) or 1


def _stands(made: str, text: str, at: int) -> bool:
    """Whether a surrogate stands at a place; a short one as a whole word, as it could be part of another by chance."""
    if not text.startswith(made, at):
        return False
    ends = (
        (text[max(at - 1, 0) : at], made[:1]),
        (text[at + len(made) : at + len(made) + 1], made[-1:]),
    )
    return len(made) >= LONG or not any(_is_letter(beside) and _is_letter(own) for beside, own in ends)


def _is_letter(sign: str) -> bool:
    return sign.isascii() and sign.isalnum()
