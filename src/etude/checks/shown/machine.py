"""Findings for other programs: JSON, SARIF 2.1.0 for code scanning, and a worklist as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote

from etude import __version__
from etude.checks.record import FindingKind
from etude.checks.registry import Findings
from etude.checks.shown.summary import summary
from etude.checks.shown.terminal import quoted, rows_of
from etude.errors import parse_location
from etude.repair.worklist import COLUMNS
from etude.types import Example, Finding

ROOM = 100
"""Characters shown of a row."""
MOST_RESULTS = 1000
"""Places of one finding in SARIF: readers show a few thousand results in all."""


def as_json(findings: Findings) -> str:
    """Everything that is known of the findings."""
    body = {
        "task": findings.name,
        "file": findings.file,
        "rows": findings.rows,
        "test_rows": findings.test_rows,
        "summary": asdict(summary(findings)),
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def as_worklist(findings: Findings, rows: Iterable[Example]) -> str:
    """A table of the labels that look wrong, the most suspicious first, with a column for the right ones."""
    suggested = {
        row: label
        for one in findings.of("wrong_label")
        for row, label in zip(one.rows, one.subjects, strict=True)
    }
    known = {row.id: row for row in rows if row.id in suggested}
    out = io.StringIO(newline="")
    table = csv.writer(out)
    table.writerow(COLUMNS)
    table.writerows(
        [row, known[row].location, known[row].text, known[row].output, label, ""]
        for row, label in suggested.items()
    )
    return out.getvalue()


def as_sarif(findings: Findings) -> str:
    """One result for each line that a finding speaks of; the file of examples where it is the set.

    Several locations of one result would mean that all must change together, and readers show the first alone.

    Files are named from the root of the repository where they stand in one, else from the working folder.
    """
    first = {finding.kind: finding for finding in reversed(findings.found)}
    rules = [_rule(first[kind], findings.kinds) for kind in sorted(first)]
    driver = {"name": "etude", "version": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "results": [*chain.from_iterable(_results(finding, findings) for finding in findings)],
    }
    body = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(body, ensure_ascii=False, indent=1) + "\n"


def _rule(finding: Finding, kinds: Mapping[str, FindingKind]) -> dict[str, Any]:
    """What a finding's kind is, and what to do, for readers that show it beside the result. A name apart is for ids
    that say nothing (SARIF 3.49.7)."""
    what = kinds[finding.kind].what if finding.kind in kinds else finding.kind
    return {
        "id": finding.kind,
        "shortDescription": {"text": _sentence(what)},
        "help": {"text": finding.remedy},
        "defaultConfiguration": {"level": finding.severity},
    }


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def _passages(finding: Finding) -> dict[str, str]:
    """Place -> what is shown of its row, for the rows of which something is."""
    return {
        shown[0].location: " -> ".join(quoted(one, ROOM // len(shown)) for one in shown)
        for shown in rows_of(finding.excerpts)
    }


def _results(finding: Finding, findings: Findings) -> Iterator[dict[str, Any]]:
    named = list(islice(zip_longest(finding.locations, finding.subjects), MOST_RESULTS)) or [
        (findings.file, None)
    ]
    uris = {file: _uri(findings.path_of(file)) for file in {_file_and_line(place)[0] for place, _ in named}}
    shown = _passages(finding)
    for place, about in named:
        here = "; ".join(filter(None, (about, shown.get(place))))
        yield {
            "ruleId": finding.kind,
            "level": finding.severity,
            "message": {"text": f"{finding.message} {finding.remedy}{f' Here: {here}' if here else ''}"},
            "locations": [_location(uris, place, about)],
        }


def _location(uris: Mapping[str, str], place: str, about: str | None) -> dict[str, Any]:
    file, line = _file_and_line(place)
    physical = {"artifactLocation": {"uri": uris[file]}, "region": {"startLine": line}}
    return {"physicalLocation": physical} | ({"message": {"text": about}} if about else {})


def _file_and_line(place: str) -> tuple[str, int]:
    """Of `file:line`; line 1 where none is named."""
    file, line = parse_location(place)
    return (file, line) if file and line else (place, 1)


def _uri(path: Path) -> str:
    """The path from its repository's root, percent-encoded; the whole address of a file outside."""
    path = path.resolve()
    root = next((folder for folder in path.parents if (folder / ".git").exists()), Path.cwd())
    return quote(path.relative_to(root).as_posix()) if path.is_relative_to(root) else path.as_uri()
