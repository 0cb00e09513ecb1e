"""Rows that could not be read or that contradict the task: the faults of the reading, as findings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from os.path import relpath

from etude.checks.covered import covered
from etude.checks.material import Material
from etude.errors import Fault, place_of
from etude.formats.turns import of_any_turn
from etude.types import Finding, Severity
from etude.wording import count

_SEVERITY: dict[str, Severity] = {"contract": "warning"}
_LEFT_OUT = ("empty", "repeated_input")
"""Kinds of fault of rows that `--fix` leaves out."""


def unread(material: Material) -> Iterator[Finding]:
    """One finding for each kind of fault and what is said about it, be it of several turns; a comparison would stop
    at errors."""
    found = (*material.faults, *_of_the_test(material))
    own = set(material.faults)  # the test is never written to, and its rows are none of the examples
    concerned = {fault.where for fault in own}
    ids = {row.where: row.id for row in material.rows if row.where in concerned} if concerned else {}
    unread = {fault.where for fault in found if place_of(fault.where)[1]}.difference(ids)
    groups: defaultdict[tuple[str, str], list[Fault]] = defaultdict(list)
    for fault in found:
        groups[fault.kind, of_any_turn(fault.what)].append(fault)
    for (kind, what), faults in groups.items():
        places = [fault.where for fault in faults]
        lines = {place for place in places if place_of(place)[1]}
        several = len(faults) > 1
        first = "the first: " if several else ""
        got = f" ({first}{covered(faults[0].got)})" if faults[0].got not in ("", "''") else ""
        told = f"{count(len(faults), 'place')}: {what}" if several else f"{what[:1].upper()}{what[1:]}"
        yield Finding(
            kind=kind,
            severity=_SEVERITY.get(kind, "error"),
            rows=tuple(ids[place] for place in places if place in ids),
            message=f"{told}{got}.",
            remedy=f"{faults[0].remedy[:1].upper()}{faults[0].remedy[1:]}.",
            where=tuple(places),
            numbers={"rows": len(lines), "of": len(material.rows) + len(unread)},
            fix="leaves these rows out" if kind in _LEFT_OUT and not own.isdisjoint(faults) else "",
        )


def _of_the_test(material: Material) -> Iterator[Fault]:
    """The faults of the test; where it has the name of the file of examples, its places begin with its folder."""
    task = material.task
    name = task.test.file.name if task.test else ""
    for fault in material.test_faults:
        if task.test and name == task.examples.file.name and fault.where.startswith(name):
            path = relpath(task.test.file, task.folder)
            yield replace(fault, where=path + fault.where.removeprefix(name))
        else:
            yield fault
