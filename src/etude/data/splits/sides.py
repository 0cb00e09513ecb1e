"""Which row stands on which side, also in view of an earlier split.

Rows that share a group, repeat an input or are near-duplicates form a cluster, and a cluster goes
whole to one side. Which side is decided by a hash of the inputs and the seed: clusters with the
lowest hashes are the test, those with the highest are dev, so that a data set that grows moves few
rows even where no earlier split is known.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from types import MappingProxyType

from etude.base.wording import count
from etude.data.dataset import COMPARED, TEST_LEAST, Dataset, Least, too_few
from etude.data.splits.fill import Cluster, Places, fill, labels_of, wanted_rows
from etude.errors import InputError, Issue
from etude.text.near_duplicates import clusters, near_duplicate_clusters, near_matches
from etude.text.normal_forms import with_signs
from etude.types import Example, Finding, Kind, Side

TEST_SHARE, TEST_MOST = Fraction(1, 5), 1000
"""Test rows as a share of all rows, at most so many."""
DEV_SHARE, DEV_MOST = Fraction(1, 10), 1000
"""Dev rows as a share of all rows, at most so many: every choice answers each of them."""
TEMPLATE_SHARE = Fraction(1, 10)
"""A cluster above this share of the rows is reported as a template and trained on."""
TORN_SHARE = Fraction(1, 10)
"""Share of the rows in clusters torn by an earlier split above which that split is given up."""
STRICTEST: tuple[Side, ...] = ("test", "dev", "train")
"""Where rows of two sides come to belong together, all go to the first of them here."""


@dataclass(frozen=True)
class Split:
    """Three Datasets no two of which share a group, an input or a near-duplicate."""

    train: Dataset
    dev: Dataset
    test: Dataset
    notes: tuple[str, ...]
    """Sentences the user is told with the sizes."""
    findings: tuple[Finding, ...]
    """Rows left out, templates, old assignments in conflict or given up."""
    assignments: Mapping[str, Side]
    """`input_key` -> side of every row above: the next split's `previous`."""
    comparable: bool = True
    """Whether the rows were enough for a test; if not, a later split owes nothing to this one."""


def input_key(example: Example) -> str:
    """Hash of the row's input in its `with_signs` form: equal for inputs that differ in case or punctuation only."""
    return hashlib.sha256(with_signs(example.text).encode()).hexdigest()[:32]


def split(
    dataset: Dataset,
    kind: Kind,
    seed: int,
    test: Dataset | None = None,
    previous: Mapping[str, Side] | None = None,
    least: Least = COMPARED,
) -> Split:
    """Splits `dataset` into train, dev and test; with the user's own `test`, into train and dev.

    Sizes: 20% test (50 to 1,000 rows), 10% dev (30 to 1,000), the rest train, as near as clusters
    allow. For classify, test and dev keep the shares of the labels as nearly as clusters allow.
    Rows are never dropped, except those that share a group with, or are near-duplicates of, rows of
    the user's `test`: a finding lists them.

    `previous` is the `assignments` of an earlier split. Its rows stay where they were, whatever
    their outputs have become. Where a new row joins two old clusters, the merged cluster goes to
    test before dev before train, and a finding says so. Where that would concern over 10% of the rows
    (another `group:` ties most of them together) the earlier split is given up and the rows are split
    anew; a finding lists the earlier test rows that are not in the test now, so that none leaves it
    unsaid. Without `previous` only the labels of a
    classify task bear on the split beside the inputs: a corrected label can move rows at the
    border of the two classes concerned; the outputs of other kinds are not read at all.

    `least` are the smallest sizes; where it wants no test, none is split off, but earlier test rows stay apart.

    Raises InputError when the rows cannot fill the smallest sizes.
    """
    kept, findings = _without_test_rows(dataset, test)
    earlier = {key: side for key, side in (previous or {}).items() if test is None or side != "test"}
    places = Places(_clusters(dataset, kept, kind, seed))
    outgrown = _torn(places.free, earlier) > TORN_SHARE * len(kept)
    old = {} if outgrown else earlier
    findings += _keep_old(places, old, dataset)
    carried_on = 2 * sum(map(places.size, places.taken)) >= len(kept)
    findings += _train_templates(places, len(kept), dataset)
    _fill_sides(places, len(kept), test, least)
    notes = _check_sizes(places, dataset, test, carried_on, least)
    findings += [_split_anew(places, earlier, dataset)] if outgrown else []
    parts = _split_of(dataset, places, test, notes, findings)
    return replace(parts, comparable=least.test > 0)


def _fill_sides(places: Places, total: int, test: Dataset | None, least: Least) -> None:
    """Gives the free clusters to test (unless the user has brought one), dev and, what is left, train."""
    counts = labels_of([*places.free, *chain.from_iterable(places.taken.values())])
    spare = total - least.train
    if test is None and least.test:
        most = min(TEST_MOST, spare - least.dev)
        fill(places, "test", wanted_rows(TEST_SHARE, total, least.test, most), (least.test, most), counts)
    most = min(DEV_MOST, spare - places.size("test"))
    fill(places, "dev", wanted_rows(DEV_SHARE, total, least.dev, most), (least.dev, most), counts)
    places.take("train", places.free)


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
        message=f"{count(len(out), 'row')} left out of train and dev: {len(near):,} as near-duplicates of test rows, "
        f"{len(grouped):,} more for sharing a group with one.",
        remedy="Nothing to do for this comparison; take them out of the examples to silence this.",
    )
    return [row for row in range(len(dataset)) if row not in out], [finding]


def _clusters(dataset: Dataset, kept: Sequence[int], kind: Kind, seed: int) -> list[Cluster]:
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
        Cluster(
            rows=tuple(kept[member] for member in members),
            keys=frozenset(keys[member] for member in members),
            labels=Counter(labels[member] for member in members),
            rank=_rank(seed, min(keys[member] for member in members)),
        )
        for members in clusters(len(examples), links)
    ]


def _rank(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def _torn(found: Iterable[Cluster], old: Mapping[str, Side]) -> int:
    """Rows in clusters whose rows stood on more than one side."""
    return sum(cluster.size for cluster in found if len(_sides_of(cluster, old)) > 1)


def _sides_of(cluster: Cluster, old: Mapping[str, Side]) -> list[Side]:
    found = {old.get(key) for key in cluster.keys}
    return [side for side in STRICTEST if side in found]


def _split_anew(places: Places, old: Mapping[str, Side], dataset: Dataset) -> Finding:
    total = sum(places.size(side) for side in places.taken)
    clusters = chain.from_iterable(places.taken.values())
    left = [
        row
        for row in (*places.rows("dev"), *places.rows("train"))
        if old.get(input_key(dataset[row])) == "test"
    ]
    return Finding(
        kind="split_anew",
        severity="warning",
        rows=tuple(dataset[row].id for row in sorted(left)),
        message=f"{_torn(clusters, old):,} of {total:,} rows now belong to a group with rows that were on another side "
        f"before: the grouping has changed, so all rows were split again. {len(left):,} rows of the earlier test are "
        "in train or dev now, so earlier results are not comparable.",
        remedy="Nothing to do if `group:` was meant to change; else restore it.",
    )


def _keep_old(places: Places, old: Mapping[str, Side], dataset: Dataset) -> list[Finding]:
    """Puts clusters that hold rows of an earlier split where those were; conflicts are findings."""
    kept: dict[Side, list[Cluster]] = {side: [] for side in STRICTEST}
    findings: list[Finding] = []
    for cluster in places.free:
        sides = _sides_of(cluster, old)
        if sides:
            kept[sides[0]].append(cluster)
        if len(sides) > 1:
            findings.append(_conflict(cluster, sides, dataset))
    for side, chosen in kept.items():
        places.take(side, chosen)
    return findings


def _conflict(cluster: Cluster, sides: Sequence[Side], dataset: Dataset) -> Finding:
    return Finding(
        kind="split_conflict",
        severity="warning",
        rows=tuple(dataset[row].id for row in cluster.rows),
        message=f"{cluster.size:,} rows now belong together that stood in {' and '.join(sides)} before. "
        f"All of them are in {sides[0]}.",
        remedy="Nothing to do; results from before are not comparable on these rows.",
    )


def _train_templates(places: Places, total: int, dataset: Dataset) -> list[Finding]:
    """Puts free clusters of over 10% of the rows into train, and reports every such cluster."""
    places.take("train", [cluster for cluster in places.free if cluster.size > TEMPLATE_SHARE * total])
    return [
        _template(cluster, side, total, dataset)
        for side, taken in places.taken.items()
        for cluster in taken
        if cluster.size > TEMPLATE_SHARE * total
    ]


def _template(cluster: Cluster, side: Side, total: int, dataset: Dataset) -> Finding:
    return Finding(
        kind="template",
        severity="warning",
        rows=tuple(dataset[row].id for row in cluster.rows),
        message=f"{cluster.size:,} of {total:,} rows ({cluster.size / total:.0%}) are one cluster of "
        f"near-duplicates or of one group. All of them are in {side}.",
        remedy="Check whether they are one template filled in many times, and keep a few of them if so.",
    )


def _check_sizes(
    places: Places, dataset: Dataset, test: Dataset | None, carried_on: bool, wanted: Least
) -> list[str]:
    """Sentences on small sizes; InputError where they are too small to compare anything.

    Where most rows are carried on from an earlier split, test and dev may fall below their least size, since
    those rows cannot be moved; empty they may not be.
    """
    sizes: dict[Side, int] = {side: places.size(side) for side in places.taken}
    least: dict[Side, int] = {
        "train": wanted.train,
        "dev": wanted.dev,
        "test": wanted.test if test is None else 0,
    }
    short = [side for side in sizes if sizes[side] < least[side]]
    if short and not (carried_on and "train" not in short and all(sizes[side] for side in short)):
        raise InputError([_unsplittable(sizes, least, places, dataset)])
    notes = [f"{side} has {sizes[side]} rows; {least[side]} or more would be right." for side in short]
    if test is not None and len(test) < TEST_LEAST:
        notes.append(f"The test file has {len(test)} rows; {TEST_LEAST} or more would be right.")
    return notes


def _unsplittable(
    sizes: Mapping[Side, int], least: Mapping[Side, int], places: Places, dataset: Dataset
) -> Issue:
    """The fault of too few rows, or of rows that are enough and cannot be parted."""
    file = dataset[0].location.rpartition(":")[0] or "examples" if len(dataset) else "examples"
    total = sum(sizes.values())
    if total < sum(least.values()):
        return too_few(file, total, not least["test"], Least(least["train"], least["dev"], least["test"]))
    largest = max((cluster.size for taken in places.taken.values() for cluster in taken), default=0)
    needed = ", ".join(f"{least[side]} for {side}" for side in ("test", "dev", "train") if least[side])
    shown = ", ".join(f"{sizes[side]} for {side}" for side in ("test", "dev", "train") if least[side])
    return Issue(
        location=file,
        message=f"too few rows that can be split: at least {needed} are needed, and rows that belong together (up to "
        f"{largest:,}) stay on one side",
        value=f"{total:,} rows: {shown}",
        remedy="Check the group column (group:) and repeated rows, or collect more varied rows",
    )


def _split_of(
    dataset: Dataset, places: Places, test: Dataset | None, notes: Sequence[str], findings: Sequence[Finding]
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
