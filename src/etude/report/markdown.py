"""report.md: the report in GitHub's Markdown (report.md.j2), for a pull request or a terminal.

It holds the verdict, the ladder, costs and notes; the HTML page has the rest. Whatever the template puts in is escaped.
Methods go by their names, as on the command line.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup

from etude.base import wording
from etude.base.pages import environment
from etude.report import phrasing as words
from etude.report.contents import Report
from etude.types import Estimate

BAR = 25
"""Characters of the picture of an interval."""


def render_markdown(report: Report) -> str:
    """The whole page as text."""
    text = _template().render(
        report=report,
        verdict=report.verdict,
        on_test=any(rung.test for rung in report.rungs),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


@cache
def _template() -> Template:
    templates = environment(Path(__file__).parent)
    templates.finalize = lambda value: value if isinstance(value, Markup) else Markup(escaped(value))
    templates.filters["picture"] = picture
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


def picture(estimate: Estimate) -> Markup:
    """An interval on a line from 0 to 1, as `···├──●──┤···`."""
    low, at, high = (round(bound * (BAR - 1)) for bound in (estimate.low, estimate.value, estimate.high))
    cells = ["·"] * BAR
    cells[low : high + 1] = ["─"] * (high - low + 1)
    cells[low], cells[high] = "├", "┤"
    cells[at] = "●"
    return Markup(f"`{''.join(cells)}`")
