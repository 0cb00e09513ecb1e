"""The files of a finished test: report.html, test.json and results.jsonl."""

from pathlib import Path
from typing import Any

from etude import __version__
from etude.base.pages import render_page
from etude.base.typed_json import to_json
from etude.limits.acts import ACT_WORDS
from etude.methods import format_method
from etude.report.pictures import SHARES
from etude.suites.cases import OWN_ANSWER
from etude.suites.measures.shares import CaseResult
from etude.suites.output import summary
from etude.suites.results import SuiteReport
from etude.types import ACTS


def to_report_json(report: SuiteReport) -> dict[str, Any]:
    """Return all numbers and gates; the answers are in results.jsonl."""
    subject = report.subject
    return {
        "etude": __version__,
        "task": subject.task.name if subject.task else None,
        "run": subject.run.name if subject.run else None,
        "limits": subject.run.info["inputs"].get("limits") if subject.run else None,  # their hash
        "method": subject.name,
        "assistant": subject.assistant.fingerprint,
        "base": subject.base.fingerprint,
        "model": subject.base.model.name,
        "quick": report.quick,
        "headline": summary.format_headline(report),
        "passed": report.passed,
        "cases": len(report.results),
        "gates": [
            {"gate": result.gate.text, "outcome": result.outcome, "detail": result.detail}
            for result in report.gates
        ],
        "measures": [to_json(measure) for measure in report.measures],
        "notes": list(report.notes),
    }


def to_line(result: CaseResult) -> dict[str, Any]:
    """Return one line of results.jsonl: the case, and both answers."""
    case = result.case
    return {
        "id": case.id,
        "suite": case.suite,
        "about": case.about,
        "location": case.location,
        "unit": case.unit,
        "input": [{"role": turn.role, "content": turn.content} for turn in case.input],
        "expect": list(case.expect),
        "base": to_json(result.base),
        "assistant": to_json(result.assistant),
        "etude": __version__,
    }


def to_html(report: SuiteReport) -> str:
    """Render the page."""
    return render_page(
        Path(__file__).parent,
        "page.html.j2",
        *("report.css", "page.css", "page.js"),
        report=report,
        subject=report.subject,
        words=summary,
        format_method=format_method,
        axis=SHARES,
        acts=ACTS,
        act_words=ACT_WORDS,
        own_answer=OWN_ANSWER,
    )
