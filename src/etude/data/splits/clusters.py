"""Clusters of rows, and the choice of clusters for a side."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from etude.base.files import hash_text
from etude.data.dataset import Dataset
from etude.text import near_duplicates, normal_forms
from etude.types import Example, Kind, Side


@dataclass(frozen=True)
class Cluster:
    """Rows that stay on one side."""

    rows: tuple[int, ...]  # positions in the data set
    keys: frozenset[str]
    labels: Counter[str]
    rank: str  # hash that decides the side

    @property
    def size(self) -> int:
        return len(self.rows)


@dataclass
class Assignment:
    """Clusters while they are assigned to sides."""

    unassigned: list[Cluster]
    by_side: dict[Side, list[Cluster]] = field(
        default_factory=lambda: {"train": [], "dev": [], "test": []}
    )

    def rows(self, side: Side) -> list[int]:
        """The side's rows, in the order of the data set."""
        return sorted(row for cluster in self.by_side[side] for row in cluster.rows)

    def size(self, side: Side) -> int:
        """The side's number of rows."""
        return sum(cluster.size for cluster in self.by_side[side])

    def assign(self, side: Side, clusters: Iterable[Cluster]) -> None:
        """Assigns clusters to a side."""
        self.by_side[side] += clusters
        self.unassigned = _without(self.unassigned, self.by_side[side])


def input_key(example: Example) -> str:
    """Hash of the row's input in its canonical form: equal for inputs that differ only in case or
    punctuation.
    """
    return hash_text(normal_forms.to_canonical(example.text), 32)


def build_clusters(dataset: Dataset, rows: Sequence[int], kind: Kind, seed: int) -> list[Cluster]:
    """Clusters of the rows: groups united with near-duplicates, which include identical inputs."""
    examples = [dataset[row] for row in rows]
    # A star of links for each cluster is enough to unite its rows.
    split_rows = dataset if len(rows) == len(dataset) else Dataset(tuple(examples))
    links = [
        (members[0], member) for members in split_rows.near_duplicates for member in members[1:]
    ]
    first_of_group: dict[str, int] = {}
    for position, example in enumerate(examples):
        if example.group is not None:
            links.append((first_of_group.setdefault(example.group, position), position))
    keys = [input_key(example) for example in examples]
    labels = [example.output.strip() if kind == "classify" else "" for example in examples]
    return [
        Cluster(
            rows=tuple(rows[member] for member in members),
            keys=frozenset(keys[member] for member in members),
            labels=Counter(labels[member] for member in members),
            rank=hashlib.sha256(
                f"{seed}:{min(keys[member] for member in members)}".encode()
            ).hexdigest(),
        )
        for members in near_duplicates.cluster_pairs(len(examples), links)
    ]


def count_labels(clusters: Iterable[Cluster]) -> Counter[str]:
    """Rows of each label."""
    counts: Counter[str] = Counter()
    for cluster in clusters:
        counts.update(cluster.labels)
    return counts


def target_size(share: Fraction, total: int, minimum: int, maximum: int) -> int:
    """A share of `total` rows, at least `minimum` and at most `maximum`; if they conflict,
    `maximum` counts.
    """
    return max(min(max(round(share * total), minimum), maximum), 0)


def fill_side(
    assignment: Assignment, side: Side, target: int, bounds: tuple[int, int], counts: Counter[str]
) -> None:
    """Assigns clusters to `side` until it has about `target` rows, within `bounds` if possible.

    Clusters are chosen in this order: those that fit into the quotas of their labels, those that
    bring the labels nearer to the quotas, those that bring the size nearer to `target`, and, if the
    side is still below the minimum, the smallest. Each step goes through the clusters by hash:
    lowest first for test, highest first for dev.
    """
    minimum, maximum = bounds
    present = count_labels(assignment.by_side[side])
    # At least one row of each label is left to train on.
    spare = count_labels(assignment.unassigned)
    in_train = count_labels(assignment.by_side["train"])
    spare = present + Counter(
        {label: n if in_train[label] else n - 1 for label, n in spare.items()}
    )
    missing = Counter(_compute_quotas(target, counts, spare))
    missing.subtract(present)
    ordered = sorted(assignment.unassigned, key=lambda cluster: cluster.rank, reverse=side == "dev")
    picker = _ClusterPicker(target - present.total(), maximum - present.total(), missing)
    chosen = [cluster for cluster in ordered if picker.fits_quotas(cluster)]
    chosen += [cluster for cluster in _without(ordered, chosen) if picker.improves_labels(cluster)]
    chosen += [cluster for cluster in _without(ordered, chosen) if picker.improves_size(cluster)]
    # Reaching the minimum counts more than the balance of labels.
    smallest = sorted(_without(ordered, chosen), key=lambda cluster: cluster.size)
    chosen += [cluster for cluster in smallest if picker.reaches_minimum(cluster, target - minimum)]
    assignment.assign(side, chosen)


def _without(clusters: Sequence[Cluster], excluded: Sequence[Cluster]) -> list[Cluster]:
    ids = {id(cluster) for cluster in excluded}
    return [cluster for cluster in clusters if id(cluster) not in ids]


def _compute_quotas(target: int, counts: Counter[str], spare: Counter[str]) -> dict[str, int]:
    """`target` rows divided in proportion to `counts`, rounded by largest remainders."""
    total = counts.total()
    exact = {
        label: min(Fraction(target * n, total), Fraction(spare[label]))
        for label, n in counts.items()
    }
    quotas = {label: int(share) for label, share in exact.items()}
    # Largest remainders first, equal ones by label, so that the result is the same on every
    # machine.
    by_remainder = sorted(counts, key=lambda label: (quotas[label] - exact[label], label))
    for label in by_remainder[: max(target - sum(quotas.values()), 0)]:
        quotas[label] += quotas[label] < exact[label]
    return quotas


@dataclass
class _ClusterPicker:
    """Picks clusters one by one, and updates the missing rows. A method that returns True has
    picked the cluster.
    """

    rows: int  # rows still missing; below 0 if there are too many
    room: int  # rows that may still be added
    missing: Counter[str]  # rows still missing of each label

    def fits_quotas(self, cluster: Cluster) -> bool:
        return all(n <= self.missing[label] for label, n in cluster.labels.items()) and self._pick(
            cluster
        )

    def improves_labels(self, cluster: Cluster) -> bool:
        gain = sum(
            abs(self.missing[label]) - abs(self.missing[label] - n)
            for label, n in cluster.labels.items()
        )
        return gain > 0 and self.improves_size(cluster)

    def improves_size(self, cluster: Cluster) -> bool:
        return abs(self.rows - cluster.size) < abs(self.rows) and self._pick(cluster)

    def reaches_minimum(self, cluster: Cluster, allowance: int) -> bool:
        """Picks the cluster while more than `allowance` rows are missing."""
        return self.rows > allowance and self._pick(cluster)

    def _pick(self, cluster: Cluster) -> bool:
        if cluster.size > self.room:
            return False
        self.rows -= cluster.size
        self.room -= cluster.size
        self.missing.subtract(cluster.labels)
        return True
