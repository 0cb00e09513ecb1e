"""The two questions of a check, each answered in a sentence: is the data good enough to teach from, and is it safe to?

The answers weigh nothing anew: each follows from the gravest finding on its side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etude.base.wording import first_of
from etude.checks.registry import Findings
from etude.types import Finding

_MOST_NAMED = 4
"""Kinds of finding that a sentence names."""


@dataclass(frozen=True)
class Summary:
    """What the findings of one task come to."""

    good: str
    safe: str


def summary(findings: Findings) -> Summary:
    """Both answers. They speak of what the checks can see, and say so where nothing was found."""
    on_safety = {kind.name for kind in findings.kinds.values() if kind.safety}
    safety = [one for one in findings if one.kind in on_safety]
    quality = [one for one in findings if one not in safety]
    return Summary(_good(quality), _safe(safety))


def _good(found: Sequence[Finding]) -> str:
    if wrong := _named(found, "error"):
        return f"Not yet, because of {wrong}."
    if doubtful := _named(found, "warning"):
        return f"Not surely: look at {doubtful}."
    return "Nothing speaks against it. Whether the answers are true, no check can tell."


def _safe(found: Sequence[Finding]) -> str:
    if wrong := _named(found, "error"):
        return f"Not yet, because of {wrong}."
    if doubtful := _named(found, "warning"):
        return f"Not surely: look at {doubtful}."
    if notes := _named(found, "note"):
        return f"Nothing certain speaks against it; a person should read {notes}."
    return "Nothing personal, secret or unsafe was found, as far as rules can tell."


def _named(found: Sequence[Finding], severity: str) -> str:
    """The kinds of this severity: `empty, echo and 2 more`; "" for none."""
    kinds = list(dict.fromkeys(one.kind for one in found if one.severity == severity))
    return first_of(kinds, _MOST_NAMED)
