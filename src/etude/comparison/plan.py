"""The plan of a comparison under a budget: how many rows, candidates, epochs and seconds each method may use.

Methods that need little time are never cut. The others share the time: a fifth is reserved for the test, and each
method gets a share of the rest when it starts, computed from the time that is left then. Time that a method does not
use goes to the methods after it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from etude.base.formatting import format_count, format_names, format_rough_time
from etude.methods.method import TrainingTime
from etude.methods.shared.fit_context import Effort
from etude.stats.racing import FIRST_BLOCK

CHEAP_SHARE, LIGHT_SHARE = 0.05, 0.3
"""A method that takes at most this share of the budget on all rows is never cut. The second share is for methods
without a language model."""
TEST_TIME_SHARE = 0.2
"""Share of the other methods' time that is reserved for the test."""
TUNED_WEIGHT, SEARCH_WEIGHT = 4.0, 2.0
"""Weights when time is shared: of training a model, and of training the search. A prompt has weight 1."""
BLOCK_ROWS = 50
"""Test rows that a method answers before it is the next method's turn."""
MIN_DEV, MIN_TRAIN = FIRST_BLOCK, 100
"""The smallest useful share: one candidate on this many dev rows, and one epoch on this many training rows."""
ENOUGH_DEV = 50
"""Dev rows are cut to this number before candidates, epochs and training rows are cut."""
BEATEN_SHARE, MIN_BEATEN_ROWS = 0.02, 12
"""A method that is clearly worse on dev answers test rows for this share of the budget, at least 12 rows and at most
one block: enough to show how much worse it is."""
EVIDENCE = "evidence"
CURVE_DIVISORS = (4, 2)
"""The learning curve has points at a quarter, a half and all of the training rows."""
NUM_EXTRA_RUNS = 2
"""Training runs with other seeds than the one that is used."""
FULL_EFFORT = Effort()
FULL_EFFORTS: Mapping[str, Effort] = {}

SearchTime = Callable[[int | None], float]
"""(most epochs or None) -> seconds of fitting the search."""


@dataclass(frozen=True)
class MethodWork:
    """The work of a method without a budget, and how long it takes on this machine."""

    name: str
    num_candidates: int = 1
    row_seconds: float = 0.0
    """Seconds to answer one row."""
    training: TrainingTime | None = None
    """(rows, dev rows, most epochs) -> seconds of its training; None if it trains nothing."""
    search: SearchTime | None = None
    """Seconds of fitting the search; only for the first method that needs it, because that one fits it."""
    has_epochs: bool = False
    """Whether a language model is trained, in epochs that can be cut."""
    same_rows_as: str = ""
    """The method whose training rows it uses, because it builds on what that method fitted."""
    is_light: bool = False
    """Whether it asks no language model."""
    is_boxed: bool = False
    """Whether its training is limited in seconds and not in rows, because its search is trained on all rows anyway."""

    @property
    def weight(self) -> float:
        """Its weight when time is shared."""
        return (TUNED_WEIGHT if self.training else 1.0) + (SEARCH_WEIGHT if self.search else 0.0)


@dataclass(frozen=True)
class Workload:
    """The work of a comparison without a budget."""

    methods: Mapping[str, MethodWork]
    """Simplest first."""
    train: int
    dev: int
    test: int
    all_train: int = 0
    """All training rows, if `max_rows` limits `train` to fewer."""
    evidence_for: Sequence[str] = ()
    """The tuned methods, if evidence is requested; it is collected for one of them."""

    def without(self, names: Collection[str]) -> Workload:
        """Return the work without some methods."""
        kept = {name: method for name, method in self.methods.items() if name not in names}
        # The next method that needs the search fits it.
        free_search = next((self.methods[name].search for name in names if self.methods[name].search), None)
        next_searching = next((name for name in self.searching if name in kept), None)
        if free_search and next_searching:
            kept[next_searching] = replace(kept[next_searching], search=free_search)
        tuned = [name for name in self.evidence_for if name not in names]
        return replace(self, methods=kept, evidence_for=tuned)

    searching: Sequence[str] = ()
    """Methods that need the search."""

    def update_row_seconds(self, measured: Mapping[str, float]) -> Workload:
        """Return the work with the seconds per row that were measured on dev."""
        known = {name: seconds for name, seconds in measured.items() if name in self.methods}
        updated = {name: replace(self.methods[name], row_seconds=seconds) for name, seconds in known.items()}
        return replace(self, methods={**self.methods, **updated})

    def count_dev_seconds(self, name: str, effort: Effort) -> float:
        """Seconds of answering dev with all candidates."""
        method = self.methods[name]
        candidates = min(method.num_candidates, effort.candidates or method.num_candidates)
        return candidates * min(self.dev, effort.dev_rows or self.dev) * method.row_seconds

    def count_training_seconds(self, name: str, effort: Effort) -> float:
        """Seconds of its training, without that of the search."""
        training = self.methods[name].training
        rows, dev = effort.train_rows or self.train, effort.dev_rows or self.dev
        return min(training(rows, dev, effort.epochs), effort.box or math.inf) if training else 0.0

    def count_fit_seconds(self, name: str, effort: Effort) -> float:
        """Seconds until a method is fitted: search, training and dev."""
        search = self.methods[name].search
        seconds = self.count_training_seconds(name, effort) + self.count_dev_seconds(name, effort)
        return seconds + (search(effort.search_epochs) if search else 0.0)

    def count_test_seconds(self, names: Collection[str], rows: int) -> float:
        """Seconds that these methods need to answer this many test rows."""
        return sum(self.methods[name].row_seconds for name in names) * min(rows, self.test)

    def count_whole_seconds(self, name: str) -> float:
        """Seconds of a method that is not cut."""
        return self.count_fit_seconds(name, FULL_EFFORT) + self.count_test_seconds([name], self.test)

    def answers_fast(self, name: str, budget: float) -> bool:
        """Whether answering all test rows takes little of the budget, however the training is cut."""
        return self.count_test_seconds([name], self.test) <= CHEAP_SHARE * budget

    def count_least_seconds(self, name: str, budget: float) -> float:
        """Seconds of a method with the smallest useful share, its test included."""
        (*_, least) = iter_efforts(self, name)
        test_rows = self.count_least_rows(name, budget)
        return self.count_fit_seconds(name, least) + self.count_test_seconds([name], test_rows)

    def count_least_rows(self, name: str, budget: float) -> int:
        """Test rows that are reserved for a method: all if it answers fast, else what shows how much worse it is."""
        return self.test if self.answers_fast(name, budget) else self.count_beaten_rows(name, budget)

    def count_beaten_rows(self, name: str, budget: float) -> int:
        """Count the test rows of a method that is clearly worse on dev, by the time that they take."""
        seconds = self.methods[name].row_seconds
        rows = int(BEATEN_SHARE * budget / seconds) if seconds > 0 else BLOCK_ROWS
        return min(self.test, BLOCK_ROWS, max(MIN_BEATEN_ROWS, rows))

    def find_cheap(self, budget: float | None) -> tuple[str, ...]:
        """Find the methods that are never cut: those that need little of the budget; without a budget, all."""
        if budget is None:
            return tuple(self.methods)
        limits = {True: LIGHT_SHARE * budget, False: CHEAP_SHARE * budget}
        return tuple(
            name
            for name, method in self.methods.items()
            if self.count_whole_seconds(name) <= limits[method.is_light]
        )


def iter_efforts(work: Workload, name: str) -> Iterator[Effort]:
    """Yield the efforts of a method, from the full one to the smallest useful one; each is cut in one more way."""
    effort = FULL_EFFORT
    yield effort
    for cut in _iter_cuts(work, work.methods[name]):
        effort = replace(effort, **cut)
        yield effort


def _iter_cuts(work: Workload, method: MethodWork) -> Iterator[dict[str, Any]]:
    # docs/verdict.md, "The budget", lists them.
    candidates = list(range(method.num_candidates - 1, 0, -1))
    if method.search:
        yield {"search_epochs": 3}
    yield from ({"dev_rows": rows} for rows in _shrink(work.dev, ENOUGH_DEV))
    if not method.training:
        # Fewer dev rows before fewer candidates: a race skips most rows of weak candidates anyway.
        yield from ({"dev_rows": rows} for rows in _shrink(min(work.dev, ENOUGH_DEV), MIN_DEV))
    yield from ({"candidates": num} for num in candidates if num > 1)
    if method.has_epochs:
        yield from ({"epochs": epochs} for epochs in (4, 3, 2, 1))
    if method.search:
        yield {"search_epochs": 2}
    if training := method.training:
        fewer_rows, dev_rows = _shrink(work.train, MIN_TRAIN, 0.95), min(work.dev, ENOUGH_DEV)
        for rows in fewer_rows:
            seconds = training(rows, dev_rows, 1)
            yield {"box": seconds, "box_rows": rows} if method.is_boxed else {"train_rows": rows}
        yield from ({"dev_rows": rows} for rows in _shrink(min(work.dev, ENOUGH_DEV), MIN_DEV))
    yield from ({"candidates": num} for num in candidates if num == 1)
    if method.search:
        yield {"search_epochs": 1}


def _shrink(rows: int, fewest: int, factor: float = 0.75) -> Iterator[int]:
    while rows > fewest:
        rows = max(fewest, int(factor * rows))
        yield rows


def split_time(seconds: float, claims: Mapping[str, tuple[float, float, float]]) -> dict[str, float]:
    """Split seconds among `claims` of (least, most, weight). Each gets its least; the rest is shared by weight among
    those that can use it. The sum exceeds `seconds` only if the sum of all least values does."""
    shares = {name: least for name, (least, _, _) in claims.items()}
    rest = seconds - sum(shares.values())
    unfilled = [name for name, (least, most, _) in claims.items() if most > least]
    while unfilled and rest > 0:
        unit = rest / sum(claims[name][2] for name in unfilled)
        filled = [name for name in unfilled if claims[name][1] - shares[name] <= unit * claims[name][2]]
        for name in filled or unfilled:
            share = claims[name][1] if filled else shares[name] + unit * claims[name][2]
            rest -= share - shares[name]
            shares[name] = share
        unfilled = [name for name in unfilled if name not in filled] if filled else []
    return shares


@dataclass(frozen=True)
class Allotment:
    """Shares the time of a budget among methods, one after another."""

    work: Workload
    budget: float
    """Seconds for all methods and their test, when the first one starts."""
    cheap: Collection[str]
    evidence_seconds: float = 0.0
    beaten: Collection[str] = ()
    """Methods that were dropped from the race while they answered dev."""

    def choose_effort(
        self, name: str, to_come: Sequence[str], left: float, chosen: Mapping[str, Effort] = FULL_EFFORTS
    ) -> Effort:
        """Choose what a method may use. `to_come`: the methods that are not fitted yet, including this one; `left`:
        seconds for all of these and the test of all methods; `chosen`: efforts of the fitted methods."""
        if name in self.cheap:
            return FULL_EFFORT
        work = self.work
        others = [other for other in to_come if other in self.cheap]
        free = left - self.evidence_seconds - self.count_kept_for_test()
        free -= sum(work.count_fit_seconds(other, FULL_EFFORT) for other in others)
        claims = {}
        for other in to_come:
            if other not in self.cheap:
                (*_, least) = iter_efforts(work, other)
                fewest, most = (work.count_fit_seconds(other, effort) for effort in (least, FULL_EFFORT))
                claims[other] = (fewest, most, work.methods[other].weight)
        shares = split_time(free, claims)
        rows = chosen.get(work.methods[name].same_rows_as, FULL_EFFORT).train_rows
        effort = self._fit_into(name, shares[name], rows)
        if not work.methods[name].has_epochs:
            return effort
        # A training that takes longer than planned may use at most half of the spare time.
        spare = max(0.0, free - sum(shares.values())) / 2
        planned = work.count_training_seconds(name, effort)
        unused = shares[name] - work.count_fit_seconds(name, effort)
        return replace(effort, box=math.floor(10 * (planned + max(0.0, unused) + spare)) / 10)

    def _fit_into(self, name: str, seconds: float, rows: int | None = None) -> Effort:
        """Choose the largest effort that takes at most `seconds`, else the smallest. `rows`: training rows, if
        fixed."""
        for effort in iter_efforts(self.work, name):
            effort = effort if rows is None else replace(effort, train_rows=rows)
            if self.work.count_fit_seconds(name, effort) <= seconds * (1 + 1e-9):
                break
        return effort

    def count_kept_for_test(self) -> float:
        """Seconds that are reserved for the test of all methods."""
        work = self.work
        cuttable = [name for name in work.methods if name not in self.cheap]
        cheap_test = work.count_test_seconds(self.cheap, work.test)
        seconds_for_cuttable = self.budget - sum(work.count_whole_seconds(name) for name in self.cheap)
        least = sum(
            work.methods[name].row_seconds
            * (work.count_beaten_rows if name in self.beaten else work.count_least_rows)(name, self.budget)
            for name in cuttable
        )
        share = max(least, TEST_TIME_SHARE * seconds_for_cuttable)
        return cheap_test + min(share, work.count_test_seconds(cuttable, work.test))

    def answers_whole_test(self, name: str) -> bool:
        """Whether a method answers all test rows, because this takes little of the budget."""
        return name in self.cheap or self.work.answers_fast(name, self.budget)

    def count_beaten_rows(self, name: str) -> int:
        """Count the test rows of a method that is clearly worse on dev."""
        return self.work.count_beaten_rows(name, self.budget)

    def count_test_rows(self, names: Collection[str], left: float) -> int:
        """Count the test rows that the slow ones of these methods can answer in `left` seconds: whole blocks, or a
        shorter first block of at least `MIN_BEATEN_ROWS`. `left` is without the time of the other methods."""
        slow = [name for name in names if not self.answers_whole_test(name)]
        seconds = self.work.count_test_seconds(slow, 1)
        rows = self.work.test if seconds <= 0 else min(self.work.test, int(max(0.0, left) / seconds + 1e-9))
        whole_blocks = rows if rows == self.work.test else rows - rows % BLOCK_ROWS
        return whole_blocks or min(self.work.test, max(MIN_BEATEN_ROWS, rows))


@dataclass(frozen=True)
class Plan:
    """An estimate of what each method may use and how long it takes. A method's effort is fixed only when it starts."""

    efforts: Mapping[str, Effort] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Method -> expected seconds until it is fitted."""
    test_rows: int = 0
    """Test rows that the methods that are not cheap will probably answer."""
    test_seconds: float = 0.0
    cheap: tuple[str, ...] = ()
    """Methods that are never cut."""
    training_seconds: Mapping[str, float] = field(default_factory=dict)
    """Method -> expected seconds of its training; of the search under "search"."""
    full_seconds: Mapping[str, float] = field(default_factory=dict)
    """Method -> expected seconds of its training on all rows in all epochs."""
    evidence_seconds: float = 0.0
    """Expected seconds of the learning curve and the extra training runs, answers included."""
    left_out: tuple[str, ...] = ()
    """Methods that are not run, to fit the budget."""
    budget: float | None = None
    """Seconds for methods and test; None without a budget."""

    @property
    def total(self) -> float:
        """Expected seconds of all methods, the test and the evidence."""
        return math.fsum([*self.seconds.values(), self.test_seconds, self.evidence_seconds])

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as run.json stores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Plan:
        """Read what `to_dict` returned; other keys are ignored."""
        fields = {name: body[name] for name in cls.__dataclass_fields__ if name in body}
        efforts = {name: Effort(**effort) for name, effort in fields.get("efforts", {}).items()}
        lists = {name: tuple(fields.get(name, ())) for name in ("cheap", "left_out")}
        return cls(**fields | lists | {"efforts": efforts})


def make_plan(work: Workload, budget: float | None) -> Plan:
    """Make the plan for a budget (seconds for methods and test; None: no limit). It exceeds the budget only if the
    smallest useful shares of all methods together do."""
    cheap, names = work.find_cheap(budget), list(work.methods)
    whole = math.fsum(work.count_whole_seconds(name) for name in names)
    evidence = max((_count_evidence_seconds(work, name) for name in work.evidence_for), default=0.0)
    if budget is not None and whole + evidence > budget:
        evidence = 0.0
    efforts, seconds = dict[str, Effort](), dict[str, float]()
    left = math.inf if budget is None else budget
    allotment = Allotment(work, left, cheap, evidence)
    for position, name in enumerate(names):
        to_come = names[position:]
        efforts[name] = FULL_EFFORT
        if budget is not None:
            efforts[name] = allotment.choose_effort(name, to_come, left, efforts)
        seconds[name] = work.count_fit_seconds(name, efforts[name])
        left -= seconds[name]
    fast = [name for name in names if allotment.answers_whole_test(name)]
    fast_seconds = work.count_test_seconds(fast, work.test)
    rows = work.test if budget is None else allotment.count_test_rows(names, left - evidence - fast_seconds)
    slow = [name for name in names if name not in fast]
    training = {name: work.count_training_seconds(name, efforts[name]) for name in names}
    training = {name: value for name, value in training.items() if value}
    for name, method in work.methods.items():
        if method.search:
            training["search"] = method.search(efforts[name].search_epochs)
    full = replace(work, train=work.all_train or work.train)
    return Plan(
        efforts,
        seconds,
        rows,
        fast_seconds + work.count_test_seconds(slow, rows),
        cheap,
        training,
        {name: full.count_training_seconds(name, FULL_EFFORT) for name in names if name in training},
        evidence,
        budget=budget,
    )


def drop_methods(work: Workload, budget: float) -> Plan:
    """Make the plan without some methods, so that each of the others gets at least the smallest useful share.

    Untuned methods are dropped before tuned ones, and slower ones before faster ones. The last method of the ladder is
    dropped only for light ones that would be dropped otherwise; cheap methods are never dropped.
    """
    left_out: list[str] = []
    plan = make_plan(work, budget)
    while plan.total > budget * (1 + 1e-9):
        rest = work.without(left_out)
        *earlier, last = rest.methods
        cuttable = [name for name in earlier if name not in plan.cheap]
        if not cuttable:
            break
        heavy = [name for name in cuttable if not rest.methods[name].is_light]
        untuned = [name for name in heavy if not rest.methods[name].training]
        dear_last = [last] if last not in plan.cheap and not rest.methods[last].is_light else []
        to_drop = untuned or heavy or dear_last or cuttable
        left_out.append(max(to_drop, key=lambda name: rest.count_least_seconds(name, budget)))
        plan = make_plan(work.without(left_out), budget)
    return replace(plan, left_out=tuple(left_out))


def count_least_seconds(work: Workload, budget: float) -> float:
    """Count the seconds that the smallest useful shares of all methods take; cheap methods are counted in full."""
    cheap = work.find_cheap(budget)
    return math.fsum(
        work.count_whole_seconds(name) if name in cheap else work.count_least_seconds(name, budget)
        for name in work.methods
    )


def _count_evidence_seconds(work: Workload, name: str) -> float:
    training, train, dev = work.methods[name].training, work.train, work.dev
    times = {
        divisor: training(max(1, train // divisor), dev, None) if training else 0.0
        for divisor in (1, *CURVE_DIVISORS)
    }
    full_seconds = times[1]
    # A method that cannot be cut reports the time of all rows, whatever the number of rows.
    curve = sum(
        times[divisor] if times[divisor] < full_seconds else full_seconds / divisor
        for divisor in CURVE_DIVISORS
    )
    answers = (len(CURVE_DIVISORS) + NUM_EXTRA_RUNS) * dev + NUM_EXTRA_RUNS * work.test
    return curve + NUM_EXTRA_RUNS * full_seconds + work.methods[name].row_seconds * answers


@dataclass
class Timekeeper:
    """The clock of a run under a budget: what each method may use when it starts, and how long the test lasts."""

    allotment: Allotment
    deadline: float
    """When methods and test end, by `clock`."""
    clock: Callable[[], float] = time.monotonic
    row_seconds: dict[str, float] = field(default_factory=dict)
    """Method -> seconds of a row, as it took on dev."""
    beaten: set[str] = field(default_factory=set)
    """Methods that were dropped from the race while they answered dev."""

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - self.clock()

    @property
    def measured(self) -> Allotment:
        """The allotment with the speeds that were measured on dev."""
        work = self.allotment.work.update_row_seconds(self.row_seconds)
        return replace(self.allotment, work=work, beaten=frozenset(self.beaten))

    def choose_effort(self, name: str, to_come: Sequence[str], chosen: Mapping[str, Effort]) -> Effort:
        """Choose what a method that starts now may use."""
        return self.measured.choose_effort(name, to_come, self.left, chosen)

    def count_test_rows(self, names: Collection[str], other_seconds: float = 0.0) -> int:
        """Count the test rows for which there is time, besides `other_seconds` for other methods; even if the time is
        over, 5% of the budget is used."""
        allotment = self.measured
        seconds = max(self.left - other_seconds, CHEAP_SHARE * allotment.budget)
        return allotment.count_test_rows(names, seconds)


def describe_effort(work: Workload | None, name: str, effort: Effort, sizes: Mapping[str, int]) -> str:
    """Describe how a method's effort was cut; "" if it was not. `sizes`: rows of train and dev."""
    method = work.methods.get(name) if work else None
    parts = []
    if effort.train_rows is not None and effort.train_rows < sizes["train"]:
        parts.append(f"learns from {effort.train_rows:,} of {sizes['train']:,} rows")
    if effort.epochs is not None and (method is None or (method.has_epochs and not method.is_boxed)):
        parts.append(f"at most {format_count(effort.epochs, 'epoch')}")
    if method and method.is_boxed and effort.box is not None and effort.epochs is not None:
        parts.append(f"trained for at most {format_rough_time(effort.box)}")
    if effort.search_epochs is not None:
        parts.append(f"at most {format_count(effort.search_epochs, 'epoch')} of training for the search")
    if effort.candidates is not None:
        parts.append(f"at most {format_count(effort.candidates, 'candidate')}")
    if effort.dev_rows is not None and effort.dev_rows < sizes["dev"]:
        parts.append(f"{effort.dev_rows:,} of {sizes['dev']:,} dev rows")
    return f"{name}: {', '.join(parts)}" if parts else ""


def format_plan(work: Workload, plan: Plan, overhead: float = 0.0) -> str:
    """Format the plan in one line: the time, the methods, and how training and the test are cut."""
    num = len(plan.efforts)
    methods = "the only method" if num == 1 else f"all {num} methods"
    if plan.left_out:
        methods = f"{format_count(num, 'method')}, without {format_names(plan.left_out)}"
    parts = [methods]
    for name, effort in plan.efforts.items():
        if effort.train_rows is not None:
            parts.append(f"{name} learns from about {effort.train_rows:,} of {work.train:,} rows")
        elif work.methods[name].is_boxed and plan.training_seconds.get(
            name, 0.0
        ) < 0.99 * plan.full_seconds.get(name, 0.0):
            parts.append(f"{name} trains for {format_rough_time(plan.training_seconds[name])}")
    if plan.test_rows < work.test:
        parts.append(f"slow methods answer about {plan.test_rows:,} of {work.test:,} test rows")
    return f"Plan ({format_rough_time(plan.total + overhead)}): {'; '.join(parts)}."
