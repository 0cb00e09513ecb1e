"""report.md: the report in GitHub's Markdown (report.md.j2), for a pull request or a terminal.

It contains the verdict, the ladder, costs and notes; the HTML page has the rest. All inserted
values are escaped. Methods have the same names as on the command line.
"""

import re
from functools import cache
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup

from etude.base import pages
from etude.report import contents
from etude.report import phrasing as words
from etude.types import Estimate

BAR_WIDTH = 25  # Characters of the picture of an interval.


def render_markdown(report: contents.Report) -> str:
    """Render the whole page as text."""
    text = _load_template().render(report=report, verdict=report.verdict)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


@cache
def _load_template() -> Template:
    templates = pages.create_environment(Path(__file__).parent)
    templates.finalize = lambda value: value if isinstance(value, Markup) else Markup(escape(value))
    templates.filters["picture"] = render_interval
    templates.globals.update(words=words)
    return templates.get_template("report.md.j2")


def escape(text: object) -> str:
    """Escape a text of the user's so that Markdown shows it as it is, on one line, inside a table
    too.
    """
    escaped = re.sub(r"&(?=#?\w)", "&amp;", str(text))
    escaped = escaped.replace("<", "&lt;").replace(">", "&gt;")
    escaped = re.sub(r"([\\`*\[\]~|$]|:(?=[\w+-]+:))", r"\\\1", escaped)
    escaped = re.sub(r"(?<![^\W_])_+|_+(?![^\W_])", lambda match: r"\_" * len(match[0]), escaped)
    # Markdown would read these starts as a heading or a list.
    escaped = re.sub(r"^(\s*)(\d+)(?=[.)](\s|$))", r"\1\2&#8203;", escaped)
    escaped = re.sub(r"^(\s*)([#+=-])", r"\1\\\2", escaped)
    return re.sub(r"\r\n|[\r\n\u2028\u2029]", "<br>", escaped)


def render_interval(estimate: Estimate) -> Markup:
    """Render an interval on a line from 0 to 1, such as `···├──●──┤···`."""
    low, middle, high = (
        round(bound * (BAR_WIDTH - 1)) for bound in (estimate.low, estimate.value, estimate.high)
    )
    cells = ["·"] * BAR_WIDTH
    cells[low : high + 1] = ["─"] * (high - low + 1)
    cells[low] = "├"
    cells[high] = "┤"
    cells[middle] = "●"
    return Markup(f"`{''.join(cells)}`")
