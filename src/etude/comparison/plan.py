"""The plan of a comparison: what it will take, from a few timed steps, and how it is cut to a budget."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from typing import Any, NamedTuple

from etude.base.wording import count
from etude.methods.fit_context import Effort
from etude.methods.foresight.timing import Rates

WHOLE = Effort()
FEW_CANDIDATES, FEW_DEV, FEW_TEST = 2, 50, 400
"""To what candidates and rows are cut before the training is."""
FEW_SEARCH_EPOCHS = 3
"""Epochs of the search under a budget that is too small for a second training of it."""
FIRM = 0.2
"""Share of a plan's time that counts as taken on time: what short methods take says little of the others."""
LATE = 1.1
"""A run that will take so many times the time left is not cut any further."""
EVIDENCE = "evidence"
"""What the learning curve and the further training runs are called beside the methods."""
PARTS = (4, 2)
"""The learning curve has a quarter, a half and all of the training rows."""
FURTHER_RUNS = 2
"""Training runs with other seeds, beside the one that is used."""
FEWEST_DEV, FEWEST_TRAIN, FEWEST_TEST = 30, 240, 100
"""Rows below which no plan goes; a data set that is smaller is used whole."""


@dataclass(frozen=True)
class Workload:
    """What there would be to do without a budget."""

    tries: Mapping[str, int]
    """Method -> candidates it would try on dev, lowest first; a method that costs nothing is absent."""
    tuned: Sequence[str]
    train: int
    dev: int
    test: int
    searching: Sequence[str] = ()
    """Methods that look passages up. The first of them fits the search."""
    all_train: int = 0
    """Training rows there are, where the task takes only a part of them."""

    evidence: bool = False
    """Whether a learning curve and further training runs are wanted."""

    def without(self, names: Sequence[str]) -> Workload:
        """The same with some methods left out."""
        tries = {name: number for name, number in self.tries.items() if name not in names}
        tuned, searching = ([name for name in each if name in tries] for each in (self.tuned, self.searching))
        return replace(self, tries=tries, tuned=tuned, searching=searching)


@dataclass(frozen=True)
class Plan:
    """What will be done, and about how long each method takes."""

    effort: Effort
    seconds: Mapping[str, float]
    """Method -> expected seconds on dev, training and test together."""
    shrunk: tuple[str, ...] = ()
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
    """Expected seconds of the learning curve and the further training runs, their answers included."""
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
        """As it stands in run.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Plan:
        """Reads what `to_dict` gave, among other keys."""
        known = {name: body[name] for name in cls.__dataclass_fields__ if name in body}
        lists = {name: tuple(known.get(name, ())) for name in ("shrunk", "left_out")}
        return cls(**known | lists | {"effort": Effort(**body["effort"])})


def make_plan(work: Workload, rates: Rates, budget: float | None, within: Effort = WHOLE) -> Plan:
    """The fullest plan that fits the budget (seconds; None: no limit), or the smallest one; no fuller than `within`."""
    plans = (_priced(work, rates, effort.within(within)) for effort in _cuts(work))
    first = smallest = next(plans)
    if budget is None or first.total <= budget:
        return first
    for smallest in plans:
        if smallest.total <= budget:
            break
    return replace(smallest, shrunk=tuple(_words(work, smallest.effort)))


def leave_out(work: Workload, rates: Rates, budget: float) -> Plan:
    """The fullest plan that fits without some methods: those not tuned go first, the one that takes longest before the
    others, then the tuned ones from the lowest on. The highest always stays."""
    out: list[str] = []
    plan = make_plan(work, rates, budget)
    while plan.total > budget and len(plan.seconds) > 1:
        lower = list(plan.seconds)[:-1]
        untuned = [name for name in lower if name not in work.tuned]
        out.append(max(untuned, key=lambda name: plan.row_seconds.get(name, 0.0), default=lower[0]))
        plan = make_plan(work.without(out), rates, budget)
    return replace(plan, left_out=tuple(out), shrunk=(*(f"without {name}" for name in out), *plan.shrunk))


def _cuts(work: Workload) -> Iterator[Effort]:
    """Ever smaller efforts, each cutting one thing further: evidence, the search's second training, candidates, dev and
    test rows to some, epochs, training and test rows in turn; at last prompts go without a choice, and the search's
    epochs and dev to their least."""
    effort = WHOLE
    yield effort
    for name, limit in _limits(work):
        effort = replace(effort, **{name: limit})
        yield effort


def _limits(work: Workload) -> Iterator[tuple[str, int]]:
    tests = _ever_fewer(min(work.test, FEW_TEST), FEWEST_TEST)
    trains = _ever_fewer(work.train, FEWEST_TRAIN) if work.tuned else iter(())
    yield from (("evidence", 0) for _ in (1,) if work.evidence)
    yield from (("search_epochs", FEW_SEARCH_EPOCHS) for _ in work.searching[:1])
    for candidates in range(max(work.tries.values(), default=0) - 1, FEW_CANDIDATES - 1, -1):
        yield "candidates", candidates
    yield from (("dev_rows", rows) for rows in _ever_fewer(work.dev, FEW_DEV))
    yield from (("test_rows", rows) for rows in _ever_fewer(work.test, FEW_TEST))
    yield from (("epochs", epochs) for epochs in (2, 1) if work.tuned)
    for train, test in zip_longest(trains, tests):
        yield from ((name, rows) for name, rows in (("train_rows", train), ("test_rows", test)) if rows)
    yield "candidates", 1
    yield from (("search_epochs", 2) for _ in work.searching[:1])
    yield from (("dev_rows", rows) for rows in _ever_fewer(min(work.dev, FEW_DEV), FEWEST_DEV))
    yield from (("search_epochs", 1) for _ in work.searching[:1])


def _ever_fewer(rows: int, fewest: int) -> Iterator[int]:
    while rows > fewest:
        rows = max(fewest, round(0.75 * rows))
        yield rows


def _priced(work: Workload, rates: Rates, effort: Effort) -> Plan:
    dev, train = effort.dev_rows or work.dev, effort.train_rows or work.train
    test = effort.test_rows or work.test
    known = {name: takes for name, takes in rates.training.items() if name in work.tries}
    training = {name: takes(train, dev, effort.epochs) for name, takes in known.items()}
    full = {name: takes(work.all_train or work.train, work.dev, None) for name, takes in known.items()}
    seconds = {}
    for name, tries in work.tries.items():
        rows = min(tries, effort.candidates or tries) * dev + test
        seconds[name] = rates.answer.get(name, 0.0) * rows + training.get(name, 0.0)
    if work.searching:
        training["search"] = rates.search(effort.search_epochs)
        seconds[work.searching[0]] += training["search"]
    limits = {"train_rows": train, "dev_rows": dev, "test_rows": test}
    evidence = 0.0
    if work.evidence and effort.evidence != 0:
        evidence = max((_evidence(name, rates, limits, effort) for name in work.tuned), default=0.0)
    return Plan(effort, seconds, (), limits, rates.answer, training, full, evidence)


def _evidence(name: str, rates: Rates, limits: Mapping[str, int], effort: Effort) -> float:
    """Seconds of the learning curve and the further training runs of one method, whichever it will be."""
    train, dev, takes = limits["train_rows"], limits["dev_rows"], rates.training.get(name)
    times = {part: takes(max(1, train // part), dev, effort.epochs) if takes else 0.0 for part in (1, *PARTS)}
    whole = times[1]
    # A method that no budget cuts names the time of all rows for any number of them.
    curve = sum(times[part] if times[part] < whole else whole / part for part in PARTS)
    answers = (len(PARTS) + FURTHER_RUNS) * dev + FURTHER_RUNS * limits["test_rows"]
    return curve + FURTHER_RUNS * whole + rates.answer.get(name, 0.0) * answers


class Taken(NamedTuple):
    """What a method took until it was fitted."""

    planned: float
    seconds: float
    row: float
    """Seconds of a row that it answers."""


@dataclass(frozen=True)
class Pacing:
    """What keeps a run to its budget while it is under way. A run that goes on after a stop keeps its last plan."""

    work: Workload
    rates: Rates
    ends: float
    """When the budget is spent, by `time.monotonic`."""

    def shortened(self, plan: Plan, begins: str, taken: Mapping[str, Taken]) -> Plan:
        """The plan for what has not begun, if the methods so far were late. `begins`: the next; "" before the test."""
        usual = FIRM * plan.total + 1e-9
        late, planned = (sum(each[place] for each in taken.values()) + usual for place in (1, 0))
        slow = max(1.0, late / planned)
        tries = {name: 0 if name in taken else number for name, number in self.work.tries.items()}
        fitted = any(name in taken for name in self.work.searching)
        evidence = self.work.evidence and EVIDENCE not in taken
        rest = replace(
            self.work, tries=tries, evidence=evidence, searching=() if fitted else self.work.searching
        )
        answer = {**self.rates.answer, **{name: each.row / slow for name, each in taken.items()}}
        training = {name: takes for name, takes in self.rates.training.items() if name not in taken}
        rates = replace(self.rates, answer=answer, training=training)
        new = make_plan(rest, rates, LATE * (self.ends - time.monotonic()) / slow, plan.effort)
        if begins in ("", EVIDENCE):  # all methods are fitted
            effort = replace(plan.effort, test_rows=new.effort.test_rows, evidence=new.effort.evidence)
            new = replace(new, effort=effort, limits={**plan.limits, "test_rows": new.limits["test_rows"]})
        before = [*_words(self.work, plan.effort)]
        cuts = [words for words in _words(self.work, new.effort) if words not in before]
        if not cuts:
            return plan
        when = f"from {begins} on" if begins else "before the test was opened"
        said = f"{when}, because earlier methods took longer than planned: {', '.join(cuts)}"
        return replace(
            new, shrunk=(*plan.shrunk, said), full_seconds=plan.full_seconds, left_out=plan.left_out
        )

    def in_time(self, plan: Plan, begun: str, taken: Mapping[str, Taken], seconds: float) -> bool:
        """Whether the method under way may take so many seconds more before it answers dev."""
        limits = plan.limits
        own = plan.row_seconds.get(begun, 0.0) * (limits["dev_rows"] + limits["test_rows"])
        tests = sum(each.row for each in taken.values()) * limits["test_rows"]
        later = sum(each for name, each in plan.seconds.items() if name not in taken and name != begun)
        later += 0.0 if EVIDENCE in taken else plan.evidence_seconds
        return time.monotonic() + seconds + own + tests + later <= self.ends


def _words(work: Workload, effort: Effort) -> Iterator[str]:
    if effort.evidence == 0:
        yield "without the learning curve and the further training runs"
    if effort.candidates is not None:
        yield f"at most {count(effort.candidates, 'candidate')} a method on dev"
    if effort.dev_rows is not None and effort.dev_rows < work.dev:
        yield f"choices on {effort.dev_rows:,} of {work.dev:,} dev rows"
    if effort.epochs is not None:
        yield f"at most {count(effort.epochs, 'epoch')} of training"
    if effort.train_rows is not None and effort.train_rows < work.train:
        yield f"training on {effort.train_rows:,} of {work.train:,} rows"
    if effort.search_epochs is not None:
        yield f"at most {count(effort.search_epochs, 'epoch')} of training for the search"
    if effort.test_rows is not None and effort.test_rows < work.test:
        yield f"test on {effort.test_rows:,} of {work.test:,} rows"
