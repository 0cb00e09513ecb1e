"""Findings for other programs: JSON, SARIF 2.1.0 for code scanning, and a worklist as CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote

from etude import __version__
from etude.checks.labels.wrong_labels import complete_label, suggest_labels
from etude.checks.output.terminal import group_by_row, quote_row, summarize
from etude.checks.registry import Findings
from etude.errors import parse_location
from etude.types import Example, Finding

WORKLIST_COLUMNS = ("id", "location", "input", "label", "suggested_label", "corrected_label")
MAX_CHARS = 100  # characters of a row's excerpts in SARIF
# Results of one finding in SARIF, because readers display only a few thousand results in all.
MAX_RESULTS = 1000


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


def to_sarif(findings: Findings) -> str:
    """Format one result for each line of a finding. A finding on the whole set has one result, in the file of examples.

    Each result has one location, because several would mean that all must change together, and readers display only the
    first. Paths are relative to the root of the repository or, outside a repository, to the working folder.
    """
    first = {finding.kind: finding for finding in reversed(findings.items)}
    rules = []
    for name, finding in sorted(first.items()):
        kind = findings.kinds.get(name)
        text = kind.description if kind else name
        rules.append(
            {
                "id": name,  # it is readable, so no name is needed (SARIF 3.49.7)
                "shortDescription": {"text": f"{text[:1].upper()}{text[1:].removesuffix('.')}."},
                "help": {"text": finding.remedy},
                "defaultConfiguration": {"level": finding.severity},
            }
        )
    run = {
        "tool": {"driver": {"name": "etude", "version": __version__, "rules": rules}},
        "results": [*chain.from_iterable(_list_results(finding, findings) for finding in findings)],
    }
    body = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(body, ensure_ascii=False, indent=1) + "\n"


def _list_results(finding: Finding, findings: Findings) -> Iterator[dict[str, Any]]:
    excerpts = {row[0].location: quote_row(row, MAX_CHARS) for row in group_by_row(finding.excerpts)}
    pairs = list(islice(zip_longest(finding.locations, finding.subjects), MAX_RESULTS))
    uris: dict[str, str] = {}
    for location, subject in pairs or [(findings.file, None)]:
        file, line = parse_location(location)
        if not file or not line:
            file, line = location, 1
        if file not in uris:
            # relative to the root of its repository, percent-encoded; an absolute URI if the file is outside
            path = next(
                (path for path in findings.files if path.name == file), findings.folder / file
            ).resolve()
            root = next((folder for folder in path.parents if (folder / ".git").exists()), Path.cwd())
            uris[file] = (
                quote(path.relative_to(root).as_posix()) if path.is_relative_to(root) else path.as_uri()
            )
        details = "; ".join(filter(None, (subject, excerpts.get(location))))
        physical = {"artifactLocation": {"uri": uris[file]}, "region": {"startLine": line}}
        yield {
            "ruleId": finding.kind,
            "level": finding.severity,
            "message": {
                "text": f"{finding.message} {finding.remedy}{f' Here: {details}' if details else ''}"
            },
            "locations": [
                {"physicalLocation": physical, **({"message": {"text": subject}} if subject else {})}
            ],
        }
