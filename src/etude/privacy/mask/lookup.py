"""Fast searches for masking: which words occur in any text, and where surrogates are in a text."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from zlib import crc32

WORD = re.compile(r"[A-Za-z0-9]+|[^\W_]")
"""ASCII letters and digits, or one other letter, because many scripts have no space between
words.
"""
# Two words with fewer characters between them are also looked up as a pair
_PAIR_DISTANCE = 4
_NUM_HASHES = 2**24
MIN_UNIQUE_LENGTH = 12
"""Surrogates from this length on do not occur by chance inside other words."""
OPENING_LENGTH = 8
"""Surrogates are looked up by their first characters."""


class WordFilter:
    """A filter of the words and pairs of words of any number of texts, in 16 MB, by their CRC-32.

    Words that were added are always found. After millions of words, some others are found, too.
    """

    def __init__(self) -> None:
        self._is_known = bytearray(_NUM_HASHES)

    def add(self, text: str) -> None:
        """Add the words of a text."""
        words = list(WORD.finditer(text))
        for part in (*(word[0] for word in words), *_join_pairs(text, words)):
            self._is_known[_hash(part)] = 1

    def may_contain(self, text: str) -> bool:
        """Whether the text may occur in an added text as whole words; False if it has no letter or
        digit.
        """
        words = list(WORD.finditer(text))
        terms = _join_pairs(text, words) if len(words) > 1 else [word[0] for word in words]
        return bool(terms) and all(self._is_known[_hash(term)] for term in terms)


def _join_pairs(text: str, words: list[re.Match[str]]) -> list[str]:
    spans = ((first.start(), first.end(), second) for first, second in pairwise(words))
    return [
        text[start : second.end()]
        for start, end, second in spans
        if second.start() - end < _PAIR_DISTANCE
    ]


def _hash(word: str) -> int:
    return crc32(word.encode("utf-8", "surrogatepass")) % _NUM_HASHES


class SurrogateIndex:
    """Finds surrogates in a text, in time proportional to its length; the number of surrogates does
    not matter.
    """

    def __init__(self, surrogates: Iterable[str] = ()) -> None:
        # First characters, up to OPENING_LENGTH -> the surrogates that begin with them
        self._by_opening: defaultdict[str, list[str]] = defaultdict(list)
        self._opening_lengths: set[int] = set()
        # The shortest of these lengths
        self._min_length = 0
        # The first `_min_length` characters of all surrogates; most positions of a text match none
        # of them
        self._prefixes: set[str] = set()
        for surrogate in surrogates:
            self.add(surrogate)

    def add(self, surrogate: str) -> None:
        """Add a surrogate."""
        opening = surrogate[:OPENING_LENGTH]
        self._by_opening[opening].append(surrogate)
        self._opening_lengths.add(len(opening))
        if len(opening) < self._min_length or not self._min_length:
            self._min_length = len(opening)
            self._prefixes = {
                known_opening[: self._min_length] for known_opening in self._by_opening
            }
        self._prefixes.add(opening[: self._min_length])

    def find_in(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of each surrogate, without overlaps; the longest if several begin at
        one position.
        """
        end = 0
        length = self._min_length
        positions = range(len(text)) if length else ()
        for start in [
            position
            for position in positions
            if text[position : position + length] in self._prefixes
        ]:
            if start < end:
                continue
            openings = (text[start : start + length] for length in self._opening_lengths)
            candidates = chain.from_iterable(
                self._by_opening.get(opening, ()) for opening in openings
            )
            matches = (surrogate for surrogate in candidates if _is_at(surrogate, text, start))
            if surrogate := max(matches, key=len, default=""):
                end = start + len(surrogate)
                yield start, end


def _is_at(surrogate: str, text: str, start: int) -> bool:
    """Whether the surrogate is at a position; a short one only as a whole word, because it may be
    part of another.
    """
    if not text.startswith(surrogate, start):
        return False
    end = start + len(surrogate)
    edges = (text[max(start - 1, 0) : start] + surrogate[:1], surrogate[-1:] + text[end : end + 1])
    return len(surrogate) >= MIN_UNIQUE_LENGTH or not any(
        len(edge) == 2 and edge.isascii() and edge.isalnum() for edge in edges
    )
