"""Rows too long for what the methods will do with them: reported together, before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from etude.assistant import Assistant
from etude.data.splits import Split
from etude.errors import InputError, Issue, parse_location
from etude.methods.foresight.row_lengths import RowLengths
from etude.methods.method import Method
from etude.models.registry import Models
from etude.task import Task


def check_lengths(
    task: Task, methods: Sequence[Method], start: Assistant, parts: Split, models: Models
) -> None:
    """Raises InputError listing every row that the methods could not answer or be trained on, each row once."""
    rows = RowLengths(parts, models)
    found: list[Iterable[Issue]] = []
    if any(method.prompted for method in methods):
        remedy = "shorten the row or take another model"
        found.append(rows.unanswered(start, "the prompt", remedy, ["train", "dev", "test"]))
    found += [method.too_long(task, start, rows) for method in methods]
    faults: dict[str, Issue] = {}
    for fault in chain(*found):
        faults.setdefault(fault.location, fault)
    if faults:
        raise InputError(sorted(faults.values(), key=lambda fault: parse_location(fault.location)))
