"""Rows that could not be read or that contradict the task: the issues of reading, as findings."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from os.path import relpath

from etude.base.formatting import format_count
from etude.checks.excerpts import redact, redact_label
from etude.checks.kinds import LEFT_OUT_KINDS, FindingKind, finds
from etude.checks.material import Material
from etude.data.dataset import select_refused
from etude.data.formats.turns import mask_turn_numbers
from etude.data.spool import Examples
from etude.errors import Issue, parse_location
from etude.types import Finding


@finds(
    FindingKind("unreadable", "error", "rows that cannot be read"),
    FindingKind("roles", "error", "chats whose turns have an unknown role or a wrong order"),
    FindingKind("tools", "error", "functions, or function calls, that cannot be read"),
    FindingKind("empty_turn", "error", "empty turns of a chat"),
    FindingKind(
        "label", "error", "labels that the contract does not list, or answers that are not labels"
    ),
    FindingKind("instructions", "error", "a system message that conflicts with the instructions"),
    FindingKind(
        "contract", "error, warning", "answers that break the contract; over 5% are an error"
    ),
    FindingKind("too_few", "error", "fewer rows than a comparison needs"),
    FindingKind("empty", "error", "rows and answers without content, such as `n/a` or `#REF!`"),
    FindingKind(
        "repeated_input", "error", "copies of an earlier row; an error if they also have its id"
    ),
)
def check_unreadable(material: Material) -> Iterator[Finding]:
    """Yield a finding for each kind and message of the issues, whatever the turn. A comparison
    stops at errors.
    """
    # Only issues of the examples can be fixed: --fix never writes to the test.
    own_issues = frozenset(material.issues)
    test = material.test or ()
    ids = _find_readable(material.rows, material.issues)
    num_own = _count_rows(material.rows, material.issues)
    num_test = _count_rows(test, material.test_issues)
    groups: defaultdict[tuple[str, str], list[Issue]] = defaultdict(list)
    test_issues = tuple(_locate_test_issues(material))
    refused = {
        *select_refused(material.issues, len(material.rows)),
        *select_refused(test_issues, len(test)),
    }
    if material.task.examples.skip_empty:  # a comparison does not stop at these
        refused = {issue for issue in refused if issue.kind != "empty"}
    for issue in (*material.issues, *test_issues):
        groups[issue.kind, mask_turn_numbers(issue.message)].append(issue)
    for (kind, text), issues in groups.items():
        is_own = not own_issues.isdisjoint(issues)
        locations = tuple(issue.location for issue in issues)
        message = redact_label(text if len(issues) > 1 else issues[0].message)
        value = redact(issues[0].value) if issues[0].value not in ("", "''") else ""
        if len(issues) > 1:
            message = f"{format_count(len(issues), 'occurrence')}: {message}"
            value = f"the first: {value}" if value else ""
        yield Finding(
            kind=kind,
            severity="warning" if refused.isdisjoint(issues) else "error",
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
    """Map location to id, for each row that has an issue but can be read."""
    locations = {issue.location for issue in issues}
    return {row.location: row.id for row in rows if row.location in locations} if locations else {}


def _count_rows(rows: Examples, issues: Sequence[Issue]) -> int:
    lines = {issue.location for issue in issues if parse_location(issue.location)[1]}
    return len(rows) + len(lines.difference(_find_readable(rows, issues)))


def _locate_test_issues(material: Material) -> Iterator[Issue]:
    """Yield the issues of the test. If both files have the same name, locations in the test get
    their file's path.
    """
    task = material.task
    name = task.test.file.name if task.test else ""
    for issue in material.test_issues:
        if task.test and name == task.examples.file.name and issue.location.startswith(name):
            path = relpath(task.test.file, task.folder)
            yield replace(issue, location=path + issue.location.removeprefix(name))
        else:
            yield issue
