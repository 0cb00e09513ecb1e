"""Findings in plain text for a terminal and as JSON, and the summary with which every report
begins.
"""

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, groupby

from etude.base.formatting import format_count, list_first
from etude.checks.kinds import SEVERITIES
from etude.checks.registry import Findings
from etude.errors import parse_location
from etude.types import Excerpt, Finding

MAX_LOCATIONS = 5  # locations of a finding
MAX_ROWS = 4  # rows of a finding that are shown
MAX_KINDS = 4  # kinds of finding in a sentence of the summary
WIDTH = 110  # columns of the text by default


@dataclass(frozen=True)
class Summary:
    """The answers to the two questions of a check: good enough to train on, and safe?"""

    good: str
    safe: str


def summarize(findings: Findings) -> Summary:
    """Answer both questions by the most severe finding of each; what the checks cannot see is not
    considered.
    """
    safety_kinds = {kind.name for kind in findings.kinds.values() if kind.safety}
    safety = [finding for finding in findings if finding.kind in safety_kinds]
    quality = [finding for finding in findings if finding.kind not in safety_kinds]
    return Summary(
        good=_warn(quality)
        or "No problem was found. The checks cannot verify that the answers are true.",
        safe=_warn(safety)
        or _list_kinds(
            safety,
            "note",
            "The rules found no error or warning about safety; a person should review {}.",
        )
        or "The rules found nothing personal, secret or unsafe.",
    )


def _warn(findings: Sequence[Finding]) -> str:
    return _list_kinds(findings, "error", "Not yet, because of {}.") or _list_kinds(
        findings, "warning", "Perhaps not: review {}."
    )


def _list_kinds(findings: Sequence[Finding], severity: str, sentence: str) -> str:
    """Insert the kinds of a severity into a sentence, such as `empty, echo and 2 more`; "" if there
    are none.
    """
    kinds = list(
        dict.fromkeys(finding.kind for finding in findings if finding.severity == severity)
    )
    return sentence.format(list_first(kinds, MAX_KINDS)) if kinds else ""


def to_text(findings: Findings, width: int = WIDTH) -> str:
    """Format the whole report as text of `width` columns."""
    summary = summarize(findings)
    answers = (f"Good enough to train on? {summary.good}", f"Safe to train on? {summary.safe}")
    rows = f"{format_count(findings.rows, 'row')} of {findings.file}"
    rows += f" and {format_count(findings.test_rows, 'test row')}" if findings.test_rows else ""
    counts = [
        format_count(sum(item.severity == name for item in findings), name) for name in SEVERITIES
    ]
    lines = [f"{rows}: {', '.join(counts) if len(findings) else 'nothing found'}."]
    lines += [*chain.from_iterable(textwrap.wrap(answer, width) for answer in answers), ""]
    for finding in findings:
        lines += [*_format_finding(finding, width), ""]
    # Control characters are escaped; characters that join letters and emoji stay.
    text = "".join(
        char
        if char.isprintable() or char in "\n\u200c\u200d"
        else char.encode("unicode_escape").decode("ascii")
        for char in "\n".join(lines)
    )
    return text.rstrip() + "\n"


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


def _format_finding(finding: Finding, width: int) -> Iterator[str]:
    yield f"{finding.severity}: {finding.kind}"
    yield from _wrap(finding.message, width)
    if finding.locations:
        yield from _wrap(format_locations(finding.locations, finding.subjects), width)
    for row in list(group_by_row(finding.excerpts))[:MAX_ROWS]:
        max_chars = max(width - 12 - len(row[0].location), 60)
        yield f"    {row[0].location}  {quote_row(row, max_chars)}"
    yield from _wrap(f"-> {finding.remedy}", width)
    if finding.fix:
        yield from _wrap(f"--fix {finding.fix}.", width)


def _wrap(text: str, width: int) -> list[str]:
    text = " ".join(
        text.split()
    )  # textwrap's time grows with the square of the length of a run of spaces
    return textwrap.wrap(
        text, width - 2, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )


def format_locations(locations: Sequence[str], subjects: Sequence[str] = ()) -> str:
    """Format the first locations, each with the subject of its row, and how many more there are."""
    file, _ = parse_location(locations[0])

    def format_location(index: int) -> str:
        location = locations[index]
        if index and location.startswith(f"{file}:"):
            location = location.removeprefix(file)
        return f"{location} ({subjects[index]})" if index < len(subjects) else location

    return list_first(range(len(locations)), MAX_LOCATIONS, label=format_location)


def group_by_row(excerpts: Sequence[Excerpt]) -> Iterator[tuple[Excerpt, ...]]:
    """Group the excerpts of each row: input and answer."""
    for _, group in groupby(excerpts, key=lambda excerpt: (excerpt.row, excerpt.location)):
        yield tuple(group)


def quote_row(row: Sequence[Excerpt], max_chars: int) -> str:
    """Quote a row's excerpts in about `max_chars` characters, named if there are two: `input "...";
    answer "..."`.
    """
    if len(row) == 1:
        return _quote_excerpt(row[0], max_chars)
    names = {"input": "input", "output": "answer"}
    max_each = max_chars // len(row) - len("; answer ")
    return "; ".join(
        f"{names[excerpt.column]} {_quote_excerpt(excerpt, max_each)}" for excerpt in row
    )


def _quote_excerpt(excerpt: Excerpt, max_chars: int) -> str:
    """Quote the text around the first span, on one line of at most `max_chars` characters."""
    begin = max(excerpt.spans[0][0] - max_chars // 2, 0) if excerpt.spans else 0
    text = excerpt.text[begin : begin + max_chars]
    prefix = "…" if begin else ""
    suffix = "…" if begin + max_chars < len(excerpt.text) else ""
    return f'"{prefix}{" ".join(text.split())}{suffix}"'
