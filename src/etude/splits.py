"""The sealed split: which rows train, which choose (dev), which are the test.

Rows that share a group, repeat an input or are near-duplicates form a cluster, and a cluster goes
whole to one side. Which side is decided by a hash of the inputs and the seed: clusters with the
lowest hashes are the test, those with the highest are dev, so that a data set that grows moves few
rows even where no earlier split is known.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from types import MappingProxyType

from etude.dataset import DEV_LEAST, TEST_LEAST, TRAIN_LEAST, VERDICT_LEAST, Dataset
from etude.errors import Fault, InputError
from etude.text import clusters, near_duplicate_clusters, near_matches, normalise
from etude.types import Example, Finding, Kind, Side

TEST_SHARE, TEST_MOST = Fraction(1, 5), 1000
"""Test rows as a share of all rows, at most so many."""
DEV_SHARE = Fraction(1, 10)
"""Dev rows as a share of all rows."""
TEMPLATE_SHARE = Fraction(1, 10)
"""A cluster above this share of the rows is reported as a template and trained on."""


@dataclass(frozen=True)
class Split:
    """Three Datasets no two of which share a group, an input or a near-duplicate."""

    train: Dataset
    dev: Dataset
    test: Dataset
    notes: tuple[str, ...]
    """Sentences the user is told with the sizes."""
    findings: tuple[Finding, ...]
    """Rows left out, templates, old assignments in conflict."""
    assignments: Mapping[str, Side]
    """`input_key` -> side of every row above: the next split's `previous`."""


@dataclass(frozen=True)
class _Cluster:
    """Rows that stand on one side together."""

    rows: tuple[int, ...]
    keys: frozenset[str]
    labels: Counter[str]
    rank: str
    """Hash that decides the side."""

    @property
    def size(self) -> int:
        return len(self.rows)


@dataclass
class _Places:
    """Clusters being given their sides."""

    free: list[_Cluster]
    taken: dict[Side, list[_Cluster]] = field(default_factory=lambda: {"train": [], "dev": [], "test": []})

    def rows(self, side: Side) -> list[int]:
        return sorted(row for cluster in self.taken[side] for row in cluster.rows)

    def size(self, side: Side) -> int:
        return sum(cluster.size for cluster in self.taken[side])

    def take(self, side: Side, chosen: Iterable[_Cluster]) -> None:
        self.taken[side] += chosen
        gone = {id(cluster) for cluster in self.taken[side]}
        self.free = [cluster for cluster in self.free if id(cluster) not in gone]


def input_key(example: Example) -> str:
    """Hash of the row's normalised input: equal for inputs that differ in case or punctuation only."""
    return hashlib.sha256(normalise(example.text).encode()).hexdigest()[:32]


def split(
    dataset: Dataset,
    kind: Kind,
    seed: int,
    test: Dataset | None = None,
    previous: Mapping[str, Side] | None = None,
) -> Split:
    """Splits `dataset` into train, dev and test; with the user's own `test`, into train and dev.

    Sizes: 20% test (50 to 1,000 rows), 10% dev (at least 30), the rest train, as near as clusters
    allow. For classify, test and dev keep the shares of the labels as nearly as clusters allow.
    Rows are never dropped, except those that share a group with, or are near-duplicates of, rows of
    the user's `test`: a finding lists them.

    `previous` is the `assignments` of an earlier split. Its rows stay where they were, whatever
    their outputs have become. Where a new row joins two old clusters, the merged cluster goes to
    test before dev before train, and a finding says so. Without `previous` only the labels of a
    classify task bear on the split beside the inputs: a corrected label can move rows at the
    border of the two classes concerned; the outputs of other kinds are not read at all.

    Raises InputError when the rows cannot fill the smallest sizes.
    """
    kept, findings = _without_test_rows(dataset, test)
    old = {key: side for key, side in (previous or {}).items() if test is None or side != "test"}
    places = _Places(_clusters(dataset, kept, kind, seed))
    findings += _keep_old(places, old, dataset)
    findings += _train_templates(places, len(kept), dataset)
    counts = _labels([*places.free, *chain.from_iterable(places.taken.values())])
    spare = len(kept) - TRAIN_LEAST
    if test is None:
        most = min(TEST_MOST, spare - DEV_LEAST)
        _fill(places, "test", _wanted(TEST_SHARE, len(kept), TEST_LEAST, most), (TEST_LEAST, most), counts)
    most = spare - places.size("test")
    _fill(places, "dev", _wanted(DEV_SHARE, len(kept), DEV_LEAST, most), (DEV_LEAST, most), counts)
    places.take("train", places.free)
    notes = _check_sizes(places, dataset, test, bool(old))
    return _split_of(dataset, places, test, notes, findings)


def _without_test_rows(dataset: Dataset, test: Dataset | None) -> tuple[list[int], list[Finding]]:
    """Positions of the rows that nothing ties to the user's test, and a finding on the others."""
    if test is None:
        return list(range(len(dataset))), []
    groups = {example.group for example in test} - {None}
    alike = near_matches([example.text for example in dataset], [example.text for example in test])
    near = {row for row, *_ in alike}
    grouped = {row for row, example in enumerate(dataset) if example.group in groups} - near
    out = near | grouped
    if not out:
        return list(range(len(dataset))), []
    finding = Finding(
        kind="test_overlap",
        severity="warning",
        rows=tuple(dataset[row].id for row in sorted(out)),
        message=f"{len(near)} rows are near-duplicates of test rows and {len(grouped)} more share a group "
        "with one. They are left out of train and dev.",
        remedy="Nothing to do for this comparison; take them out of the examples to silence this.",
    )
    return [row for row in range(len(dataset)) if row not in out], [finding]


def _clusters(dataset: Dataset, kept: Sequence[int], kind: Kind, seed: int) -> list[_Cluster]:
    """Clusters of the kept rows: groups and near-duplicates (identical inputs are such) united."""
    examples = [dataset[row] for row in kept]
    alike = near_duplicate_clusters([example.text for example in examples])
    links = [(members[0], other) for members in alike for other in members[1:]]
    first: dict[str, int] = {}
    for position, example in enumerate(examples):
        if example.group is not None:
            links.append((first.setdefault(example.group, position), position))
    keys = [input_key(example) for example in examples]
    labels = [example.output.strip() if kind == "classify" else "" for example in examples]
    return [
        _Cluster(
            rows=tuple(kept[member] for member in members),
            keys=frozenset(keys[member] for member in members),
            labels=Counter(labels[member] for member in members),
            rank=_rank(seed, min(keys[member] for member in members)),
        )
        for members in clusters(len(examples), links)
    ]


def _rank(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def _keep_old(places: _Places, old: Mapping[str, Side], dataset: Dataset) -> list[Finding]:
    """Puts clusters that hold rows of an earlier split where those were; conflicts are findings."""
    kept: dict[Side, list[_Cluster]] = {"test": [], "dev": [], "train": []}
    findings: list[Finding] = []
    for cluster in places.free:
        sides = [side for side in kept if side in {old.get(key) for key in cluster.keys}]
        if sides:
            kept[sides[0]].append(cluster)
        if len(sides) > 1:
            findings.append(_conflict(cluster, sides, dataset))
    for side, chosen in kept.items():
        places.take(side, chosen)
    return findings


def _conflict(cluster: _Cluster, sides: Sequence[Side], dataset: Dataset) -> Finding:
    return Finding(
        kind="split_conflict",
        severity="warning",
        rows=tuple(dataset[row].id for row in cluster.rows),
        message=f"{cluster.size} rows now belong together that stood in {' and '.join(sides)} before. "
        f"All of them are in {sides[0]}.",
        remedy="Nothing to do; results from before are not comparable on these rows.",
    )


def _train_templates(places: _Places, total: int, dataset: Dataset) -> list[Finding]:
    """Puts free clusters of over 10% of the rows into train, and reports every such cluster."""
    places.take("train", [cluster for cluster in places.free if cluster.size > TEMPLATE_SHARE * total])
    return [
        _template(cluster, side, total, dataset)
        for side, taken in places.taken.items()
        for cluster in taken
        if cluster.size > TEMPLATE_SHARE * total
    ]


def _template(cluster: _Cluster, side: Side, total: int, dataset: Dataset) -> Finding:
    return Finding(
        kind="template",
        severity="warning",
        rows=tuple(dataset[row].id for row in cluster.rows),
        message=f"{cluster.size} of {total} rows ({cluster.size / total:.0%}) are one cluster of "
        f"near-duplicates or of one group. All of them are in {side}.",
        remedy="Check whether they are one template filled in many times, and keep a few of them if so.",
    )


def _labels(chosen: Iterable[_Cluster]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for cluster in chosen:
        counts.update(cluster.labels)
    return counts


def _wanted(share: Fraction, total: int, least: int, most: int) -> int:
    return max(min(max(round(share * total), least), most), 0)


def _fill(places: _Places, side: Side, wanted: int, bounds: tuple[int, int], counts: Counter[str]) -> None:
    """Gives free clusters to `side` until it has about `wanted` rows, within `bounds` where possible.

    First those that fit into the quotas of their labels, then those that bring the labels nearer to
    them, then those that bring the size nearer to `wanted`, then, below the least size, the smallest.
    Each time in the order of the hashes: lowest first for test, highest first for dev.
    """
    least, most = bounds
    have = _labels(places.taken[side])
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


def _rest(free: Sequence[_Cluster], chosen: Sequence[_Cluster]) -> list[_Cluster]:
    gone = {id(cluster) for cluster in chosen}
    return [cluster for cluster in free if id(cluster) not in gone]


def _spare(places: _Places, have: Counter[str]) -> Counter[str]:
    """Rows of each label that a side may hold so that one row is left to train on."""
    spare, in_train = _labels(places.free), _labels(places.taken["train"])
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

    def fits(self, cluster: _Cluster) -> bool:
        return all(n <= self.lacking[label] for label, n in cluster.labels.items()) and self._take(cluster)

    def nearer_in_labels(self, cluster: _Cluster) -> bool:
        gain = sum(
            abs(self.lacking[label]) - abs(self.lacking[label] - n) for label, n in cluster.labels.items()
        )
        return gain > 0 and self.nearer_in_size(cluster)

    def nearer_in_size(self, cluster: _Cluster) -> bool:
        return abs(self.rows - cluster.size) < abs(self.rows) and self._take(cluster)

    def still_below(self, cluster: _Cluster, allowance: int) -> bool:
        """Takes the cluster while more than `allowance` rows are lacking."""
        return self.rows > allowance and self._take(cluster)

    def _take(self, cluster: _Cluster) -> bool:
        if cluster.size > self.room:
            return False
        self.rows -= cluster.size
        self.room -= cluster.size
        self.lacking.subtract(cluster.labels)
        return True


def _check_sizes(places: _Places, dataset: Dataset, test: Dataset | None, grown: bool) -> list[str]:
    """Sentences on small sizes; InputError where they are too small to compare anything.

    A split carried on from an earlier one (`grown`) may fall below the least size of test and dev:
    its rows cannot be moved.
    """
    sizes: dict[Side, int] = {side: places.size(side) for side in places.taken}
    least: dict[Side, int] = {
        "train": TRAIN_LEAST,
        "dev": DEV_LEAST,
        "test": TEST_LEAST if test is None else 0,
    }
    short = [side for side in sizes if sizes[side] < least[side]]
    if short and not (grown and "train" not in short):
        raise InputError([_too_few(sizes, least, places, dataset)])
    notes = [f"{side} has {sizes[side]} rows; {least[side]} or more would be right." for side in short]
    if test is not None and len(test) < TEST_LEAST:
        notes.append(f"The test file has {len(test)} rows; {TEST_LEAST} or more would be right.")
    total = sum(sizes.values()) + (len(test) if test is not None else 0)
    if total < VERDICT_LEAST:
        notes.append(f"{total} rows are too few for a verdict on tuning; it will say how many to collect.")
    return notes


def _too_few(
    sizes: Mapping[Side, int], least: Mapping[Side, int], places: _Places, dataset: Dataset
) -> Fault:
    total = sum(sizes.values())
    largest = max((cluster.size for taken in places.taken.values() for cluster in taken), default=0)
    needed = ", ".join(f"{least[side]} for {side}" for side in ("test", "dev", "train") if least[side])
    shown = ", ".join(f"{sizes[side]} for {side}" for side in ("test", "dev", "train") if least[side])
    enough = total >= sum(least.values())
    return Fault(
        where=dataset[0].where.rpartition(":")[0] or "examples" if len(dataset) else "examples",
        what=f"too few rows that can be split: at least {needed} are needed"
        + (f", and rows that belong together (up to {largest}) stay on one side" if enough else ""),
        got=f"{total} rows: {shown}",
        remedy="Check the group column and repeated rows, or collect more varied rows"
        if enough
        else f"Collect at least {sum(least.values()) - total} more rows",
    )


def _split_of(
    dataset: Dataset, places: _Places, test: Dataset | None, notes: Sequence[str], findings: Sequence[Finding]
) -> Split:
    parts = {side: dataset.select(places.rows(side), f"split: {side}") for side in places.taken}
    if test is not None:
        parts["test"] = test
    assignments = {input_key(example): side for side, part in parts.items() for example in part}
    return Split(
        train=parts["train"],
        dev=parts["dev"],
        test=parts["test"],
        notes=tuple(notes),
        findings=tuple(findings),
        assignments=MappingProxyType(assignments),
    )
