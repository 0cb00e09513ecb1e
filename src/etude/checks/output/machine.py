"""Findings for other programs, as JSON."""

import json
from dataclasses import asdict

from etude.checks.output.terminal import summarize
from etude.checks.registry import Findings


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
