"""Findings in plain text, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import chain, groupby

from etude.base.wording import count, first_of
from etude.checks.registry import Findings
from etude.checks.shown.summary import summary
from etude.types import Excerpt, Finding

MOST_PLACES = 5
MOST_SHOWN = 4
WIDTH = 110
"""Columns of the text by default."""


def in_words(findings: Findings, width: int = WIDTH) -> str:
    """The whole report as text of `width` columns."""
    answers = summary(findings)
    asked = (f"Good enough to train on? {answers.good}", f"Safe to train on? {answers.safe}")
    lines = [_counted(findings), *chain.from_iterable(textwrap.wrap(one, width) for one in asked), ""]
    for finding in findings:
        lines += [*_told(finding, width), ""]
    return _visible("\n".join(lines)).rstrip() + "\n"


def _counted(findings: Findings) -> str:
    rows = f"{count(findings.rows, 'row')} of {findings.file}"
    test = f" and {count(findings.test_rows, 'test row')}" if findings.test_rows else ""
    counts = [
        count(sum(one.severity == severity for one in findings), severity)
        for severity in ("error", "warning", "note")
    ]
    told = ", ".join(counts) if len(findings) else "nothing found"
    return f"{rows}{test}: {told}."


def _told(finding: Finding, width: int) -> Iterator[str]:
    head = f"{finding.severity}: {finding.kind}"
    yield head
    yield from _wrapped(finding.message, width)
    if finding.locations:
        yield from _wrapped(places(finding.locations, finding.subjects), width)
    for pair in list(rows_of(finding.excerpts))[:MOST_SHOWN]:
        room = max((width - 12 - len(pair[0].location)) // len(pair), 30)
        yield f"    {pair[0].location}  " + " -> ".join(quoted(one, room) for one in pair)
    yield from _wrapped(f"-> {finding.remedy}", width)
    if finding.fix:
        yield from _wrapped(f"--fix {finding.fix}.", width)


def _wrapped(text: str, width: int) -> list[str]:
    text = " ".join(text.split())  # textwrap takes a run of spaces in time with the square of its length
    return textwrap.wrap(text, width - 2, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def places(where: Sequence[str], about: Sequence[str] = ()) -> str:
    """The first places, each with the reason given for its row, and how many more there are."""
    file = where[0].rpartition(":")[0]

    def told(number: int) -> str:
        place = where[number]
        short = place.removeprefix(file) if number and place.startswith(f"{file}:") else place
        return f"{short} ({about[number]})" if number < len(about) else short

    return first_of(range(len(where)), MOST_PLACES, told=told)


def rows_of(evidence: Sequence[Excerpt]) -> Iterator[tuple[Excerpt, ...]]:
    """The passages of each row together: input and answer."""
    for _, passages in groupby(evidence, key=lambda one: (one.row, one.location)):
        yield tuple(passages)


def quoted(one: Excerpt, room: int) -> str:
    """The passage around the first mark, on one line of at most `room` characters."""
    begin = max(one.spans[0][0] - room // 2, 0) if one.spans else 0
    text = one.text[begin : begin + room]
    cut = "…" if begin else ""
    end = "…" if begin + room < len(one.text) else ""
    return f'"{cut}{" ".join(text.split())}{end}"'


def _visible(text: str) -> str:
    """The text with control characters written out; those that join letters and emoji stay."""
    return "".join(
        char
        if char.isprintable() or char in "\n\u200c\u200d"
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
