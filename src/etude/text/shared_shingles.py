"""Pairs of texts that may be near-duplicates, found by hashes of parts of their shingles.

Exact set-similarity join by partition (Arasu, Ganti and Kaushik 2006; Deng, Li, Wen and Feng 2015): the
shingles of a text fall, by their hash, into parts. Two sets whose Jaccard similarity reaches the threshold differ
in so few shingles that some of their parts are the same. Of each text only the rarest parts are looked up, one
more than can differ (prefix filtering: Chaudhuri, Ganti and Kaushik 2006). Memory: about a quarter of the
texts' length in 32-bit numbers, for one range of lengths at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHINGLE = 5
"""Characters in a shingle."""
HASH_BITS = 52
"""Bits of a shingle's hash."""
SPARE = 0.25
"""Parts beyond those that can differ, as a share of them: so many of the most common ones are not looked up."""
BLOCK = 2**18
"""Characters, and pairs times parts, that are worked on at once."""
MOST_TEXTS = 2 ** (64 - HASH_BITS)
"""Texts of a block: their number takes the upper bits beside a hash."""
SMALL = 2**22
"""Texts times shingles up to which all pairs are candidates, which is quicker than looking parts up."""
FEW_TEXTS = 32
"""Texts up to which the same holds however long they are: a long text has many parts."""
SHORT = 32
"""Texts that have a part, up to which they are all paired at once; where more have it, they go text by text."""
SCALE = 8
"""Steps in which the number of texts that have a part doubles."""

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Pairs = tuple[Ints, Ints]
Labels = NDArray[np.int64]

_WEIGHTS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F],
    np.uint64,
)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_FEW, _MANY = 1, 2


def shingle_hashes(plain: Iterable[str]) -> Iterator[tuple[Ints, Hashes]]:
    """(whose, hash) of every distinct shingle of normalised texts, ascending, block by block of texts.

    Hashes have 52 bits: two shingles of a pair of texts with a thousand of them share one once in a billion
    pairs. A text of up to 5 characters is one shingle.
    """
    first, held, letters = 0, list[str](), 0
    for text in plain:
        held.append(text.ljust(SHINGLE, "\0"))  # a character that no text has
        letters += len(held[-1])
        if letters >= BLOCK or len(held) == MOST_TEXTS:
            yield _hashed(first, held)
            first, held, letters = first + len(held), [], 0
    if held:
        yield _hashed(first, held)


def _hashed(first: int, padded: Sequence[str]) -> tuple[Ints, Hashes]:
    lengths = np.array([len(text) for text in padded])
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    num = len(codes) - SHINGLE + 1
    mixed = np.zeros(num, np.uint64)
    for place, weight in enumerate(_WEIGHTS):
        mixed += codes[place : place + num] * weight
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _MIX >> np.uint64(64 - HASH_BITS)
    inside = np.arange(num) - np.repeat(np.cumsum(lengths) - lengths, lengths)[:num]
    whole = inside <= np.repeat(lengths, lengths)[:num] - SHINGLE
    owners = np.repeat(np.arange(len(padded), dtype=np.uint64), lengths)[:num]
    keys = np.sort((owners << np.uint64(HASH_BITS) | mixed)[whole])
    keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]
    return (keys >> np.uint64(HASH_BITS)).astype(np.int64) + first, keys & np.uint64(2**HASH_BITS - 1)


def candidate_pairs(
    plain: Callable[[int], str], threshold: float, labels: Labels, small: int = SMALL
) -> Iterator[Pairs]:
    """Positions of pairs of normalised texts, in two arrays, among them all whose similarity
    reaches `threshold`.

    `plain` gives a text by its position; there are as many as `labels`. Each pair comes once. Pairs
    whose `labels` are equal are left out; labels may be changed between two yields. Where texts times
    shingles are at most `small`, all pairs are candidates.
    """
    sizes = np.zeros(len(labels), np.int64)
    for owners, _ in shingle_hashes(map(plain, range(len(labels)))):
        sizes[owners[0] : owners[-1] + 1] = np.bincount(owners - owners[0])
    edges = _edges(int(sizes.max(initial=0)), threshold)
    ranges = np.searchsorted(edges, sizes, "right")
    for lower in np.unique(ranges).tolist():
        rows = np.flatnonzero((ranges == lower) | (ranges == lower + 1))
        own = ranges[rows] == lower
        if len(rows) <= FEW_TEXTS or len(rows) * int(sizes[rows].sum()) <= small:
            first, second = _wanted(np.triu_indices(len(rows), 1), rows, own, labels)
            yield rows[first], rows[second]
        else:
            yield from _shared_parts(plain, rows, sizes[rows], threshold).pairs(own, labels)


def _wanted(pairs: Pairs, rows: Ints, own: NDArray[np.bool_], labels: Labels) -> Pairs:
    """The pairs with two labels and at least one text of the `own` range; others belong to the next range."""
    first, second = pairs
    wanted = (labels[rows[first]] != labels[rows[second]]) & (own[first] | own[second])
    return first[wanted], second[wanted]


def _edges(largest: int, threshold: float) -> Ints:
    """Least sizes of ranges so wide that a near-duplicate's size lies in the same or a neighbouring range."""
    wide = max(1 / threshold, 1.25) + 1e-9
    edges = [1]
    while edges[-1] <= largest:
        edges.append(int(edges[-1] * wide) + 1)
    return np.array(edges)


def _differing(first: Ints, second: Ints, threshold: float) -> Ints:
    """Most shingles that two near-duplicates of these sizes have apart; the allowance is for rounding errors."""
    most: Ints = np.floor((1 - threshold) / (1 + threshold) * (first + second) + 1e-9).astype(np.int64)
    return most


@dataclass(frozen=True, slots=True)
class _Parts:
    """Texts of similar sizes by the hashes of their parts."""

    rows: Ints
    """Positions of the texts among all."""
    sizes: Ints
    """Their numbers of shingles."""
    hashes: NDArray[np.uint32]
    """Texts by parts: the sum of the shingles' hashes, 0 for an empty part."""
    looked_up: NDArray[np.uint8]
    """Texts by parts: 0 for a part that is not looked up, `_FEW` where at most `SHORT` texts have it, else `_MANY`."""
    threshold: float

    def pairs(self, own: NDArray[np.bool_], labels: Labels) -> Iterator[Pairs]:
        """Wanted pairs that share enough parts, each once: first those with a part that few texts have."""
        for stage in (_FEW, _MANY):
            for part in range(self.hashes.shape[1]):
                texts = np.flatnonzero(self.looked_up[:, part] == stage)
                texts = texts[np.argsort(self.hashes[texts, part], kind="stable")]
                runs = np.cumsum(np.diff(self.hashes[texts, part], prepend=self.hashes[texts[:1], part]) != 0)
                for pairs in self._paired(stage, texts, runs, labels):
                    yield from self._sharing(stage, part, *_wanted(pairs, self.rows, own, labels))

    def _paired(self, stage: int, texts: Ints, runs: Ints, labels: Labels) -> Iterator[Pairs]:
        """Pairs of the texts that stand in one run."""
        if stage == _FEW:
            for step in range(1, len(texts)):
                same = np.flatnonzero(runs[step:] == runs[:-step])
                if not same.size:
                    return
                yield texts[same], texts[same + step]
            return
        for run in np.split(texts, np.flatnonzero(np.diff(runs)) + 1):
            yield from _long_run(run, self.rows, labels)

    def _sharing(self, stage: int, part: int, first: Ints, second: Ints) -> Iterator[Pairs]:
        """Those of the pairs that share enough parts and none that is looked up before this one."""
        num = self.hashes.shape[1]
        for begin in range(0, len(first), max(BLOCK // num, 1)):
            one, other = first[begin:][: max(BLOCK // num, 1)], second[begin:][: max(BLOCK // num, 1)]
            same = self.hashes[one] == self.hashes[other]
            enough = same.sum(axis=1) >= num - _differing(self.sizes[one], self.sizes[other], self.threshold)
            one, other, same = one[enough], other[enough], same[enough]
            stages = np.where(same, np.minimum(self.looked_up[one], self.looked_up[other]), 0)
            kept = ~((stages[:, :part] == stage).any(axis=1) | ((stages > 0) & (stages < stage)).any(axis=1))
            if kept.any():
                yield self.rows[one[kept]], self.rows[other[kept]]


def _shared_parts(plain: Callable[[int], str], rows: Ints, sizes: Ints, threshold: float) -> _Parts:
    most = np.floor((1 - threshold) / threshold * sizes + 1e-9).astype(np.int64)
    num = int(most.max()) + 1 + int(SPARE * most.max())
    hashes = np.zeros((len(rows), num), np.uint32)
    for owners, grams in shingle_hashes(map(plain, rows.tolist())):
        summands = (grams * _MIX >> np.uint64(32)).astype(np.uint32)
        np.add.at(hashes.reshape(-1), owners * num + (grams % np.uint64(num)).astype(np.int64), summands)
    looked_up = np.zeros(hashes.shape, np.uint8)
    frequent = _frequencies(hashes)
    for begin in range(0, len(rows), MOST_TEXTS):
        block = slice(begin, begin + MOST_TEXTS)
        order = np.argsort(frequent[block], axis=1, kind="stable")
        np.put_along_axis(looked_up[block], order, np.arange(num) <= most[block, None], axis=1)
        looked_up[block] *= np.where(frequent[block] <= SCALE * np.log2(SHORT), _FEW, _MANY).astype(np.uint8)
    return _Parts(rows, sizes, hashes, looked_up, threshold)


def _frequencies(hashes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """How many texts have the same part, on a logarithmic scale; texts by parts."""
    frequent = np.zeros(hashes.shape, np.uint8)
    for part in range(hashes.shape[1]):
        _, place, counts = np.unique(hashes[:, part], return_inverse=True, return_counts=True)
        frequent[:, part] = np.minimum(SCALE * np.log2(counts), 255)[place]
    return frequent


def _long_run(rest: Ints, rows: Ints, labels: Labels) -> Iterator[Pairs]:
    """Each text of a run with those that follow it, until all that are left have one label.

    Texts of rare labels go first, so that a cluster that has grown together is passed over.
    """
    until_sorted = 0
    while len(rest) > 1:
        of_rest = labels[rows[rest]]
        if (of_rest == of_rest[0]).all():
            return
        if not until_sorted:
            _, place, counts = np.unique(of_rest, return_inverse=True, return_counts=True)
            rest = rest[np.argsort(counts[place], kind="stable")]
            until_sorted = len(rest) // 16 + 1
        yield np.full(len(rest) - 1, rest[0]), rest[1:]
        rest, until_sorted = rest[1:], until_sorted - 1
