"""Texts compared as sets of character 5-grams, with case and punctuation taken out.

The near-duplicate search is exact: it returns every pair whose Jaccard similarity reaches the
threshold, and no other. It compares only texts that share a rare shingle and are of similar size
(prefix and size filtering: Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHINGLE = 5
"""Characters in a shingle."""
THRESHOLD = 0.8
"""Jaccard similarity from which two texts count as near-duplicates."""
CHUNK = 4096
"""Candidates compared at once: bounds the memory of one comparison."""

HEAD = 256
"""Candidates after which the clustering looks whether the rest is already in the same cluster."""

Ints = NDArray[np.int64]

_NON_WORD = re.compile(r"\W+")


def normalise(text: str) -> str:
    """`text` casefolded, every run of non-word characters as one space, none at the ends."""
    return _NON_WORD.sub(" ", text.casefold()).strip()


def shingles(text: str) -> frozenset[str]:
    """The character 5-grams of the normalised text; a text of up to 5 characters is one shingle."""
    plain = normalise(text)
    last = max(len(plain) - SHINGLE, 0)
    return frozenset(plain[start : start + SHINGLE] for start in range(last + 1))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Shared elements over all elements, 0 to 1. Two empty sets are alike: 1."""
    shared = len(first & second)
    union = len(first) + len(second) - shared
    return shared / union if union else 1.0


def near_duplicates(texts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int, float]]:
    """Every pair `(i, j, similarity)` with i < j and similarity >= `threshold`, in order.

    Exact. The list holds all pairs, k * (k - 1) / 2 of them for k copies of one text: where only
    the groups are wanted, near_duplicate_clusters is cheaper. ValueError for a threshold outside (0, 1].
    """
    index = _index(texts, threshold)
    pairs: list[tuple[int, int, float]] = []
    for place in range(len(texts)):
        found, similarity = index.matches(place, index.candidates(place))
        one = int(index.order[place])
        others = index.order[found].tolist()
        pairs += [(min(one, j), max(one, j), s) for j, s in zip(others, similarity.tolist(), strict=True)]
    return sorted(pairs)


def near_duplicate_clusters(texts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, ...]]:
    """The texts' positions grouped so that near-duplicates, and theirs in turn, stand together.

    The same groups as `clusters(len(texts), near_duplicates(texts))` without holding the pairs, so
    that a template filled in thousands of times costs little. Singletons included; ordered as clusters.
    """
    index = _index(texts, threshold)
    groups = Groups(len(texts))
    for place in range(len(texts)):
        waiting = index.candidates(place)
        while waiting.size:
            for other in index.matches(place, waiting[:HEAD])[0].tolist():
                groups.join(place, other)
            waiting = waiting[HEAD:]
            waiting = waiting[groups.labels[waiting] != groups.labels[place]]
    return sorted(tuple(sorted(index.order[list(group)].tolist())) for group in groups.members())


def near_matches(
    texts: Sequence[str], others: Sequence[str], threshold: float = THRESHOLD
) -> list[tuple[int, int, float]]:
    """For each of `texts` that has a near-duplicate among `others`, the most similar one.

    Returns `(position in texts, position in others, similarity)` ordered by position; among equally
    similar others the first. Texts without a near-duplicate are absent.
    """
    index = _index([*texts, *others], threshold)
    best: dict[int, tuple[float, int]] = {}
    for place in range(len(index.order)):
        one = int(index.order[place])
        waiting = index.candidates(place)
        waiting = waiting[(index.order[waiting] < len(texts)) != (one < len(texts))]
        found, similarity = index.matches(place, waiting)
        for other, alike in zip(index.order[found].tolist(), similarity.tolist(), strict=True):
            text, match = min(one, other), max(one, other) - len(texts)
            best[text] = max(best.get(text, (0.0, 0)), (alike, -match))
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
        self._members: dict[int, list[int]] = {position: [position] for position in range(n)}

    def join(self, first: int, second: int) -> None:
        """Puts the groups of both positions together."""
        small, large = int(self.labels[first]), int(self.labels[second])
        if small == large:
            return
        if len(self._members[small]) > len(self._members[large]):
            small, large = large, small
        moved = self._members.pop(small)
        self.labels[moved] = large
        self._members[large] += moved

    def members(self) -> list[tuple[int, ...]]:
        """All groups, each ascending, ordered by their first member."""
        return sorted(tuple(sorted(group)) for group in self._members.values())


@dataclass(frozen=True, slots=True)
class _Index:
    """Texts by size, smallest first, and which of them hold a rare shingle.

    "Place" is a position in that order. A text's rare shingles are the first of its set, rarest
    first, so many that two near-duplicates must have one in common.
    """

    order: Ints
    """Place -> position in the caller's list."""
    sizes: Ints
    """Place -> number of shingles, ascending."""
    starts: Ints
    """Place -> where its shingles begin in `flat`; one entry more than texts."""
    flat: Ints
    """The shingles of all texts as numbers, those of one text ascending: rarest first."""
    rare: Ints
    """Place -> how many of its shingles are indexed."""
    keys: Ints
    """Sorted `shingle * texts + place` for every indexed shingle of every text."""
    places: Ints
    """The place of each key."""
    threshold: float
    mark: NDArray[np.bool_]
    """Scratch, one flag a shingle, all False between calls."""

    def candidates(self, place: int) -> Ints:
        """Earlier places, large enough and sharing a rare shingle; one may come up several times."""
        total = len(self.sizes)
        low = np.searchsorted(self.sizes, _at_least(self.threshold, self.sizes[place]))
        first = self.flat[self.starts[place] :][: self.rare[place]] * total
        begins = np.searchsorted(self.keys, first + low).tolist()
        ends = np.searchsorted(self.keys, first + place).tolist()
        found = [self.places[begin:end] for begin, end in zip(begins, ends, strict=True) if begin < end]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def matches(self, place: int, candidates: Ints) -> tuple[Ints, NDArray[np.float64]]:
        """Those of `candidates` that are near-duplicates of `place`, once each, and how similar."""
        if not candidates.size:
            return candidates, np.empty(0)
        unique = np.unique(candidates)
        own = self.flat[self.starts[place] : self.starts[place + 1]]
        self.mark[own] = True
        parts = [self._shared(unique[at : at + CHUNK]) for at in range(0, len(unique), CHUNK)]
        self.mark[own] = False
        shared = np.concatenate(parts)
        similarity = shared / (len(own) + self.sizes[unique] - shared)
        close = similarity >= self.threshold
        return unique[close], similarity[close]

    def _shared(self, places: Ints) -> Ints:
        """How many shingles of each place are marked."""
        sizes = self.sizes[places]
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
        hits = self.mark[self.flat[np.repeat(self.starts[places], sizes) + within]]
        counts: Ints = np.add.reduceat(hits, ends - sizes, dtype=np.int64)
        return counts


def _at_least(threshold: float, size: Ints) -> Ints:
    """Fewest shingles that a near-duplicate shares with a larger text of `size` shingles.

    The small allowance keeps a rounding error of the product from losing a pair.
    """
    least: Ints = np.maximum(1, np.ceil(threshold * size - 1e-9).astype(np.int64))
    return least


def _index(texts: Sequence[str], threshold: float) -> _Index:
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold is a Jaccard similarity above 0 and up to 1, not {threshold}")
    owners, grams = _distinct_shingles(texts)
    sizes = np.bincount(owners, minlength=len(texts)).astype(np.int64)
    order = np.argsort(sizes, kind="stable")
    place_of = np.argsort(order, kind="stable")
    rarity = np.argsort(np.argsort(np.bincount(grams), kind="stable"), kind="stable")
    by_place = np.lexsort((rarity[grams], place_of[owners]))
    flat, places = rarity[grams][by_place], place_of[owners][by_place]
    starts = np.concatenate([[0], np.cumsum(sizes[order])]).astype(np.int64)
    rare = sizes[order] - _at_least(threshold, sizes[order]) + 1
    keys = (flat * len(texts) + places)[np.arange(len(flat)) - starts[places] < rare[places]]
    keys.sort()
    return _Index(
        order=order,
        sizes=sizes[order],
        starts=starts,
        flat=flat,
        rare=rare,
        keys=keys,
        places=keys % max(len(texts), 1),
        threshold=threshold,
        mark=np.zeros(len(rarity), np.bool_),
    )


def _distinct_shingles(texts: Sequence[str]) -> tuple[Ints, Ints]:
    """The shingles of every text, each once: whose it is, and a number that stands for it.

    Numbers instead of strings: a long text costs some dozen bytes a character. Short texts are filled
    up with a character that no normalised text holds.
    """
    padded = [normalise(text).ljust(SHINGLE, "\0") for text in texts]
    if not padded:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    lengths = np.array([len(text) for text in padded])
    letters = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32)
    inside = np.arange(len(letters)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    whole = inside <= np.repeat(lengths, lengths) - SHINGLE
    owners = np.repeat(np.arange(len(padded)), lengths)[whole]
    grams = _five_grams(letters)[whole[: len(letters) - SHINGLE + 1]]
    kinds = int(grams.max()) + 1
    owner, gram = np.divmod(np.unique(owners * kinds + grams), kinds)
    return owner, gram


def _five_grams(letters: NDArray[np.uint32]) -> Ints:
    """A number for each run of five letters, equal for equal runs only.

    Ranks of twos, then of fours, then of fives, so that no product leaves 64 bits.
    """
    ones = _ranks(letters.astype(np.int64))
    twos = _ranks(ones[:-1] * len(letters) + ones[1:])
    fours = _ranks(twos[:-2] * len(letters) + twos[2:])
    return _ranks(fours[:-1] * len(letters) + ones[4:])


def _ranks(values: Ints) -> Ints:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)
