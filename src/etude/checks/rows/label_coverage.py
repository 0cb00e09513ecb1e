"""Coverage: the classes and how many rows each has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from etude.base.wording import count, first_of
from etude.checks.evidence import covered_label
from etude.checks.material import Material
from etude.checks.record import LABELS, FindingKind, finds
from etude.errors import shown
from etude.text.spellings import all_told, spellings, usual_spellings, written_alike
from etude.types import Finding

_MOST_TOLD = 5
RARE = 10
"""Rows below which a label is hard to learn and its test result says little."""


@finds(FindingKind("label_spelling", "warning", "labels written in several ways"), tasks=LABELS)
def written_otherwise(material: Material) -> Iterator[Finding]:
    """Labels that differ from a more frequent one only in case, spaces, hyphens or underscores."""
    if not (found := spellings(material.outputs)):
        return
    rows = sorted(position for spelling in found for position in spelling.positions)
    told = all_told(found, lambda position: material.rows[position].where, _MOST_TOLD)
    yield material.finding(
        "label_spelling",
        "warning",
        rows,
        covered_label(f"{told}."),
        "Write each label in one way: every spelling counts as a separate class.",
        numbers={"rows": len(rows), "of": len(material.rows), "spellings": len(found)},
    )


@finds(FindingKind("classes", "warning, note", "how many rows each label has, and rare labels"), tasks=LABELS)
def classes(material: Material) -> Iterator[Finding]:
    """How many rows each label has, and the labels that are rare; spellings of one label count as one."""
    counts = written_alike(Counter(material.outputs))
    usual = usual_spellings(Counter(material.outputs))
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    (most, largest), (least, smallest) = ordered[0], ordered[-1]
    sizes = f"from {count(smallest, 'row')} ({least}) to {count(largest, 'row')} ({most})"
    if largest == smallest:
        sizes = f"{count(largest, 'row')}{' each' * (len(counts) > 1)}"
    rare = [label for label, number in ordered if number < RARE]
    rows = [
        position for position, label in enumerate(material.outputs) if counts[usual.get(label, label)] < RARE
    ]
    told = (
        f" {_having(len(rare), len(counts))} fewer than {RARE} rows: {first_of(rare[::-1], _MOST_TOLD, told=shown)}."
        if rare
        else ""
    )
    yield material.finding(
        "classes",
        "warning" if rare else "note",
        rows,
        covered_label(f"{count(len(counts), 'label')}: {sizes}.{told}"),
        "Collect more rows of the rare labels, or join labels that are treated alike."
        if rare
        else "Nothing to do: this is for your information.",
        numbers={"labels": len(counts), "largest": largest, "smallest": smallest, "rare": len(rare)},
    )


def _having(number: int, total: int) -> str:
    if number == total:
        return "Each has" if total > 1 else "It has"
    return f"{number:,} of them {'has' if number == 1 else 'have'}"
