"""Texts compared as sets of character 5-grams of their words and signs (normal_forms.py).

The near-duplicate search (shared_shingles.py) finds every pair whose Jaccard similarity reaches the threshold, and no
other, in memory and time nearly proportional to the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from scipy.sparse import csr_array

from etude.text.normal_forms import normalise as normalise
from etude.text.normal_forms import with_signs
from etude.text.shared_shingles import (
    BLOCK,
    HASH_BITS,
    Ints,
    Labels,
    candidate_pairs,
    shingle_hashes,
)

THRESHOLD = 0.8
"""Jaccard similarity from which two texts count as near-duplicates."""
CHUNK = 1024
"""Candidates compared at once, more where there are fewer texts: at most twice as many texts are held."""


def near_duplicates(texts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int, float]]:
    """Every pair `(i, j, similarity)` with i < j and similarity >= `threshold`, in order.

    The list holds all pairs, k * (k - 1) / 2 of them for k copies of one text: where only
    the groups are wanted, near_duplicate_clusters is cheaper. ValueError for a threshold outside (0, 1].
    """
    return sorted(chain.from_iterable(_alike(texts.__getitem__, threshold, np.arange(len(texts)))))


def near_duplicate_clusters(
    texts: Sequence[str], threshold: float = THRESHOLD, alone: bool = True
) -> list[tuple[int, ...]]:
    """The texts' positions grouped so that near-duplicates, and theirs in turn, stand together.

    The same groups as `clusters(len(texts), near_duplicates(texts))` without holding the pairs, so
    that a template filled in thousands of times costs little. Ordered as clusters; texts that
    are alike to no other are left out where not `alone`.
    """
    groups = Groups(len(texts))
    for block in _alike(texts.__getitem__, threshold, groups.labels):
        for first, second, _ in block:
            groups.join(first, second)
    return groups.members() if alone else groups.joined()


def near_matches(
    texts: Sequence[str], others: Sequence[str], threshold: float = THRESHOLD
) -> list[tuple[int, int, float]]:
    """For each of `texts` that has a near-duplicate among `others`, the most similar one.

    Returns `(position in texts, position in others, similarity)` ordered by position; among equally
    similar others the first. Texts without a near-duplicate are absent.
    """
    num = len(texts)
    sides = (np.arange(num + len(others)) >= num).astype(np.int64)
    best: dict[int, tuple[float, int]] = {}

    def read(row: int) -> str:
        return texts[row] if row < num else others[row - num]

    for text, other, alike in chain.from_iterable(_alike(read, threshold, sides)):
        best[text] = max(best.get(text, (0.0, 0)), (alike, num - other))
    return [(text, -match, alike) for text, (alike, match) in sorted(best.items())]


def clusters(n: int, pairs: Iterable[Sequence[float]]) -> list[tuple[int, ...]]:
    """Positions 0 to n - 1 grouped by the pairs' first two entries, taken as links.

    Each group is in ascending order, the groups in the order of their first member; a position
    without a link is a group of its own.
    """
    groups = Groups(n)
    for first, second, *_ in pairs:
        groups.join(int(first), int(second))
    return groups.members()


class Groups:
    """Positions 0 to n - 1 that grow together: union-find that relabels the smaller side."""

    def __init__(self, n: int) -> None:
        self.labels: Ints = np.arange(n, dtype=np.int64)
        self._joined: dict[int, list[int]] = {}

    def join(self, first: int, second: int) -> None:
        """Puts the groups of both positions together."""
        small, large = int(self.labels[first]), int(self.labels[second])
        if small == large:
            return
        one, other = self._joined.pop(small, [small]), self._joined.pop(large, [large])
        if len(one) > len(other):
            one, other, large = other, one, small
        self.labels[one] = large
        self._joined[large] = other
        other += one

    def joined(self) -> list[tuple[int, ...]]:
        """The groups of two or more, each ascending, ordered by their first member."""
        return sorted(tuple(sorted(group)) for group in self._joined.values())

    def members(self) -> list[tuple[int, ...]]:
        """All groups, each ascending, ordered by their first member."""
        alone = np.ones(len(self.labels), np.bool_)
        groups = self.joined()
        alone[list(chain.from_iterable(groups))] = False
        return sorted([*groups, *((position,) for position in np.flatnonzero(alone).tolist())])


def _alike(
    read: Callable[[int], str], threshold: float, labels: Labels
) -> Iterator[list[tuple[int, int, float]]]:
    """Blocks of near-duplicates `(i, j, similarity)`, i < j, each once; `read` gives a text by its position.

    There are as many texts as `labels`. Pairs whose `labels` are equal are left out; labels may be changed
    between two blocks.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold is a Jaccard similarity above 0 and up to 1, not {threshold}")

    def plain(row: int) -> str:
        return with_signs(read(row))

    chunk = max(CHUNK, CHUNK**2 // max(len(labels), 1))
    for first, second in candidate_pairs(plain, threshold, labels):
        for begin in range(0, len(first), chunk):
            one, other = first[begin : begin + chunk], second[begin : begin + chunk]
            apart = labels[one] != labels[other]
            one, other = one[apart], other[apart]
            similar = _similarities(plain, one, other)
            found = zip(one.tolist(), other.tolist(), similar, strict=True)
            yield [(min(i, j), max(i, j), alike) for i, j, alike in found if alike >= threshold]


def _similarities(plain: Callable[[int], str], first: Ints, second: Ints) -> list[float]:
    if not len(first):
        return []
    rows = np.unique(np.concatenate([first, second]))
    owners, hashes = map(np.concatenate, zip(*shingle_hashes(map(plain, rows.tolist())), strict=True))
    sizes = np.bincount(owners)
    entries = (np.ones(len(hashes), np.bool_), hashes.astype(np.int64), np.cumsum([0, *sizes]))
    texts = csr_array(entries, shape=(len(rows), 2**HASH_BITS))
    one, other = np.searchsorted(rows, first), np.searchsorted(rows, second)
    both = sizes[one] + sizes[other]
    blocks_of = np.flatnonzero(np.diff(np.cumsum(both) // BLOCK)) + 1
    pairs = zip(np.split(one, blocks_of), np.split(other, blocks_of), strict=True)
    shared = np.concatenate([np.diff(texts[i].multiply(texts[j]).indptr) for i, j in pairs])
    similar: list[float] = (shared / (both - shared)).tolist()
    return similar
