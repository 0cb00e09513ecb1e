"""What a check says of itself. Gates, summary, quick checks and the table in docs/checks.md are made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, get_args

from etude.repair.changes import KINDS as FIXED
from etude.types import Finding, Kind, Severity

if TYPE_CHECKING:
    from etude.checks.material import Material

Run = Callable[["Material"], Iterator[Finding]]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The gravest first."""
ALL: tuple[Kind, ...] = get_args(Kind)
LABELS: tuple[Kind, ...] = ("classify",)
FREE: tuple[Kind, ...] = ("answer", "rewrite")
"""Tasks whose answers are free text."""
TEXTS: tuple[Kind, ...] = ("extract", *FREE)


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding, for gates, documents and programs that read findings."""

    name: str
    severity: str
    """One of SEVERITIES, or those that its findings can have: "warning, note"."""
    what: str
    """The rows or texts that it names, as a phrase."""
    safety: bool = False
    """Whether it counts for the summary's answer on safety; else it counts for the one on quality."""

    @property
    def fixable(self) -> bool:
        """Whether `etude check --fix` can fix it."""
        return self.name in FIXED


@dataclass(frozen=True)
class Check:
    """A function that looks at the rows and yields findings, with what is known of it before it runs."""

    run: Run
    kinds: tuple[FindingKind, ...]
    """The kinds of its findings."""
    tasks: tuple[Kind, ...] = ALL
    """The kinds of task that it looks at; of others it finds nothing."""
    quick: bool = False
    """Whether it takes hardly longer than reading the rows, so that every comparison runs it."""

    @property
    def name(self) -> str:
        """The name of its function."""
        return self.run.__name__

    def __call__(self, material: Material) -> Iterator[Finding]:
        """What it finds in the rows."""
        return self.run(material) if material.task.kind in self.tasks else iter(())


def finds(*kinds: FindingKind, tasks: tuple[Kind, ...] = ALL, quick: bool = False) -> Callable[[Run], Check]:
    """Makes a Check of the function below it."""
    return lambda run: Check(run, kinds, tasks, quick)


def family(
    prefix: str, kinds: Mapping[str, str], severity: str, safety: bool = False
) -> Iterator[FindingKind]:
    """Kinds that share the beginning of their name; `kinds` maps the rest of it to what is named."""
    return (FindingKind(f"{prefix}_{name}", severity, what, safety) for name, what in kinds.items())


def names(gate: str, kind: str) -> bool:
    """Whether a gate, such as `empty` or `privacy_*`, names a kind."""
    return fnmatchcase(kind, gate)
