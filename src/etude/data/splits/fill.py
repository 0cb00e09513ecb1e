"""Clusters of rows, and how many of them a side is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from etude.types import Side


@dataclass(frozen=True)
class Cluster:
    """Rows that stand on one side together."""

    rows: tuple[int, ...]
    """Positions in the data set."""
    keys: frozenset[str]
    labels: Counter[str]
    rank: str
    """Hash that decides the side."""

    @property
    def size(self) -> int:
        """Its number of rows."""
        return len(self.rows)


@dataclass
class Places:
    """Clusters being given their sides."""

    free: list[Cluster]
    taken: dict[Side, list[Cluster]] = field(default_factory=lambda: {"train": [], "dev": [], "test": []})

    def rows(self, side: Side) -> list[int]:
        """The side's rows, in the order of the data set."""
        return sorted(row for cluster in self.taken[side] for row in cluster.rows)

    def size(self, side: Side) -> int:
        """The side's number of rows."""
        return sum(cluster.size for cluster in self.taken[side])

    def take(self, side: Side, chosen: Iterable[Cluster]) -> None:
        """Gives free clusters to a side."""
        self.taken[side] += chosen
        gone = {id(cluster) for cluster in self.taken[side]}
        self.free = [cluster for cluster in self.free if id(cluster) not in gone]


def labels_of(chosen: Iterable[Cluster]) -> Counter[str]:
    """Rows of each label."""
    counts: Counter[str] = Counter()
    for cluster in chosen:
        counts.update(cluster.labels)
    return counts


def wanted_rows(share: Fraction, total: int, least: int, most: int) -> int:
    """A share of `total` rows, at least `least` and above all at most `most` of them."""
    return max(min(max(round(share * total), least), most), 0)


def fill(places: Places, side: Side, wanted: int, bounds: tuple[int, int], counts: Counter[str]) -> None:
    """Gives free clusters to `side` until it has about `wanted` rows, within `bounds` where possible.

    First those that fit into the quotas of their labels, then those that bring the labels nearer to
    them, then those that bring the size nearer to `wanted`, then, below the least size, the smallest.
    Each time in the order of the hashes: lowest first for test, highest first for dev.
    """
    least, most = bounds
    have = labels_of(places.taken[side])
    lacking = Counter(_quotas(wanted, counts, _spare(places, have)))
    lacking.subtract(have)
    free = sorted(places.free, key=lambda cluster: cluster.rank, reverse=side == "dev")
    taker = _Taker(wanted - have.total(), most - have.total(), lacking)
    chosen = [cluster for cluster in free if taker.fits(cluster)]
    chosen += [cluster for cluster in _rest(free, chosen) if taker.nearer_in_labels(cluster)]
    chosen += [cluster for cluster in _rest(free, chosen) if taker.nearer_in_size(cluster)]
    smallest = sorted(_rest(free, chosen), key=lambda cluster: cluster.size)
    chosen += [cluster for cluster in smallest if taker.still_below(cluster, wanted - least)]
    places.take(side, chosen)


def _rest(free: Sequence[Cluster], chosen: Sequence[Cluster]) -> list[Cluster]:
    gone = {id(cluster) for cluster in chosen}
    return [cluster for cluster in free if id(cluster) not in gone]


def _spare(places: Places, have: Counter[str]) -> Counter[str]:
    """Rows of each label that a side may hold so that one row is left to train on."""
    spare, in_train = labels_of(places.free), labels_of(places.taken["train"])
    return have + Counter({label: n if in_train[label] else n - 1 for label, n in spare.items()})


def _quotas(wanted: int, counts: Counter[str], spare: Counter[str]) -> dict[str, int]:
    """`wanted` rows shared out in proportion to `counts`, whole rows by the largest remainders."""
    total = counts.total()
    exact = {label: min(Fraction(wanted * n, total), Fraction(spare[label])) for label, n in counts.items()}
    quotas = {label: int(share) for label, share in exact.items()}
    rising = sorted(counts, key=lambda label: (quotas[label] - exact[label], label))
    for label in rising[: max(wanted - sum(quotas.values()), 0)]:
        quotas[label] += quotas[label] < exact[label]
    return quotas


@dataclass
class _Taker:
    """Decides cluster by cluster, and remembers what is lacking since."""

    rows: int
    """Rows still wanted; below 0 when there are more."""
    room: int
    """Rows that may still come."""
    lacking: Counter[str]
    """Rows still wanted of each label."""

    def fits(self, cluster: Cluster) -> bool:
        return all(n <= self.lacking[label] for label, n in cluster.labels.items()) and self._take(cluster)

    def nearer_in_labels(self, cluster: Cluster) -> bool:
        gain = sum(
            abs(self.lacking[label]) - abs(self.lacking[label] - n) for label, n in cluster.labels.items()
        )
        return gain > 0 and self.nearer_in_size(cluster)

    def nearer_in_size(self, cluster: Cluster) -> bool:
        return abs(self.rows - cluster.size) < abs(self.rows) and self._take(cluster)

    def still_below(self, cluster: Cluster, allowance: int) -> bool:
        """Takes the cluster while more than `allowance` rows are lacking."""
        return self.rows > allowance and self._take(cluster)

    def _take(self, cluster: Cluster) -> bool:
        if cluster.size > self.room:
            return False
        self.rows -= cluster.size
        self.room -= cluster.size
        self.lacking.subtract(cluster.labels)
        return True
