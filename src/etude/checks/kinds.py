"""The declaration of a check. Gates, the summary, quick checks and the table in docs/checks.md are
built from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from etude.privacy import BLOCKING
from etude.task.questions import join_answers
from etude.types import Finding, Kind, Severity

if TYPE_CHECKING:
    from etude.checks.material import Material

CheckFunction = Callable[["Material"], Iterator[Finding]]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")  # the most severe first
ALL: tuple[Kind, ...] = get_args(Kind)
LABELS: tuple[Kind, ...] = ("classify",)
FREE: tuple[Kind, ...] = ("answer", "rewrite")  # tasks whose answers are free text
TEXTS: tuple[Kind, ...] = ("extract", *FREE)
FIXABLE_KINDS = (
    *("empty", "encoding", "markup"),
    *(f"privacy_{kind}" for kind in BLOCKING),
    *("repeated_input", "test_overlap"),
)
"""Kinds that `etude check --fix` fixes, in this order."""
LABEL_KINDS = ("wrong_label", "unread_label")
"""Kinds whose rows have labels for people to read, in this order; their subjects are suggested
labels.
"""
LEFT_OUT_KINDS = ("empty", "repeated_input")
"""Kinds that `--fix` fixes by leaving the row out, even if the row cannot be read as an example."""


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding, for gates, documents and programs that read findings."""

    name: str
    severity: str
    """One of SEVERITIES, or several that its findings can have: "warning, note"."""
    description: str
    """The rows or texts that it reports, as a phrase."""
    safety: bool = False
    """True if it counts for the summary's answer on safety, False if it counts for the answer on
    quality.
    """

    @property
    def fixable(self) -> bool:
        return self.name in FIXABLE_KINDS


@dataclass(frozen=True)
class Check:
    """A function from rows to findings, with its declaration."""

    run: CheckFunction
    kinds: tuple[FindingKind, ...]
    tasks: tuple[Kind, ...] = ALL
    """The kinds of task that it checks; it finds nothing for other kinds."""
    quick: bool = False
    """Whether it takes about as long as reading the rows. Every comparison runs the quick
    checks.
    """
    by_question: bool = False
    """Whether it runs once for each question, if a row answers several."""

    @property
    def name(self) -> str:
        """The name of its function, without the prefix `check_`."""
        return self.run.__name__.removeprefix("check_")

    def __call__(self, material: Material) -> Iterator[Finding]:
        if material.task.kind not in self.tasks:
            return
        if not (self.by_question and material.task.questions):
            yield from self.run(material)
            return
        for name, selected in material.by_question.items():
            for finding in self.run(selected):
                subjects = tuple(join_answers({name: subject}) for subject in finding.subjects)
                yield replace(finding, message=f"{name}: {finding.message}", subjects=subjects)


def finds(
    *kinds: FindingKind,
    tasks: tuple[Kind, ...] = ALL,
    quick: bool = False,
    by_question: bool = False,
) -> Callable[[CheckFunction], Check]:
    """Make a Check of the decorated function."""
    return lambda run: Check(run, kinds, tasks, quick, by_question)


def create_family(
    prefix: str, kinds: Mapping[str, str], severity: str, safety: bool = False
) -> Iterator[FindingKind]:
    """Create kinds whose names share a prefix; `kinds` maps the name after the prefix to its
    description.
    """
    return (FindingKind(f"{prefix}_{name}", severity, text, safety) for name, text in kinds.items())
