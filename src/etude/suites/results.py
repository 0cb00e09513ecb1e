"""A finished test as a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etude.suites.gates import GateResult
from etude.suites.measures.shares import CaseResult, Measure
from etude.suites.subject import Subject
from etude.types import Act


@dataclass(frozen=True)
class SuiteReport:
    """A finished test."""

    subject: Subject
    results: tuple[CaseResult, ...]
    measures: tuple[Measure, ...]
    gates: tuple[GateResult, ...]
    notes: tuple[str, ...]
    quick: bool = False
    acts: Mapping[Act, Sequence[str]] = field(
        default_factory=dict
    )  # the task's own phrases for acts

    @property
    def passed(self) -> bool:
        """Whether every gate passed; True without gates."""
        return all(gate.outcome == "passed" for gate in self.gates)

    @property
    def page(self) -> Path:
        return self.subject.folder / "report.html"
