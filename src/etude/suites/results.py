"""A finished test as a value, and the lines of results.jsonl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etude import __version__
from etude.base.typed_json import to_json
from etude.suites.gates import Decided
from etude.suites.measures import Judged, Measure
from etude.suites.probes.confidence import Confidence
from etude.suites.probes.leaks import Exposed
from etude.suites.subject import Subject
from etude.types import Act


@dataclass(frozen=True)
class Examined:
    """A finished test."""

    subject: Subject
    judged: tuple[Judged, ...]
    measures: tuple[Measure, ...]
    gates: tuple[Decided, ...]
    notes: tuple[str, ...]
    leaks: tuple[Exposed, ...] = ()
    """Canaries that were planted, and how exposed they are."""
    confidence: Confidence | None = None
    """Of a classifier in a run."""
    quick: bool = False
    acts: Mapping[Act, Sequence[str]] = field(default_factory=dict)
    """The task's own words for acts."""

    @property
    def passed(self) -> bool:
        """Whether every gate passed; True without gates."""
        return all(gate.outcome == "passed" for gate in self.gates)

    @property
    def page(self) -> Path:
        """The page to read."""
        return self.subject.folder / "report.html"


def line(judged: Judged) -> dict[str, object]:
    """One line of results.jsonl: the case, and both replies."""
    case = judged.case
    asked = {
        "id": case.id,
        "suite": case.suite,
        "about": case.about,
        "where": case.where,
        "unit": case.unit,
        "input": [{"role": turn.role, "content": turn.content} for turn in case.input],
        "expect": list(case.expect),
    }
    return {
        **asked,
        "base": to_json(judged.base),
        "assistant": to_json(judged.assistant),
        "etude": __version__,
    }
