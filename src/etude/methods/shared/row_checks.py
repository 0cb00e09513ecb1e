"""Rows that are too long for the methods, all reported together before anything is fitted."""

from collections.abc import Iterable, Sequence
from itertools import chain

from etude.assistant import Assistant
from etude.data.splits import Split
from etude.errors import InputError, Issue, parse_location
from etude.methods.method import Method, RowLengths
from etude.models.registry import Models
from etude.task import Task


def check_lengths(task: Task, methods: Sequence[Method], start: Assistant, split: Split, models: Models) -> None:
    """Raise InputError with every row that the methods could not answer or be trained on, each row once."""
    rows = RowLengths(split, models)
    issue_lists: list[Iterable[Issue]] = []
    if any(method.prompted for method in methods):
        remedy = "shorten the row, or use a model with a longer context"
        issue_lists.append(rows.find_too_long(start, "the prompt", remedy, ["train", "dev", "test"]))
    issue_lists += [method.find_too_long(task, start, rows) for method in methods]
    issues: dict[str, Issue] = {}
    for issue in chain(*issue_lists):
        issues.setdefault(issue.location, issue)
    if issues:
        raise InputError(sorted(issues.values(), key=lambda issue: parse_location(issue.location)))
