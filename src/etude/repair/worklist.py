"""Corrected labels in a worklist: a table with a row for each label that looks wrong, which a person has filled in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from etude.base.remedies import instead, raise_faults
from etude.data.formats.raw import raw_rows
from etude.data.formats.reading import Reading
from etude.errors import quote_value
from etude.types import Example

COLUMNS = ("id", "where", "input", "label", "suggested_label", "corrected_label")
"""Of a worklist; an empty corrected_label leaves the row as it is."""


def corrected_labels(file: Path, rows: Mapping[str, Example], labels: Collection[str]) -> dict[str, str]:
    """Row id -> corrected label. Raises InputError for rows that are not among `rows` (by id) or whose label has
    changed since, and for labels that are not among `labels`."""
    reading, found = Reading(file), dict[str, str]()
    for row in raw_rows(reading):
        name, old, new = (str(row.cells.get(COLUMNS[place]) or "").strip() for place in (0, 3, 5))
        if not new or new == old:
            continue
        found[name] = new
        if name not in rows or rows[name].output != old:
            what = "the examples have no row with this id and label"
            reading.fault(
                row.line,
                what,
                quote_value(f"{name}, {old}"),
                "write the worklist anew: etude check TASK --worklist FILE",
            )
        elif new not in labels:
            reading.fault(row.line, "no such label", quote_value(new), instead(new, sorted(labels)))
    raise_faults([fault for _, fault in reading.faults], file)
    return found
