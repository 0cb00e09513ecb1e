"""The content of a report, as frozen values: methods, rows, differences, curve, verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etude.base.files import Json
from etude.methods.shared.fit_context import TrialResult
from etude.metrics import GRADED
from etude.report.headline import Headline
from etude.runs.details import PlayResult
from etude.runs.verdict import TargetMark, Verdict
from etude.types import Estimate, Finding, PricedCost


@dataclass(frozen=True, slots=True)
class MethodView:
    """One method of the ladder with all results so far."""

    name: str
    label: str
    has_language_model: bool
    recommended: bool
    test: Estimate | None
    """None until the test was opened."""
    status: str | None
    """among the best, worse or undecided."""
    target: TargetMark | None
    """Whether the test result meets the task's target; None if one of the two is missing."""
    learned: int | None
    """Rows it was trained on; None if there are none."""
    rows_to_decide: int | None
    dev: Estimate | None
    """The headline metric on dev; None before the first dev row is answered."""
    cost: PricedCost | None
    fit_seconds: float | None
    keeps_contract: Estimate | None
    passes_check: Estimate | None
    num_truncated_test: int | None
    """Test answers stopped by the length limit."""
    num_truncated_dev: int
    num_dev: int
    other_metrics: Mapping[str, Estimate]
    failures: Mapping[str, int]
    """Kinds of failure on dev (the contract's, `check`, and wrong answers by the metric) -> number
    of rows.
    """
    confused: Mapping[tuple[str, str], tuple[str, ...]]
    """(right label, answered label) -> the dev rows' inputs, for classify."""
    candidates: tuple[TrialResult, ...]
    num_candidates: int
    """All candidates, also those for which there was no time."""
    notes: tuple[str, ...]
    prompt: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EpochResult:
    """The results after one epoch, and the training step at which they were measured."""

    epoch: float
    step: int
    train_loss: float | None
    """Mean over its steps; None before training."""
    dev_loss: float
    score: Estimate | None
    """The metric on dev, if epochs are chosen by it."""
    best: bool
    """Whether this epoch's weights were kept."""
    overfits: bool


@dataclass(frozen=True, slots=True)
class LossCurve:
    """The loss of a training run, step by step."""

    method: str
    steps: tuple[tuple[int, float], ...]
    epochs: tuple[EpochResult, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All numbers and texts of one report."""

    name: str
    command: str
    """compare, or train; a training has one method and no test answers."""
    status: str
    """running, complete, interrupted or failed."""
    metric: str
    """The headline metric's name."""
    metric_label: str
    metric_reason: str
    """Why it is the headline: "because ..."."""
    unit: str
    """The unit that counts once in statistics: row or group."""
    margin: float
    target: float | None
    split: Mapping[str, int]
    num_test_answered: int
    """Test rows that the methods answer; fewer than all if a budget limits them."""
    failed_gates: str
    """Which gates the last test of the recommended method failed, as a sentence; "" if none."""
    headline: Headline
    split_notes: tuple[str, ...]
    power: tuple[tuple[float, float | None], ...]
    """(share of rows on which two methods disagree, smallest difference that the answered test rows
    can show; None if they can show none).
    """
    power_on_dev: float | None
    """The smallest difference of the headline pair that the test can show, estimated from their
    answers on dev.
    """
    budget_seconds: float | None
    elapsed_seconds: float | None
    """Seconds that the run has taken, over all attempts."""
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
    methods: tuple[MethodView, ...]
    dev: tuple[Mapping[str, Json], ...]
    """For each dev row: method -> its line, with the kinds of failure in `failed`."""
    curve: LossCurve | None
    plays: Mapping[str, PlayResult]
    """Method -> the result of the last `etude play`."""

    @property
    def trained_params(self) -> Mapping[str, Any]:
        """The parameters of the method whose training is shown; empty if nothing was tuned."""
        method = self.curve.method if self.curve else None
        return next((view.params for view in self.methods if view.name == method), {})

    @property
    def graded(self) -> bool:
        """Whether a row can have any score from 0 to 1, so that rows are not just right or
        wrong.
        """
        return self.metric in GRADED

    @property
    def min_change(self) -> float:
        """The smallest change of a row's score that counts: the margin for a graded metric, else
        0.
        """
        return self.margin if self.graded else 0.0

    @property
    def has_contract(self) -> bool:
        return any(
            method.keeps_contract or method.passes_check or method.num_truncated_test
            for method in self.methods
        )

    @property
    def has_prices(self) -> bool:
        return any(method.cost and method.cost.price is not None for method in self.methods)
