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
        self._least = 0
        """The fewest of them."""
        self._heads: set[str] = set()
        """With what a surrogate begins, so many characters: most places of a text hold none of them."""
        for made in surrogates:
            self.add(made)

    def add(self, made: str) -> None:
        """Adds a surrogate."""
        opening = made[:OPENING]
        self._opened[opening].append(made)
        self._sizes.add(len(opening))
        if len(opening) < self._least or not self._least:
            self._least = len(opening)
            self._heads = {other[: self._least] for other in self._opened}
        self._heads.add(opening[: self._least])

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of each, none overlapping another, the longest where several stand at one place."""
        end, least = 0, self._least
        starts = [at for at in range(len(text)) if text[at : at + least] in self._heads] if least else ()
        for at in starts:
            if at >= end and (made := self._longest(text, at)):
                end = at + len(made)
                yield at, end

    def _longest(self, text: str, at: int) -> str:
        near = (made for size in self._sizes for made in self._opened.get(text[at : at + size], ()))
        return max((made for made in near if _stands(made, text, at)), key=len, default="")


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
