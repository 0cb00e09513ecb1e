"""Details of each method on the test: confusions of classes, calibration of probabilities, F1 of single fields.

Computed from the test lines of predictions.jsonl. They decide nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etude.base.files import Json
from etude.metrics import count_field_hits
from etude.stats import estimate, estimate_sample
from etude.stats.calibration import brier_score, iter_surest, measure_calibration_error
from etude.stats.sample import make_f1_sample
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
class Details:
    """Details of one method's test answers."""

    classes: tuple[ClassResult, ...] = ()
    """For classify: the worst first."""
    calibration: Calibration | None = None
    """For classify, if the method gives probabilities."""
    fields: Mapping[str, Estimate] = field(default_factory=dict)
    """For extract: F1 of each field, the worst first."""


def compute_details(kind: Kind, lines: Sequence[Json]) -> Details:
    """Compute the details of one method from its test lines, in any order."""
    rows = sorted(lines, key=lambda line: str(line["id"]))
    if kind == "classify":
        return Details(classes=_count_classes(rows), calibration=_measure_calibration(rows))
    return Details(fields=_score_fields(rows)) if kind == "extract" else Details()


def _count_classes(rows: Sequence[Json]) -> tuple[ClassResult, ...]:
    by_label: dict[str, list[Json]] = {}
    for row in rows:
        by_label.setdefault(row["expected"].strip(), []).append(row)
    results = []
    for label, label_rows in by_label.items():
        confused_with = Counter(_parse_label(row) for row in label_rows if row["score"] != 1)
        recall = estimate([row["score"] for row in label_rows], [row["unit"] for row in label_rows])
        results.append(
            ClassResult(label, recall, dict(sorted(confused_with.items(), key=lambda one: (-one[1], one[0]))))
        )
    return tuple(
        sorted(results, key=lambda one: (one.recall.value, -sum(one.confused_with.values()), one.label))
    )


def _parse_label(row: Json) -> str:
    return row["value"].strip() if isinstance(row["value"], str) else NO_LABEL


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


def _score_fields(rows: Sequence[Json]) -> dict[str, Estimate]:
    hits = [count_field_hits(row["answer"], [row["expected"], *row["references"]]) for row in rows]
    units = [row["unit"] for row in rows]
    estimates = {
        name: estimate_sample(make_f1_sample([row_hits.get(name, (0, 0, 0)) for row_hits in hits], units))
        for name in dict.fromkeys(name for hit in hits for name in hit)
    }
    return dict(sorted(estimates.items(), key=lambda one: (one[1].value, one[0])))
