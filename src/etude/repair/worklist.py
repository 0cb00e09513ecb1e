"""Corrected labels from a worklist: the table of suspicious labels, filled in by a person."""

from collections.abc import Collection, Iterable
from pathlib import Path

from etude.base.issues import raise_issues, suggest_instead
from etude.checks.output.machine import WORKLIST_COLUMNS
from etude.data.formats.raw_rows import read_raw_rows
from etude.data.formats.row_reader import RowReader
from etude.errors import quote_value
from etude.types import Example


def read_corrected_labels(file: Path, examples: Iterable[Example], labels: Collection[str]) -> dict[str, str]:
    """Return row id -> corrected label; without `labels`, all labels of the examples are valid.

    Raises InputError for unknown ids, labels that have changed since, and invalid labels.
    """
    reader, corrected = RowReader(file), dict[str, str]()
    rows = {row.id: row for row in examples}
    labels = labels or {row.output for row in rows.values()}
    for row in read_raw_rows(reader):
        texts = [str(row.cells.get(column) or "").strip() for column in WORKLIST_COLUMNS]
        row_id, old_label, new_label = texts[0], texts[3], texts[5]
        if not new_label or new_label == old_label:
            continue
        corrected[row_id] = new_label
        if row_id not in rows or rows[row_id].output != old_label:
            message = "the examples have no row with this id and label"
            remedy = "write a new worklist: etude check TASK --worklist FILE"
            reader.add_issue(row.line, message, quote_value(f"{row_id}, {old_label}"), remedy)
        elif new_label not in labels:
            remedy = suggest_instead(new_label, sorted(labels))
            reader.add_issue(row.line, "unknown label", quote_value(new_label), remedy)
    raise_issues([issue for _, issue in reader.issues], file)
    return corrected
