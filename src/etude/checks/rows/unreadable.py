"""Rows that could not be read or that contradict the task: the faults of the reading, as findings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from os.path import relpath

from etude.base.spool import Examples
from etude.base.wording import count
from etude.checks.evidence import covered, covered_label
from etude.checks.material import Material
from etude.checks.record import FindingKind, finds
from etude.data.formats.turns import of_any_turn
from etude.errors import Issue, parse_location
from etude.repair.drafts import LEFT_OUT
from etude.types import Finding, Severity

_SEVERITY: dict[str, Severity] = {"contract": "warning"}


@finds(
    FindingKind("unreadable", "error", "rows that cannot be read"),
    FindingKind("roles", "error", "turns of a chat whose order or role cannot be learned"),
    FindingKind("tools", "error", "functions on offer, or calls of them, that cannot be read"),
    FindingKind("empty_turn", "error", "turns of a chat that hold nothing"),
    FindingKind("label", "error", "labels outside the contract, or rows without one"),
    FindingKind("instructions", "error", "system messages that contradict the instructions or each other"),
    FindingKind("contract", "warning", "answers that break the contract"),
    FindingKind("too_few", "error", "fewer rows than a comparison needs"),
    FindingKind("empty", "error", "rows and answers that say nothing, such as `n/a` or `#REF!`"),
    FindingKind("repeated_input", "error", "inputs of an earlier row; a copy with its id is an error"),
)
def unread(material: Material) -> Iterator[Finding]:
    """One finding for each kind of fault and what is said about it, be it of several turns; a comparison would stop
    at errors."""
    own = frozenset(material.faults)  # the test is never written to, and its rows are none of the examples
    test = material.test or ()
    ids = _readable(material.rows, material.faults)
    num_own = _num_rows(material.rows, material.faults, ids)
    num_test = _num_rows(test, material.test_faults, _readable(test, material.test_faults))
    groups: defaultdict[tuple[str, str], list[Issue]] = defaultdict(list)
    for fault in (*material.faults, *_of_the_test(material)):
        groups[fault.kind, of_any_turn(fault.message)].append(fault)
    for (kind, what), faults in groups.items():
        of_own = not own.isdisjoint(faults)
        total = num_own * of_own + num_test * (not own.issuperset(faults))
        yield _finding(kind, what, faults, ids, total, of_own)


def _finding(
    kind: str, what: str, faults: Sequence[Issue], ids: Mapping[str, str], total: int, of_own: bool
) -> Finding:
    """The finding of faults of one kind; `total` are the rows of the files that they stand in, `ids` those of the
    examples that can be read all the same, by their places."""
    several = len(faults) > 1
    said = covered_label(what if several else faults[0].message)
    first = "the first: " if several else ""
    got = f" ({first}{covered(faults[0].value)})" if faults[0].value not in ("", "''") else ""
    remedy = covered_label(faults[0].remedy)
    places = tuple(fault.location for fault in faults)
    return Finding(
        kind=kind,
        severity=_SEVERITY.get(kind, "error"),
        rows=tuple(ids[place] for place in places if place in ids),
        message=(f"{count(len(faults), 'place')}: {said}" if several else _begun(said)) + f"{got}.",
        remedy=f"{_begun(remedy)}.",
        locations=places,
        numbers={"rows": len(set(filter(_line, places))), "of": total},
        fix="leaves these rows out" if kind in LEFT_OUT and of_own else "",
    )


def _begun(phrase: str) -> str:
    """A phrase as a sentence begins."""
    return f"{phrase[:1].upper()}{phrase[1:]}"


def _line(where: str) -> int:
    return parse_location(where)[1]


def _readable(rows: Examples, faults: Sequence[Issue]) -> dict[str, str]:
    """Place -> id of the rows that have a fault and can be read."""
    places = {fault.location for fault in faults}
    return {row.location: row.id for row in rows if row.location in places} if places else {}


def _num_rows(rows: Examples, faults: Sequence[Issue], readable: Collection[str]) -> int:
    """The rows of a file, with those that cannot be read; `readable` are the places of `_readable`."""
    lines = {fault.location for fault in faults if _line(fault.location)}
    return len(rows) + len(lines.difference(readable))


def _of_the_test(material: Material) -> Iterator[Issue]:
    """The faults of the test; where it has the name of the file of examples, its places begin with its folder."""
    task = material.task
    name = task.test.file.name if task.test else ""
    for fault in material.test_faults:
        if task.test and name == task.examples.file.name and fault.location.startswith(name):
            path = relpath(task.test.file, task.folder)
            yield replace(fault, location=path + fault.location.removeprefix(name))
        else:
            yield fault
