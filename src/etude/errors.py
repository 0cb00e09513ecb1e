"""All errors that users can see, as one tree.

    EtudeError                     anything Étude raises on purpose
    ├── InputError  (ValueError)          the user's input is wrong; has every error of the input
    ├── MissingExtraError (ImportError)   an optional dependency is missing; names the pip command
    ├── ModelError  (RuntimeError)        weights cannot be found, read or run
    │   ├── GrammarError                  a grammar cannot be enforced
    │   ├── ServiceError                  a service does not answer, or a limit on it is reached
    │   └── TrainingDiverged              the loss of a training jumped or is NaN
    ├── RunError    (RuntimeError)        a run folder cannot be read, resumed or written
    └── Declined                          the user answered a question with no

A message is one sentence on what was wrong, the value that Étude got, and what to do now. A failed
`assert` is a bug in Étude and never replaces one of these.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from typing import Self


@dataclass(frozen=True, slots=True)
class Issue:
    """One error in an input: location, message, the value that Étude got, and what to do."""

    location: str
    """`file:line`, or `file` if there is no line."""
    message: str
    """The error, as a phrase without a full stop."""
    value: str
    """The offending value, shortened for reading."""
    remedy: str
    """What to do now, as a phrase without a full stop."""
    kind: str = "unreadable"
    """Kind of the finding, if a check of the data reports the issue."""

    def __str__(self) -> str:
        value = f" (got {self.value})" if self.value else ""
        first = self.remedy.partition(" ")[0]
        # A command, a key or a quotation at the beginning stays as it is written.
        is_word = first.isalpha() and first not in ("etude", "pip")
        remedy = self.remedy[:1].upper() + self.remedy[1:] if is_word else self.remedy
        return f"{self.location}: {self.message}{value}. {remedy}."


def parse_location(location: str) -> tuple[str, int]:
    """Parse `file:line` to file and line (from 1), for sorting; the line is 0 if there is none.
    What stands in brackets after the line, the row of a spreadsheet, is left out.
    """
    place, _, _ = location.partition(" (row ")
    file, _, line = place.rpartition(":")
    return file, int(line) if line.isdecimal() else 0


class EtudeError(Exception):
    """Base of everything Étude raises on purpose. `exit_code` is what the command line returns."""

    exit_code = 2

    def __reduce__(self) -> tuple[object, ...]:
        """Copy without `__init__`, whose arguments are not those of the message, when a worker
        sends the error.
        """
        return _restore_error, (type(self), self.args), self.__dict__


def _restore_error(kind: type[EtudeError], arguments: tuple[object, ...]) -> EtudeError:
    return kind.__new__(kind, *arguments)


class InputError(EtudeError, ValueError):
    """The user's input is wrong. `issues` lists all errors, not only the first; `count` is their
    number if `issues` does not contain every one.
    """

    def __init__(self, issues: Iterable[Issue], count: int | None = None) -> None:
        self.issues: tuple[Issue, ...] = tuple(issues)
        assert self.issues, "an InputError has at least one issue"
        self.count = len(self.issues) if count is None else count
        super().__init__("\n".join(str(issue) for issue in self.issues))

    @classmethod
    def of(
        cls,
        location: str,
        message: str,
        value: str = "",
        remedy: str = "",
        kind: str = "unreadable",
    ) -> Self:
        """Build the error of a single issue."""
        return cls([Issue(location, message, value, remedy, kind)])


class MissingExtraError(EtudeError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra '{extra}'. Run: {format_install(extra)}")


def format_install(extra: str) -> str:
    """Format the command that installs an extra."""
    return f"pip install {_find_source()}[{extra}]'"


def _find_source() -> str:
    """Return the opening quote and what pip installs: this package, or for a checkout its
    folder.
    """
    with suppress(metadata.PackageNotFoundError, ValueError, KeyError):
        origin = json.loads(metadata.distribution("etude").read_text("direct_url.json") or "{}")
        if origin["dir_info"].get("editable"):
            return f"-e '{origin['url'].removeprefix('file://')}"
    return "'etude"


class ModelError(EtudeError, RuntimeError):
    """Weights cannot be found, read or run."""


class GrammarError(ModelError):
    """A requested grammar cannot be enforced."""


class TrainingDiverged(ModelError):  # noqa: N818 - an event, not an error of the code
    """The loss of a training jumped or is NaN. Every training process raises it at the same
    step.
    """


class ServiceError(ModelError):
    """A service does not answer, or a limit on requests or cost is reached: the same for every
    method that asks it.
    """


class RunError(EtudeError, RuntimeError):
    """A run folder cannot be read, resumed or written."""


RUN_REMEDY = (
    "Delete the run's folder and run the same command again, or add --fresh to it: `etude compare "
    "TASK --fresh`, `etude train TASK --fresh`."
)
"""The remedy for an unreadable file of a run."""


class Declined(EtudeError):  # noqa: N818 - an answer, not an error
    """The user answered a question with no."""

    exit_code = 1


def quote_value(value: object, limit: int = 80) -> str:
    """Quote `value` for a message: on one line, at most `limit` characters long."""
    return _truncate(repr(value), limit)


def quote_setting(value: object, limit: int = 80) -> str:
    """Like `quote_value` for values of a task file: a text in quotes, other values as YAML and JSON
    write them.
    """
    text = (
        quote_value(value)
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, default=repr)
    )
    return _truncate(text, limit)


def _truncate(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


STOPPING_ERRORS = (InputError, RunError, Declined, ServiceError, OSError)
"""Errors that stop a comparison: every method would raise them, or only the user can correct
them.
"""
