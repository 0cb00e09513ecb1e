"""report.md: the report in GitHub's Markdown (report.md.j2), for a pull request or a terminal.

Whatever the template puts in is escaped, as in the HTML page. In place of side-by-side reading stand the first dev rows
that tuning fixed and broke, or raised and lowered. Methods go by their names, as on the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup

from etude.base import wording
from etude.base.pages import environment
from etude.report import phrasing as words
from etude.report.contents import DevAnswer, DevRow, Report
from etude.types import Estimate

MOST_ROWS = 10
"""Rows shown of those that tuning fixed, and as many of those that it broke."""
MOST_TEXT = 400
"""Characters of a row's text that are shown."""
BAR = 25
"""Characters of the picture of an interval."""


def render_markdown(report: Report) -> str:
    """The whole page as text."""
    text = _template().render(
        report=report,
        verdict=report.verdict,
        on_test=any(rung.test for rung in report.rungs),
        turned=_turned(report),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip().replace("\0", "\n") + "\n"


@cache
def _template() -> Template:
    templates = environment(Path(__file__).parent)
    templates.finalize = lambda value: value if isinstance(value, Markup) else Markup(escaped(value))
    templates.filters.update(fenced=fenced, picture=picture)
    templates.globals.update(words=words, wording=wording)
    return templates.get_template("report.md.j2")


def escaped(text: object) -> str:
    """A text of the user's as Markdown that shows it as it is, on one line, inside a table too."""
    shown = re.sub(r"&(?=#?\w)", "&amp;", str(text))
    shown = re.sub(r"<(?! )", "&lt;", shown).replace(">", "&gt;")
    shown = re.sub(r"([\\`*\[\]~|$]|:(?=[\w+-]+:))", r"\\\1", shown)
    shown = re.sub(r"(?<![^\W_])_+|_+(?![^\W_])", lambda found: r"\_" * len(found[0]), shown)
    shown = re.sub(r"^(\s*)([#+=-]|\d+(?=[.)](\s|$)))", _not_a_mark, shown)
    return re.sub(r"\r\n|[\r\n\u2028\u2029]", "<br>", shown)


def _not_a_mark(start: re.Match[str]) -> str:
    """The start of a text that Markdown would take for a heading or a list."""
    space, mark = start.group(1, 2)
    return f"{space}{mark}&#8203;" if mark.isdigit() else f"{space}\\{mark}"


def fenced(text: str) -> Markup:
    r"""A text word for word, in a fence longer than any run of backticks inside it; line ends as \0, so that blank
    lines stay, and \0 as CommonMark shows it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}text\n{text}\n{fence}".replace("\0", "\ufffd").replace("\n", "\0"))


def picture(estimate: Estimate) -> Markup:
    """An interval on a line from 0 to 1, as `···├──●──┤···`."""
    low, at, high = (round(bound * (BAR - 1)) for bound in (estimate.low, estimate.value, estimate.high))
    cells = ["·"] * BAR
    cells[low : high + 1] = ["─"] * (high - low + 1)
    cells[low], cells[high] = "├", "┤"
    cells[at] = "●"
    return Markup(f"`{''.join(cells)}`")


def _turned(report: Report) -> list[tuple[str, int, list[str]]]:
    """Title, number of rows and the first of them, of those that tuning raised and of those that it lowered."""
    if not report.tuned or not report.untuned:
        return []
    found = []
    for sign, title in zip((1, -1), words.turned(report), strict=True):
        rows = [row for row in report.dev if _turn(report, row) * sign > 0]
        found.append((title, len(rows), [_told(report, row) for row in rows[:MOST_ROWS]]))
    return found


def _turn(report: Report, row: DevRow) -> float:
    """How much tuning raised the row's score, scores of four digits as in the page; 0 where that is less than
    `least_turn`, and while an answer is missing."""
    before, after = row.answers.get(report.untuned or ""), row.answers.get(report.tuned or "")
    change = round(after.score, 4) - round(before.score, 4) if before and after else 0.0
    return change if abs(change) >= report.least_turn - 1e-9 else 0.0


def _told(report: Report, row: DevRow) -> str:
    answers = [(name, _answer(row.answers[name])) for name in (report.untuned, report.tuned) if name]
    return _labelled(
        [("row", row.place), ("asked", _short(row.input)), ("wanted", _short(row.expected)), *answers]
    )


def _answer(answer: DevAnswer) -> str:
    mark = "✓" if answer.score >= 1 else "✗" if answer.score <= 0 else f"◐ {wording.percent(answer.score)}"
    failures = (*answer.failures, *([words.CUT] if answer.cut else []))
    failed = f"\nFailed: {'; '.join(failures)}" if failures else ""
    cited = f"\nFrom {'; '.join(answer.citations)}" if answer.citations else ""
    return f"{mark} {_short(answer.text) or '(empty answer)'}{failed}{cited}"


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "…"


def _labelled(parts: Iterable[tuple[str, str]]) -> str:
    """Texts with a label each, their lines in line below each other."""
    parts = list(parts)
    width = 2 + max(len(label) for label, _ in parts)
    texts = (f"{label:{width}}" + f"\n{'':{width}}".join(text.splitlines()) for label, text in parts)
    return "\n".join(line.rstrip() for text in texts for line in text.splitlines())
