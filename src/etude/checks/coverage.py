"""Coverage: the classes and how many rows each has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from etude.checks.material import Material
from etude.types import Finding

RARE = 10
"""Rows below which a label is hard to learn and its test result says little."""


def classes(material: Material) -> Iterator[Finding]:
    """How many rows each label has, and the labels that are rare."""
    if material.task.kind != "classify":
        return
    counts = Counter(material.outputs)
    ordered = counts.most_common()
    (most, largest), (least, smallest) = ordered[0], ordered[-1]
    rare = [label for label, number in ordered if number < RARE]
    rows = [position for position, label in enumerate(material.outputs) if counts[label] < RARE]
    told = f" {len(rare):,} of them have fewer than {RARE} rows: {_listed(rare[::-1])}." if rare else ""
    yield material.finding(
        "classes",
        "warning" if rare else "note",
        rows,
        f"{len(counts):,} labels: from {smallest:,} rows ({least}) to {largest:,} ({most}).{told}",
        "Collect more rows of the rare labels, or join labels that are treated alike."
        if rare
        else "Nothing to do: this is for your information.",
        numbers={"labels": len(counts), "largest": largest, "smallest": smallest, "rare": len(rare)},
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
