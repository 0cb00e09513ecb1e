"""The ladder: every method, from the lowest step to the highest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from etude.errors import Fault, InputError, shown
from etude.methods.baseline import Baseline
from etude.methods.few_shot import FewShot
from etude.methods.fine_tune import FineTune
from etude.methods.fit_context import Candidate, Method, Workshop
from etude.methods.prompt import ClearPrompt, Prompt

__all__ = ["LADDER", "Candidate", "Method", "Workshop", "asks_a_model", "ladder", "own_ladder"]

LADDER: tuple[Method, ...] = (Baseline(), Prompt(), ClearPrompt(), FewShot(), FineTune())
"""In the order of effort that a step asks of the user; named in `etude.task.LADDER`."""


def ladder(names: Sequence[str]) -> list[Method]:
    """The named methods in the order of the ladder."""
    return [method for method in LADDER if method.name in names]


def asks_a_model(methods: Iterable[Method]) -> bool:
    """Whether any of the methods may ask a language model: all but the baseline may."""
    return any(not isinstance(method, Baseline) for method in methods)


def own_ladder(methods: Sequence[Method]) -> list[Method]:
    """`methods` as they stand. Raises InputError for none, for names that cannot name a step, and for a step
    that is both tuned and prompted: what builds on it would pass for untuned."""
    if faults := [*_faults([method.name for method in methods]), *_both(methods)]:
        raise InputError(faults)
    return list(methods)


def _both(methods: Sequence[Method]) -> Iterator[Fault]:
    for method in methods:
        if method.tuned and method.prompted:
            what = "a step that changes weights is no prompt on which later steps may build"
            yield Fault("methods", what, shown(method.name), "set `prompted = False` beside `tuned = True`")


def _faults(names: Sequence[str]) -> Iterator[Fault]:
    if not names:
        yield Fault("methods", "there are none", "[]", "give at least one, such as LADDER")
    for number, name in enumerate(names):
        if not re.fullmatch(r"\w[\w-]*", name):
            yield Fault("methods", "no name for a step", shown(name), "use letters, digits, _ and -")
        elif name in names[:number]:
            yield Fault("methods", "two steps of one name", shown(name), "give each a name of its own")
