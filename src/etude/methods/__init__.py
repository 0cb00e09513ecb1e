"""The ladder: every method, from the simplest to the one that needs most effort from the user.

A new method is one file here that ends in `METHOD = ...`, and its name in
`etude.task.METHOD_NAMES`.
"""

import re
from collections.abc import Iterable, Sequence
from importlib import import_module

from etude.errors import InputError, Issue, quote_value
from etude.methods.method import Method
from etude.methods.shared.fit_context import Candidate, FitContext
from etude.task import METHOD_NAMES as NAMES
from etude.task import VERDICT_KEYS, Task
from etude.types import Example

METHODS: tuple[Method, ...] = tuple(import_module(f"{__name__}.{name}").METHOD for name in NAMES)
"""In the order of the effort that a user needs for them."""


def get_methods(names: Sequence[str]) -> list[Method]:
    """Return the methods with these names, in the order of the ladder."""
    return [method for method in METHODS if method.name in names]


def format_method(name: str) -> str:
    """Format a method's label with its name. A method of the user has only its name."""
    label = next((method.label for method in METHODS if method.name == name), "")
    return f"{label} ({name})" if label else name


def resolve_methods(methods: Sequence[Method], task: Task, *, is_explicit: bool) -> list[Method]:
    """Keep the methods for which the task has what they need, such as documents or a model with
    weights.

    Raises InputError if the methods were chosen explicitly and the task lacks a key that one of
    them needs.
    """
    # By default, a method whose requirements are missing is skipped; if the user chose it, this is
    # an error.
    remedy = "add it, or leave the method out"
    missing = {method.name: key for method in methods if (key := method.missing_key(task))}
    if missing and is_explicit:
        raise InputError(
            [
                Issue(f"methods: {name}", f"it needs {key}", "", remedy)
                for name, key in missing.items()
            ]
        )
    available = [method for method in methods if method.name not in missing]
    return [method for method in available if is_explicit or method.is_supported(task)]


def leave_out_unfit(
    methods: Sequence[Method], task: Task, rows: Sequence[Example]
) -> tuple[list[Method], list[str]]:
    """Drop the methods that cannot learn the answers of these training rows; return the others, and
    a note for each that was dropped. Raises InputError if none is left.
    """
    obstacles = {
        method.name: reason for method in methods if (reason := method.find_obstacle(task, rows))
    }
    if len(obstacles) == len(methods):
        raise InputError(
            [
                Issue(f"methods: {name}", reason, "", "choose another method")
                for name, reason in obstacles.items()
            ]
        )
    notes = [f"{name} was left out: {reason}." for name, reason in obstacles.items()]
    return [method for method in methods if method.name not in obstacles], notes


def needs_model(methods: Iterable[Method]) -> bool:
    """Whether any of the methods asks a language model."""
    return any(method.asks_model for method in methods)


def unused_keys(method: Method, task: Task) -> frozenset[str]:
    """Return the keys that do not affect how `method` is fitted: keys of the verdict and of other
    methods.
    """
    all_keys = {key for other in METHODS for key in other.keys}
    return frozenset({*all_keys, *VERDICT_KEYS} - {*method.used_keys(task)})


def check_methods(methods: Sequence[Method]) -> list[Method]:
    """Return `methods` as a list. Raises InputError with all errors: no method, invalid or
    duplicate names, and methods that are both tuned and prompted, because methods that build on
    them would count as untuned.
    """
    issues = (
        []
        if methods
        else [Issue("methods", "the list is empty", "[]", "add at least one, such as METHODS[0]")]
    )
    names = [method.name for method in methods]
    for number, method in enumerate(methods):
        name = quote_value(method.name)
        if not re.fullmatch(r"\w[\w-]*", method.name):
            issues.append(
                Issue("methods", "not a valid name", name, "use letters, digits, _ and -")
            )
        elif method.name in names[:number]:
            issues.append(
                Issue("methods", "two methods have this name", name, "give each a different name")
            )
        if method.tuned and method.prompted:
            message = "a method that changes weights cannot be a prompt that later methods build on"
            issues.append(
                Issue("methods", message, name, "set `prompted = False` next to `tuned = True`")
            )
    if issues:
        raise InputError(issues)
    return list(methods)
