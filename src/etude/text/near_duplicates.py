"""Near-duplicates: texts compared as sets of character 5-grams of their canonical forms
(normal_forms.py).

The search (shared_shingles.py) finds exactly the pairs whose Jaccard similarity reaches the
threshold. Memory and time are nearly proportional to the length of the texts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from scipy.sparse import csr_array

from etude.base.disk_texts import DiskTexts
from etude.text import normal_forms, shared_shingles

THRESHOLD = 0.8  # Jaccard similarity from which two texts are near-duplicates
# Candidates that are compared at once, or more if there are few texts. At most twice as many texts
# are in memory.
MIN_CHUNK = 1024


def cluster_near_duplicates(
    texts: Sequence[str],
    threshold: float = THRESHOLD,
    alone: bool = True,
    are_canonical: bool = False,
) -> list[tuple[int, ...]]:
    """Group the positions of texts: near-duplicates, and the near-duplicates of these, are in one
    group.

    The pairs are not in memory, so thousands of texts from one template need little of it. Without
    `alone`, texts without a near-duplicate are left out. `are_canonical` says that the texts are
    canonical forms.
    """
    forms = texts if are_canonical else _list_forms(texts)
    groups = UnionFind(len(forms))
    for block in _compare(forms.__getitem__, threshold, groups.labels):
        for first, second, _ in block:
            groups.merge(first, second)
    return groups.all_groups() if alone else groups.merged_groups()


def find_near_matches(
    texts: Sequence[str],
    others: Sequence[str],
    threshold: float = THRESHOLD,
    are_canonical: bool = False,
) -> list[tuple[int, int, float]]:
    """Find for each of `texts` the most similar near-duplicate among `others`.

    Returns `(position in texts, position in others, similarity)`, ordered by position. If several
    others are equally similar, the first is returned. Texts without a near-duplicate are left out.
    `are_canonical` says that all texts are canonical forms.
    """
    if not are_canonical:
        texts = _list_forms(texts)
        others = _list_forms(others)
    num = len(texts)
    sides = (np.arange(num + len(others)) >= num).astype(np.int64)
    best: dict[int, tuple[float, int]] = {}

    def read(position: int) -> str:
        return texts[position] if position < num else others[position - num]

    for text, match, similarity in chain.from_iterable(_compare(read, threshold, sides)):
        best[text] = max(best.get(text, (0.0, 0)), (similarity, num - match))
    return [(text, -match, similarity) for text, (similarity, match) in sorted(best.items())]


def cluster_pairs(n: int, pairs: Iterable[Sequence[float]]) -> list[tuple[int, ...]]:
    """Group the positions 0 to n - 1 that are linked by the first two entries of pairs.

    Groups and their members are in ascending order. A position without a link is alone in its
    group.
    """
    groups = UnionFind(n)
    for first, second, *_ in pairs:
        groups.merge(int(first), int(second))
    return groups.all_groups()


class UnionFind:
    """Groups of the positions 0 to n - 1 that can be merged; merging relabels the smaller group."""

    def __init__(self, n: int) -> None:
        self.labels: shared_shingles.Ints = np.arange(n, dtype=np.int64)
        self._members: dict[int, list[int]] = {}

    def merge(self, first: int, second: int) -> None:
        """Merge the groups of both positions."""
        small = int(self.labels[first])
        large = int(self.labels[second])
        if small == large:
            return
        moved = self._members.pop(small, [small])
        members = self._members.pop(large, [large])
        if len(moved) > len(members):
            moved, members, large = members, moved, small
        self.labels[moved] = large
        self._members[large] = members
        members += moved

    def merged_groups(self) -> list[tuple[int, ...]]:
        """Return the groups of two or more, each ascending, ordered by their first member."""
        return sorted(tuple(sorted(group)) for group in self._members.values())

    def all_groups(self) -> list[tuple[int, ...]]:
        """Return all groups, each ascending, ordered by their first member."""
        is_single = np.ones(len(self.labels), np.bool_)
        groups = self.merged_groups()
        is_single[list(chain.from_iterable(groups))] = False
        return sorted([*groups, *((position,) for position in np.flatnonzero(is_single).tolist())])


def _list_forms(texts: Iterable[str]) -> Sequence[str]:
    """List the canonical forms, on disk: each is read several times."""
    return DiskTexts(map(normal_forms.to_canonical, texts))


def _compare(
    read: Callable[[int], str], threshold: float, labels: shared_shingles.Labels
) -> Iterator[list[tuple[int, int, float]]]:
    """Yield blocks of near-duplicates `(i, j, similarity)`, i < j, each once; `read` returns a
    canonical form.

    There are as many texts as `labels`. Pairs with equal `labels` are left out; labels may change
    between two blocks.
    """
    if not 0 < threshold <= 1:
        raise ValueError(
            f"the threshold is a Jaccard similarity above 0 and up to 1, not {threshold}"
        )

    chunk = max(MIN_CHUNK, MIN_CHUNK**2 // max(len(labels), 1))
    for firsts, seconds in shared_shingles.find_candidate_pairs(read, threshold, labels):
        for begin in range(0, len(firsts), chunk):
            first = firsts[begin : begin + chunk]
            second = seconds[begin : begin + chunk]
            # Labels may have changed since the candidates were found.
            differs = labels[first] != labels[second]
            first = first[differs]
            second = second[differs]
            similarities = _measure_similarity(read, first, second)
            pairs = zip(first.tolist(), second.tolist(), similarities, strict=True)
            yield [
                (min(i, j), max(i, j), similarity)
                for i, j, similarity in pairs
                if similarity >= threshold
            ]


def _measure_similarity(
    read: Callable[[int], str], first: shared_shingles.Ints, second: shared_shingles.Ints
) -> list[float]:
    """Compute the Jaccard similarity of each pair, from a sparse matrix of texts by shingles."""
    if not len(first):
        return []
    positions = np.unique(np.concatenate([first, second]))
    owners, hashes = map(
        np.concatenate,
        zip(*shared_shingles.hash_shingles(map(read, positions.tolist())), strict=True),
    )
    sizes = np.bincount(owners)
    entries = (np.ones(len(hashes), np.bool_), hashes.astype(np.int64), np.cumsum([0, *sizes]))
    matrix = csr_array(entries, shape=(len(positions), 2**shared_shingles.HASH_BITS))
    first_rows = np.searchsorted(positions, first)
    second_rows = np.searchsorted(positions, second)
    totals = sizes[first_rows] + sizes[second_rows]
    # Pairs are multiplied in blocks of bounded size, to limit memory.
    edges = np.flatnonzero(np.diff(np.cumsum(totals) // shared_shingles.MAX_BLOCK)) + 1
    blocks = zip(np.split(first_rows, edges), np.split(second_rows, edges), strict=True)
    shared = np.concatenate([np.diff(matrix[i].multiply(matrix[j]).indptr) for i, j in blocks])
    similarities: list[float] = (shared / (totals - shared)).tolist()
    return similarities
