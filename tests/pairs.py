"""Inputs and outputs in memory, looked at by the checks that a test is about."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etude.checks import CHECKS, Check, Findings, Material, check_material
from etude.data.dataset import Dataset
from etude.task import RowSource, Task
from etude.types import Example, Kind, Message

Pair = tuple[str, str]


def find_in(
    pairs: Sequence[Pair], check: Check, kind: Kind = "answer", **settings: Any
) -> Findings:
    """What one check finds in the pairs, whose ids are their positions; `settings` are those of the
    task.
    """
    rows = tuple(
        Example(
            str(position),
            (Message("user", question),),
            answer,
            location=f"rows.jsonl:{position + 1}",
        )
        for position, (question, answer) in enumerate(pairs)
    )
    task = Task(
        "t", kind, "fake", RowSource(Path("rows.jsonl")), Path(), Path("task.yaml"), **settings
    )
    return check_declared(check_material(Material(task, Dataset(rows)), [check]))


def check_declared(findings: Findings) -> Findings:
    """The findings, each of a kind and severity that a check declares."""
    kinds = [kind for check in CHECKS for kind in check.kinds]
    for finding in findings:
        assert any(
            finding.kind == kind.name and finding.severity in kind.severity for kind in kinds
        ), finding
    return findings


def find_rows(findings: Findings) -> set[int]:
    return {int(row) for finding in findings for row in finding.rows}
