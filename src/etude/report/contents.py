"""What a report shows, as frozen values: rungs, rows, differences, curve, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etude.base.files import Json
from etude.methods.fit_context import Tried
from etude.metrics import GRADED
from etude.runs.verdict import TargetMark, Verdict
from etude.types import Estimate, Finding, PricedCost


@dataclass(frozen=True, slots=True)
class Rung:
    """One method of the ladder with all that is known about it so far."""

    name: str
    label: str
    recommended: bool
    test: Estimate | None
    """None until the test was opened."""
    status: str | None
    """among the best, worse or undecided."""
    target: TargetMark | None
    """How the test result stands to the task's target; None without either."""
    learned: int | None
    """Rows it learned from; None where it learned from none."""
    rows_to_decide: int | None
    dev: Estimate | None
    """The headline metric on dev; None before the first dev row is answered."""
    cost: PricedCost | None
    fit_seconds: float | None
    form: Estimate | None
    check: Estimate | None
    cut_test: int | None
    """Test answers stopped by the length limit."""
    cut_dev: int
    num_dev: int
    others: Mapping[str, Estimate]
    """Metrics beside the headline, on the test, by name."""
    failures: Mapping[str, int]
    """Kinds of failure on dev (the contract's, `check`, and what the metric calls wrong), and in how many rows each
    occurs."""
    candidates: tuple[Tried, ...]
    notes: tuple[str, ...]
    prompt: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What was measured after one epoch, and the training step it was measured at."""

    epoch: int
    step: int
    train_loss: float | None
    """Mean of its steps; None before training."""
    dev_loss: float
    score: Estimate | None
    """The metric on dev, where epochs are chosen by it."""
    best: bool
    """Whether this epoch's weights were kept."""
    overfits: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """The loss of a training run, step by step."""

    method: str
    steps: tuple[tuple[int, float], ...]
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What was planned before anything ran."""

    minutes: float | None
    taken: float | None
    """Minutes that the run has taken, all attempts together."""
    lines: tuple[str, ...]
    shrunk: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All numbers and texts of one report."""

    name: str
    command: str
    """compare, or train: then there is one method, and no test answer."""
    status: str
    """running, complete, interrupted or failed."""
    metric: str
    """The headline metric's name."""
    metric_label: str
    metric_why: str
    """Why it is the headline: "because ..."; empty where an older run does not say."""
    unit: str
    """What one independent unit is: row or group."""
    margin: float
    target: float | None
    split: Mapping[str, int]
    answered: int
    """Test rows that the methods answer: fewer than the test has where the budget asks for it."""
    split_notes: tuple[str, ...]
    power: tuple[tuple[float, float | None], ...]
    """(share of rows on which two methods disagree, smallest difference the answered test rows can show; None
    for nothing)."""
    shown_on_dev: float | None
    """The smallest difference of the declared pair that the test can show, from how the two differ on dev."""
    plan: Plan
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    openings: int
    """How often this test has been opened, over all runs."""
    versions: tuple[tuple[str, str], ...]
    fingerprints: Mapping[str, str]
    untuned: str | None
    """The best untuned method, chosen on dev."""
    tuned: str | None
    reasons: tuple[str, ...]
    """Why these two were chosen."""
    verdict: Verdict | None
    """None until the run is complete."""
    rungs: tuple[Rung, ...]
    dev: tuple[Mapping[str, Json], ...]
    """Of each dev row the line of every method that has reached it, with what it `failed`."""
    curve: Curve | None

    @property
    def graded(self) -> bool:
        """Whether the metric scores a row anything from 0 to 1, so that none is simply right or wrong."""
        return self.metric in GRADED

    @property
    def least_turn(self) -> float:
        """The smallest change of a row's score that is called one: the margin under a graded metric, else any."""
        return self.margin if self.graded else 0.0

    @property
    def has_forms(self) -> bool:
        """Whether a contract, a check or a cut answer was seen on the test."""
        return any(rung.form or rung.check or rung.cut_test for rung in self.rungs)

    @property
    def priced(self) -> bool:
        """Whether some request has a price."""
        return any(rung.cost and rung.cost.price is not None for rung in self.rungs)
