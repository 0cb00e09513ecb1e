"""Details of each method on the test: confusions of classes, calibration of probabilities, values of fields.

Computed from the test lines of predictions.jsonl. They decide nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from etude.base.files import Json
from etude.metrics import ValueHits, count_value_hits
from etude.stats import estimate, estimate_sample
from etude.stats.calibration import brier_score, iter_surest, measure_calibration_error
from etude.stats.sample import make_f1_sample, make_ratio_sample
from etude.types import Estimate, Kind

NO_LABEL = "(no label)"  # an answer without a label


@dataclass(frozen=True, slots=True)
class ClassResult:
    """The rows of one label."""

    label: str
    recall: Estimate
    """Share of its rows that are answered with it."""
    confused_with: Mapping[str, int]
    """Other label -> how many of its rows were answered with it, the most frequent first."""


@dataclass(frozen=True, slots=True)
class SurestRows:
    """The rows that are answered if the others are left to people."""

    share: float
    min_confidence: float
    """The lowest confidence among them."""
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a method's label probabilities can be trusted, on the rows that have one."""

    calibration_error: Estimate
    """Expected calibration error over bins with equally many rows."""
    brier: Estimate
    surest: tuple[SurestRows, ...]


@dataclass(frozen=True, slots=True)
class ValueScores:
    """How right the values of all fields are together, over the rows that have some in the answer or expect some."""

    precision: Estimate | None
    """Share of the answered values that are right; None if none is answered."""
    recall: Estimate | None
    """Share of the expected values that are answered; None if none is expected."""
    f1: Estimate


@dataclass(frozen=True, slots=True)
class Details:
    """Details of one method's test answers."""

    classes: tuple[ClassResult, ...] = ()
    """For classify: the worst first."""
    calibration: Calibration | None = None
    """For classify, if the method gives probabilities."""
    fields: Mapping[str, Estimate] = field(default_factory=dict)
    """For extract: F1 over the values of each field, the worst first."""
    values: ValueScores | None = None
    """For extract: over the values of all fields."""
    constant: str | None = None
    """The answer that every row got, if rows of different right answers did."""


def compute_details(kind: Kind, lines: Sequence[Json]) -> Details:
    """Compute the details of one method from its test lines, in any order."""
    rows = sorted(lines, key=lambda line: str(line["id"]))
    constant = rows[0]["answer"] if len({row["answer"] for row in rows}) == 1 else None
    if len({row["expected"] for row in rows}) == 1:
        constant = None
    if kind == "classify":
        classes, calibration = _count_classes(rows), _measure_calibration(rows)
        return Details(classes=classes, calibration=calibration, constant=constant)
    if kind != "extract":
        return Details(constant=constant)
    hits = [count_value_hits(row["answer"], [row["expected"], *row["references"]]) for row in rows]
    units = [row["unit"] for row in rows]
    scores = {}
    for name in dict.fromkeys(name for fields in hits for name in fields):
        positions = [row for row, fields in enumerate(hits) if name in fields]
        counts, field_units = [hits[row][name] for row in positions], [units[row] for row in positions]
        scores[name] = estimate_sample(make_f1_sample(counts, field_units))
    scores = dict(sorted(scores.items(), key=lambda one: (one[1].value, one[0])))
    return Details(fields=scores, values=_score_values(hits, units), constant=constant)


def _count_classes(rows: Sequence[Json]) -> tuple[ClassResult, ...]:
    by_label: dict[str, list[Json]] = {}
    for row in rows:
        by_label.setdefault(row["expected"].strip(), []).append(row)
    results = []
    for label, label_rows in by_label.items():
        values = (row["value"] for row in label_rows if row["score"] != 1)
        confused_with = Counter(value.strip() if isinstance(value, str) else NO_LABEL for value in values)
        recall = estimate([row["score"] for row in label_rows], [row["unit"] for row in label_rows])
        results.append(
            ClassResult(label, recall, dict(sorted(confused_with.items(), key=lambda one: (-one[1], one[0]))))
        )
    return tuple(
        sorted(results, key=lambda one: (one.recall.value, -sum(one.confused_with.values()), one.label))
    )


def _measure_calibration(rows: Sequence[Json]) -> Calibration | None:
    confident_rows = [row for row in rows if row["confidence"] is not None]
    if not confident_rows:
        return None
    numbers = (
        [row["confidence"] for row in confident_rows],
        [row["score"] for row in confident_rows],
        [row["unit"] for row in confident_rows],
    )
    surest = tuple(SurestRows(*each) for each in iter_surest(*numbers))
    return Calibration(measure_calibration_error(*numbers), brier_score(*numbers), surest)


def _score_values(hits: Sequence[Mapping[str, ValueHits]], units: Sequence[str]) -> ValueScores | None:
    totals = [np.sum([*fields.values()], axis=0) if fields else np.zeros(3) for fields in hits]
    rows = [row for row, counts in enumerate(totals) if counts.any()]
    if not rows:
        return None
    counts, units = np.array([totals[row] for row in rows]), [units[row] for row in rows]
    right, answered, expected = counts.T
    precision, recall = (
        estimate_sample(make_ratio_sample(right, values, units)) if values.any() else None
        for values in (answered, expected)
    )
    return ValueScores(precision, recall, estimate_sample(make_f1_sample(counts, units)))
