"""The plan of a comparison: what it will take, from a few timed steps, and how it is cut to a budget."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from etude.methods.fit_context import Effort
from etude.methods.timing import Rates

FEWEST_CANDIDATES = 2
FEWEST_DEV, FEWEST_TRAIN, FEWEST_TEST = 50, 300, 100
"""Rows below which a cut plan does not go; a data set that is smaller is used whole."""
TRAIN_SHARES = (0.75, 0.5, 0.375, 0.25)
TEST_SHARES = (0.75, 0.5, 0.25)


@dataclass(frozen=True)
class Workload:
    """What there would be to do without a budget."""

    tries: Mapping[str, int]
    """Method -> candidates it would try on dev; a method that costs nothing is absent."""
    tuned: Sequence[str]
    train: int
    dev: int
    test: int


@dataclass(frozen=True)
class Plan:
    """What will be done, and about how long each method takes."""

    effort: Effort
    test_rows: int | None
    """Test rows answered; None for all."""
    seconds: Mapping[str, float]
    """Method -> expected seconds on dev, training and test together."""
    shrunk: tuple[str, ...] = ()
    """What was cut to fit the budget, in words."""
    limits: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Expected seconds of the whole comparison."""
        return math.fsum(self.seconds.values())

    def to_dict(self) -> dict[str, Any]:
        """As it stands in run.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Plan:
        """Reads what `to_dict` gave."""
        effort, shrunk = Effort(**body["effort"]), tuple(body["shrunk"])
        return cls(effort, body["test_rows"], body["seconds"], shrunk, body["limits"])


def make_plan(work: Workload, rates: Rates, budget: float | None) -> Plan:
    """The fullest plan that fits the budget (seconds; None: no limit), or the smallest one.

    Cut in this order: candidates on dev and the dev rows they are compared on, epochs, training rows, test rows.
    """
    plans = (_priced(work, rates, effort, test) for effort, test in _cuts(work))
    first = smallest = next(plans)
    if budget is None or first.total <= budget:
        return first
    for smallest in plans:
        if smallest.total <= budget:
            break
    return replace(smallest, shrunk=tuple(_words(work, smallest)))


def _cuts(work: Workload) -> Iterator[tuple[Effort, int | None]]:
    """Ever smaller efforts, each step cutting one thing further."""
    effort = Effort()
    yield effort, None
    for candidates in range(max(work.tries.values(), default=0) - 1, FEWEST_CANDIDATES - 1, -1):
        effort = replace(effort, candidates=candidates)
        yield effort, None
    for share in (0.5, 0.25):
        effort = replace(effort, dev_rows=_share(work.dev, share, FEWEST_DEV))
        yield effort, None
    for epochs in (2, 1) if work.tuned else ():
        effort = replace(effort, epochs=epochs)
        yield effort, None
    for share in TRAIN_SHARES if work.tuned else ():
        effort = replace(effort, train_rows=_share(work.train, share, FEWEST_TRAIN))
        yield effort, None
    for share in TEST_SHARES:
        yield effort, _share(work.test, share, FEWEST_TEST)


def _share(rows: int, share: float, fewest: int) -> int:
    return min(rows, max(fewest, round(rows * share)))


def _priced(work: Workload, rates: Rates, effort: Effort, test_rows: int | None) -> Plan:
    dev = effort.dev_rows or work.dev
    test = test_rows or work.test
    seconds = {}
    for method, tries in work.tries.items():
        seconds[method] = rates.answer * (min(tries, effort.candidates or tries) * dev + test)
        if training := rates.training.get(method):
            seconds[method] += training(effort.train_rows or work.train, dev, effort.epochs)
    limits = {"train_rows": effort.train_rows or work.train, "dev_rows": dev, "test_rows": test}
    return Plan(effort, test_rows, seconds, limits=limits)


def _words(work: Workload, plan: Plan) -> Iterator[str]:
    effort = plan.effort
    if effort.candidates is not None:
        yield f"at most {effort.candidates} candidates a method on dev"
    if effort.dev_rows is not None and effort.dev_rows < work.dev:
        yield f"choices on {effort.dev_rows:,} of {work.dev:,} dev rows"
    if effort.epochs is not None:
        yield f"at most {effort.epochs} epoch{'s' if effort.epochs > 1 else ''} of training"
    if effort.train_rows is not None and effort.train_rows < work.train:
        yield f"training on {effort.train_rows:,} of {work.train:,} rows"
    if plan.test_rows is not None and plan.test_rows < work.test:
        yield f"test on {plan.test_rows:,} of {work.test:,} rows"
