"""The side of every row, with or without an earlier split.

Rows that share a group, repeat an input or are near-duplicates form a cluster, and a whole cluster
goes to one side. A hash of the inputs and the seed decides the side: clusters with the lowest
hashes are the test, and clusters with the highest are dev. So when a data set grows, few rows
change their side, even without an earlier split.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from types import MappingProxyType

from etude.base.formatting import format_count
from etude.data.dataset import COMPARE_MIN, MIN_TEST_ROWS, Dataset, MinRows, too_few_rows
from etude.data.splits.clusters import (
    Assignment,
    Cluster,
    build_clusters,
    count_labels,
    fill_side,
    input_key,
    target_size,
)
from etude.errors import InputError, Issue, parse_location
from etude.text.near_duplicates import find_near_matches
from etude.types import Example, Finding, Kind, Side

# test rows as a share of all rows, and their maximum
TEST_SHARE = Fraction(1, 5)
MAX_TEST_ROWS = 1000
# Dev rows as a share of all rows, and their maximum, because every candidate answers every dev row.
DEV_SHARE = Fraction(1, 10)
MAX_DEV_ROWS = 1000
# A cluster with more than this share of the rows is reported as a template and goes to train.
TEMPLATE_SHARE = Fraction(1, 10)
# An earlier split is dropped if more than this share of rows is in clusters that it puts on several
# sides.
MAX_TORN_SHARE = Fraction(1, 10)
# If rows of two sides form one cluster, it goes to the first of these sides.
STRICTEST: tuple[Side, ...] = ("test", "dev", "train")


@dataclass(frozen=True)
class Split:
    """Three Datasets; no two of them share a group, an input or a near-duplicate."""

    train: Dataset
    dev: Dataset
    test: Dataset
    notes: tuple[str, ...]
    """Sentences for the user on the sizes."""
    findings: tuple[Finding, ...]
    """Rows left out, templates, and earlier assignments that conflict or were dropped."""
    assignments: Mapping[str, Side]
    """`input_key` -> side of every row above: the next split's `previous`."""
    comparable: bool = True
    """Whether there were enough rows for a test; if not, a later split may differ from this one."""


def split(
    dataset: Dataset,
    kind: Kind,
    seed: int,
    test: Dataset | None = None,
    previous: Mapping[str, Side] | None = None,
    minimum: MinRows = COMPARE_MIN,
) -> Split:
    """Splits `dataset` into train, dev and test; with the user's own `test`, into train and dev.

    Sizes: 20% test (50 to 1,000 rows), 10% dev (30 to 1,000), the rest train, as near as clusters
    allow. For classify, the shares of the labels in test and dev are those of all rows, as near as
    clusters allow. Only rows that share a group with a row of the user's `test`, or are
    near-duplicates of one, are dropped; a finding lists them.

    `previous` is the `assignments` of an earlier split. Its rows keep their side, even if their
    outputs changed. If a new row joins two old clusters on different sides, the merged cluster goes
    to test before dev, and to dev before train. A finding reports this. If that would affect over
    10% of the rows (because another `group:` ties most of them together), the earlier split is
    dropped and all rows are split again; a finding lists the earlier test rows that are no longer
    in the test. Without `previous`, only the inputs and, for classify, the labels affect the split:
    a corrected label can move a few rows of the old and the new label. The outputs of other kinds
    are not read.

    Rows that a model wrote go to train, or to no side if they are near-duplicates of a dev or test
    row; a finding lists these. They count for no size and change no other row's side.

    `minimum` has the smallest sizes. If its test size is 0, no test is split off, but earlier test
    rows stay apart.

    Raises InputError if the rows cannot fill the smallest sizes.
    """
    rows, findings = _exclude_test_rows(dataset, test)
    rows = [row for row in rows if not dataset[row].is_made]
    assignment = Assignment(build_clusters(dataset, rows, kind, seed))
    # Earlier rows first, unless the clusters have changed too much.
    earlier = {
        key: side for key, side in (previous or {}).items() if test is None or side != "test"
    }
    is_dropped = _count_torn(assignment.unassigned, earlier) > MAX_TORN_SHARE * len(rows)
    if not is_dropped:
        findings += _assign_earlier(assignment, earlier, dataset)
    is_continued = 2 * sum(map(assignment.size, assignment.by_side)) >= len(rows)
    # Then large clusters to train, and the others by hash to test (without the user's own), dev and
    # train.
    findings += _assign_templates(assignment, len(rows), dataset)
    counts = count_labels(
        [*assignment.unassigned, *chain.from_iterable(assignment.by_side.values())]
    )
    spare = len(rows) - minimum.train
    if test is None and minimum.test:
        bounds = minimum.test, min(MAX_TEST_ROWS, spare - minimum.dev)
        fill_side(assignment, "test", target_size(TEST_SHARE, len(rows), *bounds), bounds, counts)
    bounds = minimum.dev, min(MAX_DEV_ROWS, spare - assignment.size("test"))
    fill_side(assignment, "dev", target_size(DEV_SHARE, len(rows), *bounds), bounds, counts)
    assignment.assign("train", assignment.unassigned)
    # The result: notes and findings, and the side of each input for the next split.
    notes = _check_sizes(assignment, dataset, test, is_continued, minimum)
    findings += [_split_anew_finding(assignment, earlier, dataset)] if is_dropped else []
    sides = {
        side: dataset.select(assignment.rows(side), f"split: {side}") for side in assignment.by_side
    }
    if test is not None:
        sides["test"] = test
    assignments = {
        input_key(example): side for side, examples in sides.items() for example in examples
    }
    if made := [row for row in dataset if row.is_made]:
        kept = [row.id for row in select_unlike(made, [*sides["dev"], *sides["test"]])]
        sides["train"] = dataset.select(
            [*assignment.rows("train"), *kept], "split: train and made rows"
        )
        if left_out := {row.id for row in made} - {*kept}:
            message = (
                f"{format_count(len(left_out), 'made row')} left out: near-duplicates of dev or "
                "test rows."
            )
            remedy = "Nothing to do. To avoid this warning, delete them from the file of made rows."
            findings.append(
                Finding("test_overlap", "warning", tuple(sorted(left_out)), message, remedy)
            )
    return Split(
        **sides,
        notes=tuple(notes),
        findings=tuple(findings),
        assignments=MappingProxyType(assignments),
        comparable=minimum.test > 0,
    )


def select_unlike(rows: Sequence[Example], others: Iterable[Example]) -> list[Example]:
    """Select the rows that are no near-duplicates of others."""
    near = {
        row
        for row, *_ in find_near_matches([row.text for row in rows], [row.text for row in others])
    }
    return [row for number, row in enumerate(rows) if number not in near]


def _exclude_test_rows(dataset: Dataset, test: Dataset | None) -> tuple[list[int], list[Finding]]:
    """Positions of the rows that are unrelated to the user's test, and a finding on the others."""
    if test is None:
        return list(range(len(dataset))), []
    # Rows without a group do not share one.
    groups = {example.group for example in test} - {None}
    matches = find_near_matches(
        [example.text for example in dataset], [example.text for example in test]
    )
    near = {row for row, *_ in matches}
    conversations = {dataset[row].conversation for row in near} - {None}
    grouped = {
        row
        for row, example in enumerate(dataset)
        if example.group in groups or example.conversation in conversations
    } - near
    excluded = near | grouped
    findings = []
    more = f", and {len(grouped):,} more that share a group or conversation" if grouped else ""
    if excluded:
        findings = [
            Finding(
                kind="test_overlap",
                severity="warning",
                rows=tuple(dataset[row].id for row in sorted(excluded)),
                message=f"{format_count(len(excluded), 'row')} left out of train and dev: "
                f"{len(near):,} near-duplicates of test rows{more}.",
                remedy="Nothing to do for this comparison. To avoid this warning, delete them from "
                "the examples.",
            )
        ]
    return [row for row in range(len(dataset)) if row not in excluded], findings


def _count_torn(clusters: Iterable[Cluster], earlier: Mapping[str, Side]) -> int:
    return sum(cluster.size for cluster in clusters if len(_earlier_sides(cluster, earlier)) > 1)


def _earlier_sides(cluster: Cluster, earlier: Mapping[str, Side]) -> list[Side]:
    sides = {earlier.get(key) for key in cluster.keys}
    return [side for side in STRICTEST if side in sides]


def _split_anew_finding(
    assignment: Assignment, earlier: Mapping[str, Side], dataset: Dataset
) -> Finding:
    total = sum(assignment.size(side) for side in assignment.by_side)
    num_torn = _count_torn(chain.from_iterable(assignment.by_side.values()), earlier)
    rows = sorted((*assignment.rows("dev"), *assignment.rows("train")))
    moved = [row for row in rows if earlier.get(input_key(dataset[row])) == "test"]
    return Finding(
        kind="split_anew",
        severity="warning",
        rows=tuple(dataset[row].id for row in moved),
        message=f"{num_torn:,} of {total:,} rows are now grouped with rows that were on another "
        "side "
        f"before. Because the grouping has changed, all rows were split again. {len(moved):,} "
        "rows of the earlier test are now in train or dev, so earlier results are not "
        "comparable.",
        remedy="Nothing to do if you meant to change `group:`; otherwise restore it.",
    )


def _assign_earlier(
    assignment: Assignment, earlier: Mapping[str, Side], dataset: Dataset
) -> list[Finding]:
    """Assigns clusters with rows of an earlier split to the side of those rows; conflicts are
    findings.
    """
    chosen: dict[Side, list[Cluster]] = {side: [] for side in STRICTEST}
    findings: list[Finding] = []
    for cluster in assignment.unassigned:
        sides = _earlier_sides(cluster, earlier)
        if sides:
            chosen[sides[0]].append(cluster)
        if len(sides) > 1:
            message = (
                f"{cluster.size:,} rows that were in {' and '.join(sides)} before now belong "
                f"together. All of them are in {sides[0]} now."
            )
            rows = tuple(dataset[row].id for row in cluster.rows)
            remedy = "Nothing to do. Earlier results on these rows are not comparable."
            findings.append(Finding("split_conflict", "warning", rows, message, remedy))
    for side, clusters in chosen.items():
        assignment.assign(side, clusters)
    return findings


def _assign_templates(assignment: Assignment, total: int, dataset: Dataset) -> list[Finding]:
    """Assigns clusters with over 10% of the rows to train, and reports all clusters of that size on
    any side.
    """
    max_size = TEMPLATE_SHARE * total
    assignment.assign(
        "train", [cluster for cluster in assignment.unassigned if cluster.size > max_size]
    )
    return [
        Finding(
            kind="template",
            severity="warning",
            rows=tuple(dataset[row].id for row in cluster.rows),
            message=f"{cluster.size:,} of {total:,} rows ({cluster.size / total:.0%}) form one "
            "cluster, because they are near-duplicates or share a group. All of them are in "
            f"{side}.",
            remedy="Check whether they are one template, filled in many times. If so, keep only a "
            "few of them.",
        )
        for side, clusters in assignment.by_side.items()
        for cluster in clusters
        if cluster.size > max_size
    ]


def _check_sizes(
    assignment: Assignment,
    dataset: Dataset,
    test: Dataset | None,
    is_continued: bool,
    minimum: MinRows,
) -> list[str]:
    """Notes on small sides. Raises InputError if a side is too small for a comparison.

    If most rows continue an earlier split, test and dev may be smaller than their minimum, because
    those rows cannot be moved; but they may not be empty.
    """
    # The user's own test has no minimum here; a note reports a small one.
    needed = minimum._replace(test=minimum.test if test is None else 0)
    min_sizes: dict[Side, int] = {"train": needed.train, "dev": needed.dev, "test": needed.test}
    sizes = {side: assignment.size(side) for side in assignment.by_side}
    small = [side for side in sizes if sizes[side] < min_sizes[side]]
    if small and not (is_continued and "train" not in small and all(sizes[side] for side in small)):
        raise InputError([_size_issue(sizes, needed, assignment, dataset)])
    notes = [
        f"{side} has {sizes[side]} rows; {min_sizes[side]} or more would be better."
        for side in small
    ]
    if test is not None and len(test) < MIN_TEST_ROWS:
        notes.append(
            f"The test file has {len(test)} rows; {MIN_TEST_ROWS} or more would be better."
        )
    return notes


def _size_issue(
    sizes: Mapping[Side, int], minimum: MinRows, assignment: Assignment, dataset: Dataset
) -> Issue:
    """The error of too few rows, or of enough rows in clusters that are too large."""
    file = parse_location(dataset[0].location)[0] or "examples" if len(dataset) else "examples"
    total = sum(sizes.values())
    if total < sum(minimum):
        return too_few_rows(file, total, not minimum.test, minimum)
    largest = max(cluster.size for clusters in assignment.by_side.values() for cluster in clusters)
    sides = [(side, getattr(minimum, side)) for side in STRICTEST if getattr(minimum, side)]
    needed = ", ".join(f"{number} for {side}" for side, number in sides)
    actual = ", ".join(f"{sizes[side]} for {side}" for side, _ in sides)
    return Issue(
        location=file,
        message=f"the rows cannot be split: at least {needed} are needed, and rows that belong "
        f"together (up to {largest:,}) must stay on one side",
        value=f"{total:,} rows: {actual}",
        remedy="Check the column in group:, delete repeated rows, or collect more varied rows",
    )
