"""The table of the kinds of finding is the code's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from etude.checks.gather import SEVERITIES

ROOT = Path(__file__).parents[1]
UNREAD = {"unreadable", "label", "instructions", "contract", "too_few", "empty", "encoding"}
"""Kinds that come from reading the rows, named where the faults are made."""


def named_in_code() -> set[str]:
    """The first argument of every call of `finding`; what is filled in is a star."""
    found = set()
    for path in (ROOT / "src" / "etude" / "checks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "finding":
                kind = node.args[0]
                parts = kind.values if isinstance(kind, ast.JoinedStr) else [kind]
                found.add("".join(part.value if isinstance(part, ast.Constant) else "*" for part in parts))
    return found


def test_the_table_lists_every_kind_and_no_other() -> None:
    rows = re.findall(
        r"^\| (`.*?) \| (.*?) \|", (ROOT / "docs" / "checks.md").read_text("utf-8"), re.MULTILINE
    )
    listed = {kind for names, _ in rows for kind in re.findall(r"`([^`]+)`", names)}
    assert listed == named_in_code() | UNREAD
    assert {severity for _, named in rows for severity in named.split(", ")} == set(SEVERITIES)
