"""Findings as one HTML page that loads nothing, styled like report.html.

A content security policy with the hash of the page's own style allows nothing else; Jinja2 escapes the texts of the
rows. Personal data and secrets are not shown, only where they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from etude.base.pages import asset, environment, source_hash
from etude.base.wording import count
from etude.checks.material import of_rows
from etude.checks.record import SEVERITIES
from etude.checks.registry import Findings
from etude.checks.shown.summary import summary
from etude.checks.shown.terminal import rows_of
from etude.types import Excerpt, Finding, Severity

MOST_PLACES = 300
"""Places of a finding that are listed."""
FEW = 4
"""Rows of a finding that are shown at once; the others are folded away."""
_HERE = Path(__file__).parent
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of text."""
_TITLES: dict[Severity, str] = {"error": "Errors", "warning": "Warnings", "note": "Notes"}
_FAMILIES = frozenset(("advice", "preference", "privacy", "review", "style"))
"""First words of kinds that form a family."""
_SHORT = frozenset(("api", "iban", "id", "ip"))


@dataclass(frozen=True)
class Group:
    """The findings of one kind and severity."""

    kind: str
    severity: Severity
    findings: tuple[Finding, ...]

    @property
    def title(self) -> str:
        """The kind as a person writes it."""
        words = [word.upper() if word in _SHORT else word for word in self.kind.split("_")]
        family = words[0].capitalize() if words[0] in _FAMILIES and len(words) > 1 else ""
        return f"{family}: {' '.join(words[1:])}" if family else " ".join(words).capitalize()

    @property
    def anchor(self) -> str:
        """The id that links inside the page use."""
        return f"{self.severity}-{self.kind}"

    @property
    def fixable(self) -> bool:
        """Whether `--fix` can fix any of them."""
        return any(finding.fix for finding in self.findings)


def as_html(findings: Findings) -> str:
    """The whole page as text."""
    css = asset("report.css") + (_HERE / "page.css").read_text(encoding="utf-8")
    return (
        _templates()
        .get_template("page.html.j2")
        .render(
            findings=findings,
            summary=summary(findings),
            headline=_headline(findings),
            sections=[(name, _TITLES[name], list(_groups(findings, name))) for name in SEVERITIES],
            css=Markup(css),
            css_hash=source_hash(css),
            fixable=any(finding.fix for finding in findings),
            few=FEW,
            most_places=MOST_PLACES,
        )
    )


@cache
def _templates() -> Environment:
    templates = environment(_HERE)
    templates.filters["pieces"] = pieces
    templates.filters["rows_of"] = rows_of
    templates.filters["named"] = named
    templates.globals.update(share=share, concerned=concerned, count=count)
    return templates


def _headline(findings: Findings) -> str:
    """`2 errors, 1 warning and 3 notes in 1,200 rows`."""
    told = [
        count(number, name)
        for name in SEVERITIES
        if (number := sum(one.severity == name for one in findings))
    ]
    what = " and ".join(filter(None, [", ".join(told[:-1]), told[-1]])) if told else "Nothing found"
    return f"{what} in {count(findings.rows, 'row')}"


def _groups(findings: Findings, severity: Severity) -> Iterator[Group]:
    chosen = [finding for finding in findings if finding.severity == severity]
    for kind in dict.fromkeys(finding.kind for finding in chosen):
        yield Group(kind, severity, tuple(finding for finding in chosen if finding.kind == kind))


def share(finding: Finding) -> float:
    """Rows concerned among the rows looked at, 0 to 1."""
    total = finding.numbers.get("of", 0)
    return min(finding.numbers.get("rows", len(finding.locations)) / total, 1) if total else 0.0


def concerned(finding: Finding) -> str:
    """The same in words; "" for a finding on the set as a whole."""
    rows, total = int(finding.numbers.get("rows", len(finding.locations))), int(finding.numbers.get("of", 0))
    return of_rows(rows, total) if rows and total else ""


def named(finding: Finding) -> dict[str, str]:
    """Place -> the reason given for its row; empty if the kind says it all."""
    return dict(zip(finding.locations, finding.subjects, strict=False))


def pieces(evidence: Excerpt) -> Iterator[tuple[str, bool]]:
    """The passage cut at its marks: (text, whether it is marked), in order, none empty."""
    text, at = evidence.text, 0
    for low, high in (*evidence.spans, (len(text), len(text))):
        low = max(low, at)
        yield from (
            (_visible(part), on) for part, on in ((text[at:low], False), (text[low:high], True)) if part
        )
        at = max(low, high)


def _visible(text: str) -> str:
    r"""The text with characters that are invisible or change its direction written out: `\x92`."""
    return _UNSEEN.sub(lambda char: char[0].encode("unicode_escape").decode("ascii"), text)
