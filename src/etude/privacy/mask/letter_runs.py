"""Which runs of letters and digits stand in texts, alone and with the next one, in 16 MB however many the texts."""

from __future__ import annotations

import re
from itertools import pairwise
from zlib import crc32

RUN = re.compile(r"[A-Za-z0-9]+|[^\W_]")
"""A run; a letter beyond ASCII by itself, as words of many scripts stand without a space."""
_NEAR = 4
"""Characters between two runs from which on they are no pair."""
_PLACES = 2**24


class LetterRuns:
    """The CRC-32 of each run and of each pair is marked.

    What has been added is known; of what has not, some is taken for known when there are millions.
    """

    def __init__(self) -> None:
        self._marks = bytearray(_PLACES)

    def add(self, text: str) -> None:
        """Adds the runs of a text."""
        runs = list(RUN.finditer(text))
        for part in (*(run[0] for run in runs), *_pairs(text, runs)):
            self._marks[_place(part)] = 1

    def may_hold(self, text: str) -> bool:
        """Whether the text may stand in one of them as whole words; False if it holds no letter or digit."""
        runs = list(RUN.finditer(text))
        parts = _pairs(text, runs) if len(runs) > 1 else [run[0] for run in runs]
        return bool(parts) and all(self._marks[_place(part)] for part in parts)


def _pairs(text: str, runs: list[re.Match[str]]) -> list[str]:
    near = (pair for pair in pairwise(runs) if pair[1].start() - pair[0].end() < _NEAR)
    return [text[one.start() : other.end()] for one, other in near]


def _place(part: str) -> int:
    return crc32(part.encode("utf-8", "surrogatepass")) % _PLACES
