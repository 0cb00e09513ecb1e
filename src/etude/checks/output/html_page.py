"""Findings as one HTML page that loads nothing, styled like report.html.

A content security policy allows only the page's own style, by its hash; Jinja2 escapes the texts of the rows. Personal
data and secrets are redacted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from etude.base import formatting, pages
from etude.checks import material, registry
from etude.checks.kinds import SEVERITIES
from etude.checks.output.terminal import group_by_row, summarize
from etude.types import Excerpt, Finding, Severity

MAX_LOCATIONS = 300  # locations of a finding that are listed
FEW_ROWS = 4  # rows of a finding that are visible at once; the others are in a folded list
_HERE = Path(__file__).parent
# Control characters, and those that change the direction of text.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_TITLES: dict[Severity, str] = {"error": "Errors", "warning": "Warnings", "note": "Notes"}
_FAMILIES = frozenset(("advice", "preference", "privacy", "review", "style"))  # first words of kinds
_ABBREVIATIONS = frozenset(("api", "iban", "id", "ip"))


@dataclass(frozen=True)
class FindingGroup:
    """The findings of one kind and severity."""

    kind: str
    severity: Severity
    findings: tuple[Finding, ...]

    @property
    def title(self) -> str:
        """The kind in words."""
        words = [word.upper() if word in _ABBREVIATIONS else word for word in self.kind.split("_")]
        family = words[0].capitalize() if words[0] in _FAMILIES and len(words) > 1 else ""
        return f"{family}: {' '.join(words[1:])}" if family else " ".join(words).capitalize()

    @property
    def anchor(self) -> str:
        """The id for links inside the page."""
        return f"{self.severity}-{self.kind}"

    @property
    def fixable(self) -> bool:
        """Whether `--fix` can fix any of them."""
        return any(finding.fix for finding in self.findings)


def to_html(findings: registry.Findings) -> str:
    """Render the whole page."""
    css = pages.read_asset("report.css") + (_HERE / "page.css").read_text(encoding="utf-8")
    sections = []
    for severity in SEVERITIES:
        kinds: dict[str, list[Finding]] = {}
        for finding in findings:
            if finding.severity == severity:
                kinds.setdefault(finding.kind, []).append(finding)
        groups = [FindingGroup(kind, severity, tuple(items)) for kind, items in kinds.items()]
        sections.append((severity, _TITLES[severity], groups))
    # "2 errors, 1 warning and 3 notes in 1,200 rows"
    numbers = {name: sum(finding.severity == name for finding in findings) for name in SEVERITIES}
    counts = [formatting.format_count(number, name) for name, number in numbers.items() if number]
    listed = " and ".join(filter(None, [", ".join(counts[:-1]), *counts[-1:]])) or "Nothing found"
    template = _load_templates().get_template("page.html.j2")
    return template.render(
        findings=findings,
        summary=summarize(findings),
        headline=f"{listed} in {formatting.format_count(findings.rows, 'row')}",
        sections=sections,
        css=Markup(css),
        css_hash=pages.hash_source(css),
        fixable=any(finding.fix for finding in findings),
        few_rows=FEW_ROWS,
        max_locations=MAX_LOCATIONS,
    )


@cache
def _load_templates() -> Environment:
    templates = pages.create_environment(_HERE)
    templates.filters.update(
        split_excerpt=split_excerpt, group_by_row=group_by_row, map_subjects=map_subjects
    )
    templates.globals.update(
        measure_share=measure_share, format_concerned=format_concerned, count=formatting.format_count
    )
    return templates


def measure_share(finding: Finding) -> float:
    """Return the share of the checked rows that the finding is about, 0 to 1."""
    total = finding.numbers.get("of", 0)
    return min(finding.numbers.get("rows", len(finding.locations)) / total, 1) if total else 0.0


def format_concerned(finding: Finding) -> str:
    """Format the number and share of the rows that the finding is about; "" for a finding on the whole set."""
    rows, total = int(finding.numbers.get("rows", len(finding.locations))), int(finding.numbers.get("of", 0))
    return material.format_share(rows, total) if rows and total else ""


def map_subjects(finding: Finding) -> dict[str, str]:
    """Map each location to the subject of its row; empty if the finding has no subjects."""
    return dict(zip(finding.locations, finding.subjects, strict=False))


def split_excerpt(excerpt: Excerpt) -> Iterator[tuple[str, bool]]:
    r"""Split an excerpt at its spans: yield (text, whether it is marked) in order, without empty texts.

    Characters that are invisible or change the direction of text are escaped: `\x92`.
    """
    text, position = excerpt.text, 0
    for low, high in (*excerpt.spans, (len(text), len(text))):
        low = max(low, position)
        for piece, is_marked in ((text[position:low], False), (text[low:high], True)):
            if piece:
                yield (
                    _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), piece),
                    is_marked,
                )
        position = max(low, high)
