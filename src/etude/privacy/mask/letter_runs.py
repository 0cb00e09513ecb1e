"""Which runs of letters and digits stand in texts, alone and with the next one, whatever the number of texts.

Of each run and pair the CRC-32 is marked. Texts of ASCII are gathered and their runs taken in together, a byte of each
at a time: a sixth of the time that they take one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from zlib import crc32

import numpy as np
import numpy.typing as npt

RUN = re.compile(r"[A-Za-z0-9]+|[^\W_]")
"""A run; a letter beyond ASCII by itself, as words of many scripts stand without a space."""
_PIECES = re.compile(rf"({RUN.pattern})")
_NEAR = 4
"""Characters between two runs from which on they are no pair."""
_APART = re.compile(rf"[\W_]{{{_NEAR},}}")
_PLACES = 2**24
_GATHERED = 2**18
"""Bytes of text that are taken in at once."""
_FEW = 2**12
"""Bytes of text up to which its runs are taken in one by one."""
_LONG = 64
"""Bytes of a run, or of a gap and a run, from which on it is hashed by itself."""
_IN_RUN = np.array([chr(code).isalnum() and code < 128 for code in range(256)])
"""Whether a byte is a letter or digit of ASCII."""
_Hashes = npt.NDArray[np.uint32]
_Ends = npt.NDArray[np.int64]


def _crc_table() -> _Hashes:
    """What each value of a byte does to a CRC-32 (ISO 3309, reflected)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0xEDB88320), table >> 1)
    return table


_TABLE = _crc_table()


class Tokens:
    """Runs of letters and digits that stand in texts, alone and with the next one, in 16 MB whatever their number.

    What has been added is known; of what has not, some is taken for known when there are millions.
    """

    def __init__(self) -> None:
        self._marks = bytearray(_PLACES)
        self._gathered = bytearray()
        """Texts that are not yet taken in, apart."""

    def add(self, text: str) -> None:
        """Adds the runs of a text."""
        if text.isascii():
            self._gathered += text.encode() + b" " * _NEAR
            if len(self._gathered) > _GATHERED:
                self._take_in()
        else:
            self._take_in_one(text)

    def _take_in_one(self, text: str) -> None:
        for pieces in _pieces(text):
            hashes = list(map(crc32, pieces[1::2]))
            # Of a pair: the hash of its first run goes on through the gap and the second.
            pairs = map(crc32, pieces[3::2], map(crc32, pieces[2::2], hashes))
            for place in chain(hashes, pairs):
                self._marks[place % _PLACES] = 1

    def may_hold(self, text: str) -> bool:
        """Whether the text may stand in one of them as whole words; False where it holds no letter or digit."""
        if self._gathered:
            self._take_in()
        runs = list(RUN.finditer(text))
        parts = _pairs(text, runs) if len(runs) > 1 else [run[0] for run in runs]
        return bool(parts) and all(self._marks[_place(part)] for part in parts)

    def _take_in(self) -> None:
        if len(self._gathered) < _FEW:
            self._take_in_one(self._gathered.decode())
        else:
            marks = np.frombuffer(self._marks, np.uint8)
            marks[_hashes(bytes(self._gathered)) % _PLACES] = 1
        self._gathered.clear()


def _hashes(text: bytes) -> _Hashes:
    """Of all runs of a text of ASCII, and of all pairs."""
    codes = np.frombuffer(text, np.uint8)
    edges = np.flatnonzero(np.diff(_IN_RUN[codes], prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    hashes = _gone_on(text, codes, starts, ends, np.zeros(len(starts), np.uint32))
    near = starts[1:] - ends[:-1] < _NEAR
    pairs = _gone_on(text, codes, ends[:-1][near], ends[1:][near], hashes[:-1][near])
    return np.concatenate((hashes, pairs))


def _gone_on(
    text: bytes, codes: npt.NDArray[np.uint8], starts: _Ends, ends: _Ends, hashes: _Hashes
) -> _Hashes:
    """The hashes, each gone on from a start to its end."""
    lengths = ends - starts
    order = np.argsort(-lengths, kind="stable")
    going = ~hashes[order]
    for step in range(int(min(lengths.max(initial=0), _LONG))):
        left = np.count_nonzero(lengths > step)  # the longest stand first
        before = going[:left]
        going[:left] = _TABLE[(before ^ codes[starts[order[:left]] + step]) & 255] ^ (before >> 8)
    done = np.empty_like(hashes)
    done[order] = ~going
    for long in np.flatnonzero(lengths > _LONG):
        done[long] = crc32(text[starts[long] : ends[long]], int(hashes[long]))
    return done


def _pieces(text: str) -> Iterator[list[bytes]]:
    """What stands between the runs of a text, and the runs, in turn; apart where runs are no pair."""
    for part in _APART.split(text):
        yield [piece.encode("utf-8", "surrogatepass") for piece in _PIECES.split(part)]


def _pairs(text: str, runs: Sequence[re.Match[str]]) -> list[str]:
    near = (pair for pair in pairwise(runs) if pair[1].start() - pair[0].end() < _NEAR)
    return [text[one.start() : other.end()] for one, other in near]


def _place(part: str) -> int:
    return crc32(part.encode("utf-8", "surrogatepass")) % _PLACES
