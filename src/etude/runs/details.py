"""What the headline sums up, method by method: classes and what is given in their place, how far probabilities can be
relied on, single fields. Computed from the test lines of predictions.jsonl; it decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etude.base.files import Json
from etude.metrics import field_hits
from etude.stats import estimate, estimate_sample
from etude.stats.calibration import brier, by_share_answered, calibration_error
from etude.stats.sample import f1_sample
from etude.types import Estimate, Kind

NO_LABEL = "(no label)"
"""What stands for an answer that holds no label."""


@dataclass(frozen=True, slots=True)
class ClassResult:
    """The rows of one label."""

    label: str
    right: Estimate
    """Share of its rows that are given it (recall)."""
    instead: Mapping[str, int]
    """Other labels that its rows were given -> how often, the most frequent first."""


@dataclass(frozen=True, slots=True)
class Surest:
    """The rows that remain where the least sure ones are left to people."""

    share: float
    least: float
    """The lowest confidence among them."""
    right: Estimate


@dataclass(frozen=True, slots=True)
class Reliance:
    """How far a method's label probabilities can be relied on, of the rows that have one."""

    error: Estimate
    """Expected calibration error over bins of equally many rows."""
    brier: Estimate
    surest: tuple[Surest, ...]


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of one method's test answers beside its estimates."""

    classes: tuple[ClassResult, ...] = ()
    """For classify: the worst first."""
    reliance: Reliance | None = None
    """For classify, where the method gives probabilities."""
    fields: Mapping[str, Estimate] = field(default_factory=dict)
    """For extract: F1 of each field, the worst first."""


def details_of(kind: Kind, lines: Sequence[Json]) -> Details:
    """The details of one method from its test lines, whatever their order."""
    rows = sorted(lines, key=lambda line: str(line["id"]))
    if kind == "classify":
        return Details(classes=_classes(rows), reliance=_reliance(rows))
    return Details(fields=_fields(rows)) if kind == "extract" else Details()


def _classes(rows: Sequence[Json]) -> tuple[ClassResult, ...]:
    by_label: dict[str, list[Json]] = {}
    for row in rows:
        by_label.setdefault(row["expected"].strip(), []).append(row)
    found = []
    for label, of_label in by_label.items():
        wrong = Counter(_given(row) for row in of_label if row["score"] != 1)
        right = estimate([row["score"] for row in of_label], [row["unit"] for row in of_label])
        found.append(
            ClassResult(label, right, dict(sorted(wrong.items(), key=lambda one: (-one[1], one[0]))))
        )
    return tuple(sorted(found, key=lambda one: (one.right.value, -sum(one.instead.values()), one.label)))


def _given(row: Json) -> str:
    return row["value"].strip() if isinstance(row["value"], str) else NO_LABEL


def _reliance(rows: Sequence[Json]) -> Reliance | None:
    sure = [row for row in rows if row["confidence"] is not None]
    if not sure:
        return None
    numbers = (
        [row["confidence"] for row in sure],
        [row["score"] for row in sure],
        [row["unit"] for row in sure],
    )
    surest = tuple(Surest(*each) for each in by_share_answered(*numbers))
    return Reliance(calibration_error(*numbers), brier(*numbers), surest)


def _fields(rows: Sequence[Json]) -> dict[str, Estimate]:
    hits = [field_hits(row["answer"], [row["expected"], *row["references"]]) for row in rows]
    units = [row["unit"] for row in rows]
    found = {
        name: estimate_sample(f1_sample([hit.get(name, (0, 0, 0)) for hit in hits], units))
        for name in dict.fromkeys(name for hit in hits for name in hit)
    }
    return dict(sorted(found.items(), key=lambda one: (one[1].value, one[0])))
