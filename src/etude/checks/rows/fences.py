"""Blocks of code between fences (```), as Markdown knows them: those that are never closed."""

from __future__ import annotations

import re
from collections.abc import Sequence

CLOSED_LEAST = 10
"""Texts whose fences are all closed, below which an open one does not stand out."""
CLOSED_SHARE = 0.8
"""Their share of the texts with fences, at least."""
_FENCE = re.compile(r"^[ \t]{0,12}(`{3,}|~{3,})(.*)$", re.MULTILINE)


def unclosed(texts: Sequence[str]) -> list[int]:
    """Positions of the texts with a fence that is never closed, where nearly all others close theirs."""
    found: list[int] = []
    closed = 0
    for row, text in enumerate(texts):
        if "```" in text or "~~~" in text:
            ends_open = is_unclosed(text)
            closed += ends_open is False
            found += [row] if ends_open else []
    return found if closed >= max(CLOSED_LEAST, CLOSED_SHARE * (closed + len(found))) else []


def is_unclosed(text: str) -> bool | None:
    """Whether the last fence of a text is open; None where it has none.

    A fence is closed by one of the same marks, at least as many, with nothing behind them.
    """
    fence, seen = "", None
    for match in _FENCE.finditer(text):
        marks, behind = match[1], match[2].strip()
        if not fence:
            opens = "`" not in behind  # ```print(1)``` in one line is closed
            fence, seen = (marks, True) if opens else ("", seen)
        elif marks.startswith(fence) and not behind:
            fence = ""
    return None if seen is None else bool(fence)
