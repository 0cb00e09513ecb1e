"""Findings as one HTML page that loads nothing, styled like report.html.

A content security policy allows only the page's own style, by its hash; Jinja2 escapes the texts of
the rows. Personal data and secrets are redacted.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from etude.base import formatting, pages
from etude.checks import material, registry
from etude.checks.kinds import SEVERITIES
from etude.checks.output.terminal import group_by_row, summarize
from etude.types import Excerpt, Finding, Severity

MAX_LOCATIONS = 300  # locations of a finding that are listed
FEW_ROWS = 4  # rows of a finding that are visible at once; the others are in a folded list
# Control characters, and those that change the direction of text.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_FAMILIES = frozenset(("advice", "privacy", "review", "style"))  # first words of kinds
_ABBREVIATIONS = frozenset(("api", "iban", "id", "ip"))


def to_html(findings: registry.Findings) -> str:
    """Render the whole page."""
    sections: dict[Severity, dict[str, list[Finding]]] = {severity: {} for severity in SEVERITIES}
    for finding in findings:
        sections[finding.severity].setdefault(finding.kind, []).append(finding)
    # "2 errors, 1 warning and 3 notes in 1,200 rows"
    numbers = {name: sum(map(len, kinds.values())) for name, kinds in sections.items()}
    counts = [formatting.format_count(number, name) for name, number in numbers.items() if number]
    listed = " and ".join(filter(None, [", ".join(counts[:-1]), *counts[-1:]])) or "Nothing found"
    return pages.render_page(
        Path(__file__).parent,
        "page.html.j2",
        *("report.css", "page.css"),
        findings=findings,
        summary=summarize(findings),
        headline=f"{listed} in {formatting.format_count(findings.rows, 'row')}",
        sections=sections,
        few_rows=FEW_ROWS,
        max_locations=MAX_LOCATIONS,
        format_kind=format_kind,
        format_concerned=format_concerned,
        group_by_row=group_by_row,
        split_excerpt=split_excerpt,
        map_subjects=lambda finding: dict(zip(finding.locations, finding.subjects, strict=False)),
    )


def format_kind(kind: str) -> str:
    """Format a kind as a title."""
    words = [word.upper() if word in _ABBREVIATIONS else word for word in kind.split("_")]
    family = words[0].capitalize() if words[0] in _FAMILIES and len(words) > 1 else ""
    return f"{family}: {' '.join(words[1:])}" if family else " ".join(words).capitalize()


def format_concerned(finding: Finding) -> str:
    """Format the number and share of the rows that the finding is about; "" for a finding on the
    whole set.
    """
    rows = int(finding.numbers.get("rows", len(finding.locations)))
    total = int(finding.numbers.get("of", 0))
    return material.format_share(rows, total) if rows and total else ""


def split_excerpt(excerpt: Excerpt) -> Iterator[tuple[str, bool]]:
    r"""Split an excerpt at its spans: yield (text, whether it is marked) in order, without empty
    texts.

    Characters that are invisible or change the direction of text are escaped: `\x92`.
    """
    text = excerpt.text
    position = 0
    for low, high in (*excerpt.spans, (len(text), len(text))):
        low = max(low, position)
        for piece, is_marked in ((text[position:low], False), (text[low:high], True)):
            if piece:
                yield (
                    _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), piece),
                    is_marked,
                )
        position = max(low, high)
