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
class Fault:
    """One thing that is wrong with an input: where, what, the value we got, what to do."""

    where: str
    """`file:line`, or `file` when no line can be named."""
    what: str
    """What is wrong, as a phrase without a full stop."""
    got: str
    """The offending value, shortened for reading."""
    remedy: str
    """What to do now, as a phrase without a full stop."""
    kind: str = "unreadable"
    """Kind of finding that the fault is among the results of a check."""

    def __str__(self) -> str:
        got = f" (got {self.got})" if self.got else ""
        return f"{self.where}: {self.what}{got}. {self.remedy}."


def place_of(where: str) -> tuple[str, int]:
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

    def __init__(self, faults: Iterable[Fault], count: int | None = None) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        assert self.faults, "an InputError names at least one fault"
        self.count = len(self.faults) if count is None else count
        super().__init__("\n".join(str(fault) for fault in self.faults))


class MissingExtraError(EtudeError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra '{extra}'. Run: pip install 'etude[{extra}]'")


class ModelError(EtudeError, RuntimeError):
    """Weights cannot be found, read or run."""


class FormError(ModelError):
    """A form that was asked for cannot be enforced."""


class Diverged(ModelError):  # noqa: N818 - what became of a training
    """The loss of a training is a spike or no number. Every process that trains raises it at the same step."""


class RunError(EtudeError, RuntimeError):
    """A run folder cannot be read, continued or written."""


class Parted(EtudeError, RuntimeError):  # noqa: N818 - the fault is another process's
    """Another of the processes that train together has ended; that one says why."""


class Declined(EtudeError):  # noqa: N818 - an answer, not a fault
    """The user was asked whether to go on, and said no."""

    exit_code = 1


def shown(value: object, limit: int = 80) -> str:
    """`value` as it stands in a message: quoted, on one line, at most `limit` characters long."""
    return _short(repr(value), limit)


def shown_setting(value: object, limit: int = 80) -> str:
    """`shown` for what a task file may hold: a text in quotes, all else as YAML and JSON write it."""
    text = shown(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return _short(text, limit)


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
