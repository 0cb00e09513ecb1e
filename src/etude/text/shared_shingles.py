"""Pairs of texts that may be near-duplicates, found by hashes of partitions of their shingles.

Exact set-similarity join by partition (Arasu, Ganti and Kaushik 2006; Deng, Li, Wen and Feng 2015):
the shingles of a text are divided by their hash into parts. Two sets whose Jaccard similarity
reaches the threshold differ in so few shingles that some of their parts are equal. Only the rarest
parts of each text are looked up, one more than the number that can differ (prefix filtering:
Chaudhuri, Ganti and Kaushik 2006). Memory: about one 32-bit number for every four characters of the
texts in one range of lengths.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from etude.base.progress import report_progress

SHINGLE = 5  # characters in a shingle
HASH_BITS = 52  # bits of a shingle's hash
# additional parts, as a share of those that can differ; the most common parts are not looked up
SPARE = 0.25
MAX_BLOCK = 2**18  # characters, and pairs times parts, that are processed at once
MAX_TEXTS = 2 ** (
    64 - HASH_BITS
)  # texts of a block: their number is stored in the upper bits of a hash
MAX_SMALL = (
    2**22
)  # texts times shingles up to which comparing all pairs is faster than looking up parts
FEW_TEXTS = 32  # the same as a number of texts of any length, because a long text has many parts
MAX_SHORT = (
    32  # texts with the same part that are all paired at once; more texts are paired one by one
)
LOG_STEPS = 8  # steps on the scale of frequencies in which the number of texts doubles

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Bools = NDArray[np.bool_]
Pairs = tuple[Ints, Ints]  # positions of the first and of the second text of each pair
Labels = NDArray[np.int64]

_WEIGHTS = np.array(
    [
        0x9E3779B97F4A7C15,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0xD6E8FEB86659FD93,
        0xA0761D6478BD642F,
    ],
    np.uint64,
)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
# stages in which parts are looked up
_FEW = 1
_MANY = 2


def hash_shingles(plain: Iterable[str]) -> Iterator[tuple[Ints, Hashes]]:
    """Yield (number of the text, hash) of every distinct shingle of normalised texts, ascending, by
    blocks of texts.

    Hashes have 52 bits: for texts with a thousand shingles, one pair in a billion has a collision.
    A text of up to 5 characters is one shingle.
    """
    first = 0
    texts = list[str]()
    num_chars = 0
    for text in plain:
        texts.append(text.ljust(SHINGLE, "\0"))  # a character that no text contains
        num_chars += len(texts[-1])
        if num_chars >= MAX_BLOCK or len(texts) == MAX_TEXTS:
            yield _hash_block(first, texts)
            first = first + len(texts)
            texts = []
            num_chars = 0
    if texts:
        yield _hash_block(first, texts)


def _hash_block(first: int, padded: Sequence[str]) -> tuple[Ints, Hashes]:
    lengths = np.array([len(text) for text in padded])
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(
        np.uint64
    )
    num = len(codes) - SHINGLE + 1
    mixed = np.zeros(num, np.uint64)
    for offset, weight in enumerate(_WEIGHTS):
        mixed += codes[offset : offset + num] * weight
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _MIX >> np.uint64(64 - HASH_BITS)
    # Shingles that run from one text into the next are dropped.
    starts = np.arange(num) - np.repeat(np.cumsum(lengths) - lengths, lengths)[:num]
    is_inside = starts <= np.repeat(lengths, lengths)[:num] - SHINGLE
    owners = np.repeat(np.arange(len(padded), dtype=np.uint64), lengths)[:num]
    keys = np.sort((owners << np.uint64(HASH_BITS) | mixed)[is_inside])
    keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]
    return (keys >> np.uint64(HASH_BITS)).astype(np.int64) + first, keys & np.uint64(
        2**HASH_BITS - 1
    )


def find_candidate_pairs(
    plain: Callable[[int], str], threshold: float, labels: Labels, small: int = MAX_SMALL
) -> Iterator[Pairs]:
    """Yield candidate pairs of normalised texts, each once: at least all whose similarity reaches
    `threshold`.

    `plain` returns a text by its position; there are as many texts as `labels`. Pairs with equal
    `labels` are left out; labels may change between two yields. If texts times shingles are at most
    `small`, all pairs are candidates.
    """
    # Step 1: the number of shingles of each text.
    sizes = np.zeros(len(labels), np.int64)
    for owners, _ in hash_shingles(map(plain, range(len(labels)))):
        sizes[owners[0] : owners[-1] + 1] = np.bincount(owners - owners[0])
    # Step 2: ranges of sizes so wide that a near-duplicate is in the same or a neighbouring range.
    ratio = max(1 / threshold, 1.25) + 1e-9
    edges = [1]
    while edges[-1] <= int(sizes.max(initial=0)):
        edges.append(int(edges[-1] * ratio) + 1)
    ranges = np.searchsorted(np.array(edges), sizes, "right")
    # Step 3: pairs within each range, and between it and the next. Each text is in two of these
    # steps.
    num_done = 0
    for lower in np.unique(ranges).tolist():
        rows = np.flatnonzero((ranges == lower) | (ranges == lower + 1))
        report_progress(num_done, 2 * len(labels))
        is_lower = ranges[rows] == lower
        if len(rows) <= FEW_TEXTS or len(rows) * int(sizes[rows].sum()) <= small:
            first, second = _filter_pairs(np.triu_indices(len(rows), 1), rows, is_lower, labels)
            yield rows[first], rows[second]
        else:
            parts = _build_parts(plain, rows, sizes[rows], threshold)
            for share, pairs in parts.find_pairs(is_lower, labels):
                report_progress(num_done + share * len(rows), 2 * len(labels))
                yield from pairs
        num_done += len(rows)


def _filter_pairs(pairs: Pairs, rows: Ints, is_lower: Bools, labels: Labels) -> Pairs:
    """Keep the pairs with different labels and a text of the lower range; other pairs belong to the
    next range.
    """
    first, second = pairs
    keep = (labels[rows[first]] != labels[rows[second]]) & (is_lower[first] | is_lower[second])
    return first[keep], second[keep]


@dataclass(frozen=True, slots=True)
class _ShingleParts:
    """Texts of similar sizes with the hashes of their parts."""

    rows: Ints
    """Positions of the texts among all."""
    sizes: Ints
    """Their numbers of shingles."""
    hashes: NDArray[np.uint32]
    """Texts by parts: the sum of the shingles' hashes, 0 for an empty part."""
    stages: NDArray[np.uint8]
    """Texts by parts: 0 for a part that is not looked up, `_FEW` if at most `MAX_SHORT` texts have
    it, else `_MANY`.
    """
    threshold: float

    def find_pairs(
        self, is_lower: Bools, labels: Labels
    ) -> Iterator[tuple[float, Iterator[Pairs]]]:
        """Yield for each part the share of the work that is done, and pairs that share enough
        parts: each pair once, first those with a part that few texts have.
        """
        num_parts = self.hashes.shape[1]
        for stage in (_FEW, _MANY):
            for part in range(num_parts):
                share = (part + (stage == _MANY) * num_parts) / (2 * num_parts)
                texts = np.flatnonzero(self.stages[:, part] == stage)
                texts = texts[np.argsort(self.hashes[texts, part], kind="stable")]
                runs = np.cumsum(
                    np.diff(self.hashes[texts, part], prepend=self.hashes[texts[:1], part]) != 0
                )
                candidates = (
                    _filter_pairs(pairs, self.rows, is_lower, labels)
                    for pairs in self._pair_runs(stage, texts, runs, labels)
                )
                yield (
                    share,
                    chain.from_iterable(
                        self._select_sharing(stage, part, *pairs) for pairs in candidates
                    ),
                )

    def _pair_runs(self, stage: int, texts: Ints, runs: Ints, labels: Labels) -> Iterator[Pairs]:
        if stage == _FEW:
            for step in range(1, len(texts)):
                same = np.flatnonzero(runs[step:] == runs[:-step])
                if not same.size:
                    return
                yield texts[same], texts[same + step]
            return
        for run in np.split(texts, np.flatnonzero(np.diff(runs)) + 1):
            yield from _pair_long_run(run, self.rows, labels)

    def _select_sharing(
        self, stage: int, part: int, firsts: Ints, seconds: Ints
    ) -> Iterator[Pairs]:
        """Yield the pairs that share enough parts. Pairs with an earlier part in common were
        yielded before.
        """
        num = self.hashes.shape[1]
        step = max(MAX_BLOCK // num, 1)
        for begin in range(0, len(firsts), step):
            first = firsts[begin : begin + step]
            second = seconds[begin : begin + step]
            is_same = self.hashes[first] == self.hashes[second]
            # The maximum number of shingles by which near-duplicates of these sizes can differ.
            # 1e-9 guards against rounding.
            total = self.sizes[first] + self.sizes[second]
            limit = np.floor((1 - self.threshold) / (1 + self.threshold) * total + 1e-9).astype(
                np.int64
            )
            enough = is_same.sum(axis=1) >= num - limit
            first = first[enough]
            second = second[enough]
            is_same = is_same[enough]
            stages = np.where(is_same, np.minimum(self.stages[first], self.stages[second]), 0)
            is_earlier_part = (stages[:, :part] == stage).any(axis=1)
            is_new = ~(is_earlier_part | ((stages > 0) & (stages < stage)).any(axis=1))
            if is_new.any():
                yield self.rows[first[is_new]], self.rows[second[is_new]]


def _build_parts(
    plain: Callable[[int], str], rows: Ints, sizes: Ints, threshold: float
) -> _ShingleParts:
    max_different = np.floor((1 - threshold) / threshold * sizes + 1e-9).astype(np.int64)
    num = int(max_different.max()) + 1 + int(SPARE * max_different.max())
    hashes = np.zeros((len(rows), num), np.uint32)
    for owners, shingles in hash_shingles(map(plain, rows.tolist())):
        summands = (shingles * _MIX >> np.uint64(32)).astype(np.uint32)
        np.add.at(
            hashes.reshape(-1),
            owners * num + (shingles % np.uint64(num)).astype(np.int64),
            summands,
        )
    # How many texts have the same part, on a logarithmic scale; texts by parts.
    frequencies = np.zeros(hashes.shape, np.uint8)
    for part in range(num):
        _, inverse, counts = np.unique(hashes[:, part], return_inverse=True, return_counts=True)
        frequencies[:, part] = np.minimum(LOG_STEPS * np.log2(counts), 255)[inverse]
    stages = np.zeros(hashes.shape, np.uint8)
    for begin in range(0, len(rows), MAX_TEXTS):
        block = slice(begin, begin + MAX_TEXTS)
        order = np.argsort(frequencies[block], axis=1, kind="stable")
        np.put_along_axis(
            stages[block], order, np.arange(num) <= max_different[block, None], axis=1
        )
        is_few = frequencies[block] <= LOG_STEPS * np.log2(MAX_SHORT)
        stages[block] *= np.where(is_few, _FEW, _MANY).astype(np.uint8)
    return _ShingleParts(rows, sizes, hashes, stages, threshold)


def _pair_long_run(run: Ints, rows: Ints, labels: Labels) -> Iterator[Pairs]:
    """Yield the texts of a run, each with the texts after it, until all remaining texts have the
    same label.

    Texts with rare labels come first, so that a merged cluster is skipped. Ever more texts are
    paired at once, because the pairs with the first ones merge most clusters.
    """
    until_sorted = 0
    num = 1
    while len(run) > 1:
        run_labels = labels[rows[run]]
        if (run_labels == run_labels[0]).all():
            return
        if until_sorted <= 0:
            _, inverse, counts = np.unique(run_labels, return_inverse=True, return_counts=True)
            run = run[np.argsort(counts[inverse], kind="stable")]
            until_sorted = len(run) // 16 + 1
        first, second = np.triu_indices(num, 1, len(run))
        yield run[first], run[second]
        run = run[num:]
        until_sorted = until_sorted - num
        num = min(2 * num, MAX_BLOCK // max(len(run), 1) + 1)
