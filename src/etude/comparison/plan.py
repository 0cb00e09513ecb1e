"""The plan of a comparison: how long it takes, estimated from a few timed steps, and how it is cut to a budget."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate, zip_longest
from typing import Any, NamedTuple

from etude.base.formatting import format_count
from etude.estimates.timing import Rates
from etude.methods.fit_context import Effort

FULL_EFFORT = Effort()
# Candidates and rows are cut to these numbers before the training is cut.
REDUCED_CANDIDATES, REDUCED_DEV, REDUCED_TEST = 2, 50, 400
REDUCED_SEARCH_EPOCHS = 3  # Epochs of the search encoder if the budget allows no second training of it.
# Share of a plan's time that counts as on time: a delay of the first, short methods says little about the
# others.
ON_TIME_SHARE = 0.2
OVERRUN_FACTOR = 1.1  # A run is not cut further for an overrun of up to this factor.
EVIDENCE = "evidence"  # Name of the learning curve and the extra training runs among the methods.
CURVE_DIVISORS = (4, 2)  # The learning curve has points at a quarter, a half and all of the training rows.
NUM_EXTRA_RUNS = 2  # Training runs with other seeds than the one that is used.
MIN_DEV, MIN_TRAIN, MIN_TEST = 30, 240, 100  # No plan uses fewer rows; a smaller dataset is used in full.


@dataclass(frozen=True)
class Workload:
    """The work of a comparison without a budget."""

    num_candidates: Mapping[str, int]
    """Method -> number of candidates it tries on dev, simplest method first; a method that costs nothing is absent."""
    tuned: Sequence[str]
    train: int
    dev: int
    test: int
    searching: Sequence[str] = ()
    """Methods with retrieval. The first of them trains the search."""
    all_train: int = 0
    """All training rows, if `max_rows` limits `train` to fewer."""

    evidence: bool = False
    """Whether a learning curve and extra training runs are requested."""

    def without(self, names: Sequence[str]) -> Workload:
        """Return the work without some methods."""
        return replace(
            self,
            num_candidates={name: num for name, num in self.num_candidates.items() if name not in names},
            tuned=[name for name in self.tuned if name not in names],
            searching=[name for name in self.searching if name not in names],
        )


@dataclass(frozen=True)
class Plan:
    """How much each method gets, and about how long it takes."""

    effort: Effort
    seconds: Mapping[str, float]
    """Method -> expected seconds on dev, training and test together."""
    cuts: tuple[str, ...] = ()
    """What was cut to fit the budget, in words."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Rows of train, dev and test that are used."""
    row_seconds: Mapping[str, float] = field(default_factory=dict)
    """Method -> expected seconds of a row."""
    training_seconds: Mapping[str, float] = field(default_factory=dict)
    """Method -> expected seconds of its training; of the search under "search"."""
    full_seconds: Mapping[str, float] = field(default_factory=dict)
    """Method -> expected seconds of its training on all rows in all epochs."""
    evidence_seconds: float = 0.0
    """Expected seconds of the learning curve and the extra training runs, answers included."""
    left_out: tuple[str, ...] = ()
    """Methods that are not run, to fit the budget."""

    @property
    def total(self) -> float:
        """Expected seconds of the whole comparison."""
        return math.fsum([*self.seconds.values(), self.evidence_seconds])

    def fit_seconds(self, name: str) -> float:
        """Expected seconds of a method on dev and in training."""
        return self.seconds[name] - self.row_seconds.get(name, 0.0) * self.limits["test_rows"]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as run.json stores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Plan:
        """Read what `to_dict` returned; other keys are ignored."""
        fields = {name: body[name] for name in cls.__dataclass_fields__ if name in body}
        lists = {name: tuple(fields.get(name, ())) for name in ("cuts", "left_out")}
        return cls(**fields | lists | {"effort": Effort(**body["effort"])})


def make_plan(work: Workload, rates: Rates, budget: float | None, max_effort: Effort = FULL_EFFORT) -> Plan:
    """Return the largest plan within `max_effort` that fits the budget (seconds; None: no limit), else the smallest."""
    efforts = accumulate(_list_cuts(work), lambda effort, cut: replace(effort, **cut), initial=FULL_EFFORT)
    plans = (_estimate_plan(work, rates, effort.limit_by(max_effort)) for effort in efforts)
    first = smallest = next(plans)
    if budget is None or first.total <= budget:
        return first
    for smallest in plans:
        if smallest.total <= budget:
            break
    return replace(smallest, cuts=tuple(_format_cuts(work, smallest.effort)))


def drop_methods(work: Workload, rates: Rates, budget: float) -> Plan:
    """Return the largest plan that fits without some methods.

    Untuned methods are dropped first, the slowest per row before the others, then the tuned ones, simplest first. The
    last method always stays.
    """
    left_out: list[str] = []
    plan = make_plan(work, rates, budget)
    while plan.total > budget and len(plan.seconds) > 1:
        lower = list(plan.seconds)[:-1]
        untuned = [name for name in lower if name not in work.tuned]
        left_out.append(max(untuned, key=lambda name: plan.row_seconds.get(name, 0.0), default=lower[0]))
        plan = make_plan(work.without(left_out), rates, budget)
    return replace(
        plan, left_out=tuple(left_out), cuts=(*(f"without {name}" for name in left_out), *plan.cuts)
    )


def _list_cuts(work: Workload) -> Iterator[dict[str, int]]:
    # One more cut at a time. docs/verdict.md, "The budget", lists them.
    tests = _shrink_rows(min(work.test, REDUCED_TEST), MIN_TEST)
    trains = _shrink_rows(work.train, MIN_TRAIN) if work.tuned else iter(())
    has_search = bool(work.searching)
    if work.evidence:
        yield {"evidence": 0}
    if has_search:
        yield {"search_epochs": REDUCED_SEARCH_EPOCHS}
    largest = max(work.num_candidates.values(), default=0)
    yield from ({"candidates": num} for num in range(largest - 1, REDUCED_CANDIDATES - 1, -1))
    yield from ({"dev_rows": rows} for rows in _shrink_rows(work.dev, REDUCED_DEV))
    yield from ({"test_rows": rows} for rows in _shrink_rows(work.test, REDUCED_TEST))
    yield from ({"epochs": epochs} for epochs in (2, 1) if work.tuned)
    for train, test in zip_longest(trains, tests):
        yield from ({name: rows} for name, rows in (("train_rows", train), ("test_rows", test)) if rows)
    yield {"candidates": 1}
    if has_search:
        yield {"search_epochs": 2}
    yield from ({"dev_rows": rows} for rows in _shrink_rows(min(work.dev, REDUCED_DEV), MIN_DEV))
    if has_search:
        yield {"search_epochs": 1}


def _shrink_rows(rows: int, fewest: int) -> Iterator[int]:
    while rows > fewest:
        rows = max(fewest, round(0.75 * rows))
        yield rows


def _estimate_plan(work: Workload, rates: Rates, effort: Effort) -> Plan:
    dev, train = effort.dev_rows or work.dev, effort.train_rows or work.train
    test = effort.test_rows or work.test
    trained = {name: estimate for name, estimate in rates.training.items() if name in work.num_candidates}
    training = {name: estimate(train, dev, effort.epochs) for name, estimate in trained.items()}
    all_rows = work.all_train or work.train
    full_training = {name: estimate(all_rows, work.dev, None) for name, estimate in trained.items()}
    seconds = {}
    for name, num in work.num_candidates.items():
        rows = min(num, effort.candidates or num) * dev + test
        seconds[name] = rates.answer.get(name, 0.0) * rows + training.get(name, 0.0)
    if work.searching:
        training["search"] = rates.search(effort.search_epochs)
        seconds[work.searching[0]] += training["search"]
    limits = {"train_rows": train, "dev_rows": dev, "test_rows": test}
    evidence = 0.0
    if work.evidence and effort.evidence != 0:
        evidence = max((_estimate_evidence(name, rates, limits, effort) for name in work.tuned), default=0.0)
    return Plan(effort, seconds, (), limits, rates.answer, training, full_training, evidence)


def _estimate_evidence(name: str, rates: Rates, limits: Mapping[str, int], effort: Effort) -> float:
    train, dev, estimate = limits["train_rows"], limits["dev_rows"], rates.training.get(name)
    times = {
        divisor: estimate(max(1, train // divisor), dev, effort.epochs) if estimate else 0.0
        for divisor in (1, *CURVE_DIVISORS)
    }
    full_seconds = times[1]
    # A method that no budget cuts returns the time of all rows for any number of rows.
    curve = sum(
        times[divisor] if times[divisor] < full_seconds else full_seconds / divisor
        for divisor in CURVE_DIVISORS
    )
    answers = (len(CURVE_DIVISORS) + NUM_EXTRA_RUNS) * dev + NUM_EXTRA_RUNS * limits["test_rows"]
    return curve + NUM_EXTRA_RUNS * full_seconds + rates.answer.get(name, 0.0) * answers


class FitTiming(NamedTuple):
    """How long a method took until it was fitted."""

    planned: float
    seconds: float
    row_seconds: float
    """Seconds to answer one row."""


@dataclass(frozen=True)
class Pacing:
    """Keeps a run within its budget while it runs. A resumed run keeps its last plan."""

    work: Workload
    rates: Rates
    deadline: float
    """When the budget ends (`time.monotonic`)."""

    def shorten(self, plan: Plan, next_method: str, timings: Mapping[str, FitTiming]) -> Plan:
        """Return a smaller plan for what has not started, if the methods so far were late; else the plan itself.

        `next_method` is "" before the test.
        """
        on_time = ON_TIME_SHARE * plan.total + 1e-9
        elapsed = sum(timing.seconds for timing in timings.values()) + on_time
        planned = sum(timing.planned for timing in timings.values()) + on_time
        slowdown = max(1.0, elapsed / planned)
        remaining_work = replace(
            self.work,
            num_candidates={
                name: 0 if name in timings else num for name, num in self.work.num_candidates.items()
            },
            evidence=self.work.evidence and EVIDENCE not in timings,
            searching=() if any(name in timings for name in self.work.searching) else self.work.searching,
        )
        # Measured rates of the methods that have run, as they would be without the slowdown.
        measured = {name: timing.row_seconds / slowdown for name, timing in timings.items()}
        training = {name: estimate for name, estimate in self.rates.training.items() if name not in timings}
        rates = replace(self.rates, answer={**self.rates.answer, **measured}, training=training)
        remaining = OVERRUN_FACTOR * (self.deadline - time.monotonic()) / slowdown
        shorter = make_plan(remaining_work, rates, remaining, plan.effort)
        effort = shorter.effort
        if next_method in ("", EVIDENCE):  # all methods are fitted: only the test and the evidence can be cut
            effort = replace(plan.effort, test_rows=effort.test_rows, evidence=effort.evidence)
            limits = {**plan.limits, "test_rows": shorter.limits["test_rows"]}
            shorter = replace(shorter, effort=effort, limits=limits)
        earlier_cuts = list(_format_cuts(self.work, plan.effort))
        cuts = [cut for cut in _format_cuts(self.work, effort) if cut not in earlier_cuts]
        if not cuts:
            return plan
        when = f"from {next_method} on" if next_method else "before the test was opened"
        text = f"{when}, because earlier methods took longer than planned: {', '.join(cuts)}"
        return replace(
            shorter, cuts=(*plan.cuts, text), full_seconds=plan.full_seconds, left_out=plan.left_out
        )

    def has_time(self, plan: Plan, method: str, timings: Mapping[str, FitTiming], seconds: float) -> bool:
        """Whether the running method may take so many more seconds before it answers dev."""
        limits = plan.limits
        own = plan.row_seconds.get(method, 0.0) * (limits["dev_rows"] + limits["test_rows"])
        test = sum(timing.row_seconds for timing in timings.values()) * limits["test_rows"]
        later = sum(num for name, num in plan.seconds.items() if name not in timings and name != method)
        evidence = 0.0 if EVIDENCE in timings else plan.evidence_seconds
        return time.monotonic() + seconds + own + test + later + evidence <= self.deadline


def _format_cuts(work: Workload, effort: Effort) -> Iterator[str]:
    if effort.evidence == 0:
        yield "without the learning curve and the extra training runs"
    if effort.candidates is not None:
        yield f"at most {format_count(effort.candidates, 'candidate')} a method on dev"
    if effort.dev_rows is not None and effort.dev_rows < work.dev:
        yield f"choices on {effort.dev_rows:,} of {work.dev:,} dev rows"
    if effort.epochs is not None:
        yield f"at most {format_count(effort.epochs, 'epoch')} of training"
    if effort.train_rows is not None and effort.train_rows < work.train:
        yield f"training on {effort.train_rows:,} of {work.train:,} rows"
    if effort.search_epochs is not None:
        yield f"at most {format_count(effort.search_epochs, 'epoch')} of training for the search"
    if effort.test_rows is not None and effort.test_rows < work.test:
        yield f"test on {effort.test_rows:,} of {work.test:,} rows"
