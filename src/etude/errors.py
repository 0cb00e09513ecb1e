"""Every error a user can meet, as one tree.

    EtudeError                     anything Étude raises on purpose
    ├── InputError  (ValueError)   the user's input is wrong; carries every fault of the input at once
    ├── MissingExtraError (ImportError)   an optional dependency is absent; names the pip command
    ├── ModelError  (RuntimeError) weights cannot be found, read or run
    │   ├── FormError              a form that was asked for cannot be enforced
    │   └── Diverged               a training whose loss is a spike or no number; all its processes raise it
    ├── RunError    (RuntimeError) a run folder cannot be read, continued or written
    ├── Parted      (RuntimeError) another of the processes that train together has ended
    └── Declined                   the user was asked whether to go on, and said no

A message is one sentence on what was wrong, the value we got, and what to do now. A failed
`assert` is a bug of Étude's own and never stands for one of these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with an input: where, what, the value we got, what to do."""

    location: str
    """`file:line`, or `file` when no line can be named."""
    message: str
    """What is wrong, as a phrase without a full stop."""
    value: str
    """The offending value, shortened for reading."""
    remedy: str
    """What to do now, as a phrase without a full stop."""
    kind: str = "unreadable"
    """Kind of finding that the fault is among the results of a check."""

    def __str__(self) -> str:
        got = f" (got {self.value})" if self.value else ""
        return f"{self.location}: {self.message}{got}. {self.remedy}."


def parse_location(where: str) -> tuple[str, int]:
    """The file and the line, from 1, of a `file:line`, by which places are put in order; 0 where no line is named."""
    file, _, line = where.rpartition(":")
    return file, int(line) if line.isdecimal() else 0


class EtudeError(Exception):
    """Base of everything Étude raises on purpose. `exit_code` is what the command line returns."""

    exit_code = 2


class InputError(EtudeError, ValueError):
    """The user's input is wrong. `faults` lists everything that is wrong with it, not only the first.

    `count` is the number of things that are wrong where `faults` does not spell out every one.
    """

    def __init__(self, issues: Iterable[Issue], count: int | None = None) -> None:
        self.issues: tuple[Issue, ...] = tuple(issues)
        assert self.issues, "an InputError names at least one fault"
        self.count = len(self.issues) if count is None else count
        super().__init__("\n".join(str(fault) for fault in self.issues))


class MissingExtraError(EtudeError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra '{extra}'. Run: pip install 'etude[{extra}]'")


class ModelError(EtudeError, RuntimeError):
    """Weights cannot be found, read or run."""


class GrammarError(ModelError):
    """A form that was asked for cannot be enforced."""


class TrainingDiverged(ModelError):  # noqa: N818 - what became of a training
    """The loss of a training is a spike or no number. Every process that trains raises it at the same step."""


class RunError(EtudeError, RuntimeError):
    """A run folder cannot be read, continued or written."""


class WorkerExited(EtudeError, RuntimeError):  # noqa: N818 - the fault is another process's
    """Another of the processes that train together has ended; that one says why."""


class Declined(EtudeError):  # noqa: N818 - an answer, not a fault
    """The user was asked whether to go on, and said no."""

    exit_code = 1


def quote_value(value: object, limit: int = 80) -> str:
    """`value` as it stands in a message: quoted, on one line, at most `limit` characters long."""
    return _truncate(repr(value), limit)


def quote_setting(value: object, limit: int = 80) -> str:
    """`shown` for what a task file may hold: a text in quotes, all else as YAML and JSON write it."""
    text = (
        quote_value(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    )
    return _truncate(text, limit)


def _truncate(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
