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
    """Both answers. They speak of what the checks can see, and say so if nothing was found."""
    on_safety = {kind.name for kind in findings.kinds.values() if kind.safety}
    safety = [one for one in findings if one.kind in on_safety]
    quality = [one for one in findings if one.kind not in on_safety]
    return Summary(
        good=_wrong(quality) or "Nothing speaks against it. Whether the answers are true, no check can tell.",
        safe=_wrong(safety)
        or _named(safety, "note", "Nothing certain speaks against it; a person should read {}.")
        or "Nothing personal, secret or unsafe was found, as far as rules can tell.",
    )


def _wrong(found: Sequence[Finding]) -> str:
    """What errors, else warnings, say; "" without any."""
    return _named(found, "error", "Not yet, because of {}.") or _named(
        found, "warning", "Not surely: look at {}."
    )


def _named(found: Sequence[Finding], severity: str, sentence: str) -> str:
    """The sentence with the kinds of this severity, as `empty, echo and 2 more`; "" for none."""
    kinds = list(dict.fromkeys(one.kind for one in found if one.severity == severity))
    return sentence.format(first_of(kinds, _MOST_NAMED)) if kinds else ""
