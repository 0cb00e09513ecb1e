"""Findings for other programs: JSON, and a worklist as CSV."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict

from etude.checks.labels.wrong_labels import complete_label, suggest_labels
from etude.checks.output.terminal import summarize
from etude.checks.registry import Findings
from etude.types import Example

WORKLIST_COLUMNS = ("id", "location", "input", "label", "suggested_label", "corrected_label")


def to_json(findings: Findings) -> str:
    """Format all findings and the summary as JSON."""
    body = {
        "task": findings.name,
        "file": findings.file,
        "rows": findings.rows,
        "test_rows": findings.test_rows,
        "summary": asdict(summarize(findings)),
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def to_worklist(findings: Findings, rows: Iterable[Example]) -> str:
    """Format a table of the labels to read, the most suspicious first, with a column for corrections."""
    suggested = suggest_labels(findings)
    examples = {row.id: row for row in rows if row.id in suggested}
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(WORKLIST_COLUMNS)
    for row, label in suggested.items():
        example = examples[row]
        label = complete_label(label, example.output)
        writer.writerow([row, example.location, example.text, example.output, label, ""])
    return file.getvalue()
