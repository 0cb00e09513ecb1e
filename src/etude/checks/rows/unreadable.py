"""Rows that could not be read or that contradict the task: the issues of reading, as findings."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from os.path import relpath

from etude.base.formatting import format_count
from etude.checks.excerpts import redact, redact_label
from etude.checks.kinds import LEFT_OUT_KINDS, FindingKind, finds
from etude.checks.material import Material
from etude.data.formats.turns import mask_turn_numbers
from etude.data.spool import Examples
from etude.errors import Issue, parse_location
from etude.types import Finding, Severity

_SEVERITY: dict[str, Severity] = {"contract": "warning"}  # of kinds that are not errors


@finds(
    FindingKind("unreadable", "error", "rows that cannot be read"),
    FindingKind("roles", "error", "turns of a chat whose order or role cannot be learned"),
    FindingKind("tools", "error", "functions on offer, or calls of them, that cannot be read"),
    FindingKind("empty_turn", "error", "turns of a chat that are empty"),
    FindingKind("label", "error", "labels outside the contract, or rows without one"),
    FindingKind("instructions", "error", "a system message of the rows that contradicts the instructions"),
    FindingKind("contract", "warning", "answers that break the contract"),
    FindingKind("too_few", "error", "fewer rows than a comparison needs"),
    FindingKind("empty", "error", "rows and answers that say nothing, such as `n/a` or `#REF!`"),
    FindingKind("repeated_input", "error", "inputs of an earlier row; a copy with its id is an error"),
)
def check_unreadable(material: Material) -> Iterator[Finding]:
    """Yield one finding for each kind and message of the issues, whichever turn they are in; a comparison would stop at
    errors."""
    # --fix never writes to the test, and its rows are not among the examples.
    own_issues = frozenset(material.issues)
    test = material.test or ()
    ids = _find_readable(material.rows, material.issues)
    num_own = _count_rows(material.rows, material.issues)
    num_test = _count_rows(test, material.test_issues)
    groups: defaultdict[tuple[str, str], list[Issue]] = defaultdict(list)
    for issue in (*material.issues, *_locate_test_issues(material)):
        groups[issue.kind, mask_turn_numbers(issue.message)].append(issue)
    for (kind, text), issues in groups.items():
        is_own = not own_issues.isdisjoint(issues)
        locations = tuple(issue.location for issue in issues)
        message = redact_label(text if len(issues) > 1 else issues[0].message)
        value = redact(issues[0].value) if issues[0].value not in ("", "''") else ""
        if len(issues) > 1:
            message = f"{format_count(len(issues), 'place')}: {message}"
            value = f"the first: {value}" if value else ""
        yield Finding(
            kind=kind,
            severity=_SEVERITY.get(kind, "error"),
            rows=tuple(ids[location] for location in locations if location in ids),
            message=f"{_capitalise(message)}{f' ({value})' if value else ''}.",
            remedy=f"{_capitalise(redact_label(issues[0].remedy))}.",
            locations=locations,
            numbers={
                "rows": len({location for location in locations if parse_location(location)[1]}),
                "of": num_own * is_own + num_test * (not own_issues.issuperset(issues)),
            },
            fix="leaves these rows out" if kind in LEFT_OUT_KINDS and is_own else "",
        )


def _capitalise(phrase: str) -> str:
    return f"{phrase[:1].upper()}{phrase[1:]}"


def _find_readable(rows: Examples, issues: Sequence[Issue]) -> dict[str, str]:
    """Map the location of each row that has an issue and can still be read to its id."""
    locations = {issue.location for issue in issues}
    return {row.location: row.id for row in rows if row.location in locations} if locations else {}


def _count_rows(rows: Examples, issues: Sequence[Issue]) -> int:
    """Count the rows of a file, including those that cannot be read."""
    lines = {issue.location for issue in issues if parse_location(issue.location)[1]}
    return len(rows) + len(lines.difference(_find_readable(rows, issues)))


def _locate_test_issues(material: Material) -> Iterator[Issue]:
    """Yield the issues of the test; if its file has the name of the file of examples, their locations get its path."""
    task = material.task
    name = task.test.file.name if task.test else ""
    for issue in material.test_issues:
        if task.test and name == task.examples.file.name and issue.location.startswith(name):
            path = relpath(task.test.file, task.folder)
            yield replace(issue, location=path + issue.location.removeprefix(name))
        else:
            yield issue
