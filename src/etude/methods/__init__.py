"""The ladder: every method, from the lowest to the highest.

A new method is one file here, which ends in `METHOD`, and its name in `etude.task.LADDER`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module

from etude.errors import InputError, Issue, quote_value
from etude.methods.fit_context import Candidate, FitContext
from etude.methods.method import Method
from etude.task import METHOD_NAMES as NAMES
from etude.task import VERDICT_KEYS, Task

__all__ = [
    "METHODS",
    "Candidate",
    "FitContext",
    "Method",
    "asks_a_model",
    "ladder",
    "own_ladder",
    "possible",
    "unused_keys",
]

METHODS: tuple[Method, ...] = tuple(import_module(f"{__name__}.{name}").METHOD for name in NAMES)
"""In the order of effort that a step asks of the user."""


def ladder(names: Sequence[str]) -> list[Method]:
    """The named methods in the order of the ladder."""
    return [method for method in METHODS if method.name in names]


def possible(methods: Sequence[Method], task: Task, *, named: bool) -> list[Method]:
    """The methods for which the task names what they need, such as documents.

    The others are left out, and those for which its model has no weights to train; if they were `named` one by one,
    InputError is raised.
    """
    faults = [
        Issue(
            f"methods: {method.name}",
            f"it needs {key}",
            "",
            "add it to the task file, or leave the method out",
        )
        for method in methods
        if (key := method.missing(task))
    ]
    if faults and named:
        raise InputError(faults)
    return [method for method in methods if not method.missing(task) and (named or method.suits(task))]


def asks_a_model(methods: Iterable[Method]) -> bool:
    """Whether any of the methods asks a language model."""
    return any(method.asks_model for method in methods)


def unused_keys(method: Method, task: Task) -> frozenset[str]:
    """Keys of the task file on which what `method` fits does not depend: those of the verdict and of other methods."""
    taken = {key for each in METHODS for key in each.keys}
    return frozenset({*taken, *VERDICT_KEYS} - {*method.takes(task)})


def own_ladder(methods: Sequence[Method]) -> list[Method]:
    """`methods` as they stand. Raises InputError for none, for names that cannot name a step, and for a step
    that is both tuned and prompted: what builds on it would pass for untuned."""
    if faults := [*_faults([method.name for method in methods]), *_both(methods)]:
        raise InputError(faults)
    return list(methods)


def _both(methods: Sequence[Method]) -> Iterator[Issue]:
    for method in methods:
        if method.tuned and method.prompted:
            what = "a method that changes weights is no prompt on which later methods may build"
            yield Issue(
                "methods", what, quote_value(method.name), "set `prompted = False` beside `tuned = True`"
            )


def _faults(names: Sequence[str]) -> Iterator[Issue]:
    if not names:
        yield Issue("methods", "there are none", "[]", "give at least one, such as LADDER")
    for number, name in enumerate(names):
        if not re.fullmatch(r"\w[\w-]*", name):
            yield Issue("methods", "no name for a step", quote_value(name), "use letters, digits, _ and -")
        elif name in names[:number]:
            yield Issue("methods", "two steps of one name", quote_value(name), "give each a different name")
