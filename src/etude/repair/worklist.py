"""Corrected labels in a worklist: a table with a row for each label that looks wrong, which a person has filled in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from etude.base.remedies import instead, raise_faults
from etude.data.formats.raw import raw_rows
from etude.data.formats.reading import Reading
from etude.errors import Fault, shown
from etude.types import Example

COLUMNS = ("id", "where", "input", "label", "suggested_label", "corrected_label")
"""Of a worklist; an empty corrected_label leaves the row as it is."""


def corrected_labels(file: Path, rows: Mapping[str, Example], labels: Collection[str]) -> dict[str, str]:
    """Row id -> corrected label. Raises InputError for rows that are not among `rows` (by id) or whose label has
    changed since, and for labels that are not among `labels`."""
    reading = Reading(file)
    found: dict[str, str] = {}
    faults: list[Fault] = []
    for row in raw_rows(reading):
        name, old, new = (str(row.cells.get(COLUMNS[place]) or "").strip() for place in (0, 3, 5))
        if new and new != old:
            found[name] = new
            faults += _faults(reading.where(row.line), rows.get(name), old, new, labels)
    raise_faults([*(fault for _, fault in reading.faults), *faults], file)
    return found


def _faults(where: str, row: Example | None, old: str, new: str, labels: Collection[str]) -> Iterator[Fault]:
    if row is None or row.output != old:
        what = "the examples have no such row" if row is None else "the row has another label now"
        yield Fault(
            where,
            what,
            shown(row.output if row else old),
            "write the worklist anew: etude check TASK --worklist FILE",
        )
    elif new not in labels:
        yield Fault(where, "no such label", shown(new), instead(new, sorted(labels)))
