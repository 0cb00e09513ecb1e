"""The two questions of a check, each answered in a sentence: are the rows good enough to train on, and are they safe?

The gravest finding on each side decides the answer.
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
    """The answers to both questions."""

    good: str
    safe: str


def summary(findings: Findings) -> Summary:
    """Both answers, which cover only what the checks can see."""
    on_safety = {kind.name for kind in findings.kinds.values() if kind.safety}
    safety = [one for one in findings if one.kind in on_safety]
    quality = [one for one in findings if one.kind not in on_safety]
    return Summary(
        good=_wrong(quality) or "Nothing was found. No check can tell whether the answers are true.",
        safe=_wrong(safety)
        or _named(safety, "note", "No error or warning; a person should read {}.")
        or "Nothing personal, secret or unsafe was found, as far as rules can tell.",
    )


def _wrong(found: Sequence[Finding]) -> str:
    """The sentence on the errors, else on the warnings; "" if there are none."""
    return _named(found, "error", "Not yet, because of {}.") or _named(
        found, "warning", "Perhaps not: look at {}."
    )


def _named(found: Sequence[Finding], severity: str, sentence: str) -> str:
    """The sentence with the kinds of this severity, as `empty, echo and 2 more`; "" for none."""
    kinds = list(dict.fromkeys(one.kind for one in found if one.severity == severity))
    return sentence.format(first_of(kinds, _MOST_NAMED)) if kinds else ""
