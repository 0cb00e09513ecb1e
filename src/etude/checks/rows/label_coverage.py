"""Labels that are written in several ways."""

from __future__ import annotations

from collections.abc import Iterator

from etude.checks.evidence import covered_label
from etude.checks.material import Material
from etude.checks.record import LABELS, FindingKind, finds
from etude.text.spellings import all_told, spellings
from etude.types import Finding

_MOST_TOLD = 5


@finds(FindingKind("label_spelling", "warning", "labels written in several ways"), tasks=LABELS)
def written_otherwise(material: Material) -> Iterator[Finding]:
    """Labels that differ from a more frequent one only in case, spaces, hyphens, underscores or a mistyped letter."""
    if not (found := spellings(material.outputs)):
        return
    rows = sorted(position for spelling in found for position in spelling.positions)
    text = all_told(found, lambda position: material.rows[position].location, _MOST_TOLD)
    yield material.finding(
        "label_spelling",
        "warning",
        rows,
        covered_label(f"{text}."),
        "Write each label in one way: every spelling counts as a separate class.",
        numbers={"rows": len(rows), "of": len(material.rows), "spellings": len(found)},
    )
