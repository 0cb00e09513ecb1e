"""Paragraphs, lists, tables and fences in Markdown that also reads well as plain text, 100 columns wide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from etude.types import Estimate

WIDTH = 100
"""Columns at which paragraphs, lists and fenced texts of our own are wrapped."""
BAR = 25
"""Characters of the picture of an interval."""

_MARK = re.compile(r"([-+*=>#]+|\d+[.)])$")
"""A word that Markdown would take for a heading, a list or a rule where it begins a line."""


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


def wrapped(text: str, first: str = "", then: str = "") -> list[str]:
    """Lines of at most WIDTH columns, where words allow it; `first` stands before the first line and `then` before
    the others. No line but the first begins with a word that is a mark of Markdown's."""
    lines, line = [], first
    for word in text.split(" "):
        fresh = line in (first, then)
        if fresh or len(line) + 1 + len(word) <= WIDTH or _MARK.match(word):
            line += word if fresh else f" {word}"
        else:
            lines.append(line)
            line = then + word
    return [*lines, line]


def paragraph(text: str) -> list[str]:
    """A paragraph of Markdown."""
    return ["", *wrapped(text), ""]


def bullets(texts: Iterable[str]) -> list[str]:
    """A list of users' texts."""
    lines = [line for text in texts for line in wrapped(escaped(text), "- ", "  ")]
    return ["", *lines, ""] if lines else []


def fenced(text: str) -> list[str]:
    """A text word for word, in a fence longer than any run of backticks inside it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return ["", f"{fence}text", text, fence, ""]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """A table of cells that are Markdown already, its columns in line; `right` names those of numbers."""
    body = [head, *rows]
    widths = [max(3, *(len(row[at]) for row in body)) for at in range(len(head))]
    rule = ["-" * (width - 1) + ":" if at in right else "-" * width for at, width in enumerate(widths)]
    body.insert(1, rule)
    return ["", *(_line(cells, widths, right) for cells in body), ""]


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if at in right else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def labelled(parts: Iterable[tuple[str, str]]) -> str:
    """Texts of several lines with a label each, the texts in line below each other, as plain text."""
    parts = list(parts)
    indent = " " * (2 + max(len(label) for label, _ in parts))
    lines = []
    for label, text in parts:
        first = f"{label.ljust(len(indent) - 2)}  "
        for at, line in enumerate(re.split(r"\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", text)):
            lines += wrapped(line, indent if at else first, indent)
    return "\n".join(line.rstrip() for line in lines)


def picture(estimate: Estimate) -> str:
    """An interval on a line from 0 to 1, as `···├──●──┤···`."""
    low, at, high = (round(bound * (BAR - 1)) for bound in (estimate.low, estimate.value, estimate.high))
    cells = ["·"] * BAR
    cells[low : high + 1] = ["─"] * (high - low + 1)
    cells[low], cells[high] = "├", "┤"
    cells[at] = "●"
    return "`" + "".join(cells) + "`"
