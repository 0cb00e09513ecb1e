"""What a verdict is made from and what it consists of, as frozen values; verdict.json is written and read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from etude.base.files import REMEDY, read_json, write_json
from etude.base.typed_json import from_json, to_json
from etude.errors import RunError
from etude.metrics import Metric
from etude.runs.details import Details
from etude.stats.sample import RESAMPLES
from etude.task import Endpoint, Prices, Task, Usage
from etude.types import CLASSICAL, Estimate, MethodPair, PricedCost

PRICED = ("prompt_tokens", "cached_tokens", "answer_tokens", "seconds")
"""What of a line of predictions.jsonl a request costs."""
Status = Literal["among the best", "worse", "undecided"]
TargetMark = Literal["met", "missed", "not sure"]


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """The test rows, one entry each, in any order."""

    ids: Sequence[str]
    units: Sequence[str] | None = None
    """Each row's group; None when every row is its own unit."""
    expected: Sequence[str] = ()
    """The labels wanted (classify); empty for other kinds."""
    tags: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, eq=False)
class MethodResult:
    """One method on the test rows: every sequence has one entry per row, in the order of `Rows`."""

    name: str
    tuned: bool
    scores: Sequence[float]
    predicted: Sequence[str | None] = ()
    """The labels given (classify); empty for other kinds."""
    form: Sequence[bool | None] = ()
    check: Sequence[float | None] = ()
    others: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Further metrics by name."""
    cut: Sequence[bool] = ()
    """Stopped by the length limit."""
    cost: PricedCost = field(default_factory=PricedCost)
    model: str = ""
    """The weights that answered; `types.CLASSICAL` where no language model did."""
    train_seconds: float = 0.0
    """What its training alone took."""
    learned: int | None = None
    """Rows it learned from; None where it learned from none."""
    fewer_epochs: bool = False
    """Whether a budget has cut its epochs."""


@dataclass(frozen=True, slots=True)
class HeadlinePair:
    """The pair of the headline, named on dev before the test was opened; None where none was run."""

    untuned: str | None
    tuned: str | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The tuned method fitted on a part of the training rows, on dev."""

    rows: int
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class TrainingRunResult:
    """One training run of the tuned method, on the test."""

    seed: int
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Evidence:
    """What `evidence: full` adds about the tuned method of the headline."""

    method: str
    curve: tuple[CurvePoint, ...]
    """Nested parts of the training rows, all of those that were learned from last."""
    doubling: Estimate | None
    """The last point minus the one before, on the same dev rows."""
    runs: tuple[TrainingRunResult, ...]
    """With different seeds; the first is the one that is used."""
    seconds: float
    """What the further fits took."""


@dataclass(frozen=True, slots=True)
class JudgedShare:
    """The share of a method's test answers that the judge calls right."""

    method: str
    said: Estimate
    corrected: Estimate | None
    """As people would have judged; None where the judge was not checked, or is no better than chance."""


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """Test rows on which the judge prefers one answer whichever stands first, and the others."""

    tuned: str
    untuned: str
    wins: int
    """Of the tuned method."""
    losses: int
    ties: int


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """What a judge model makes of the answers; it decides nothing."""

    judge: str
    labelled: int
    """Rows that people have labelled and the judge has read."""
    kappa: Estimate | None
    """Its agreement with people; None where they labelled too few rows: it is not checked against people."""
    shares: tuple[JudgedShare, ...]
    pair: JudgedPair | None
    unread: int
    """Replies that were neither yes nor no."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Everything a verdict depends on."""

    rows: ScoredRows
    methods: Sequence[MethodResult]
    """In the order of the ladder, lowest method first."""
    decided: HeadlinePair
    metric: Metric
    model: str
    total_rows: int
    """Rows of train, dev and test together."""
    margin: float = Task.margin
    target: float | None = None
    usage: Usage = field(default_factory=Usage)
    prices: Prices | None = None
    prompt_model: str | None = None
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    openings: int = 1
    """How often this test has been opened, this time included."""
    train_rows: int = 0
    """Rows there are to learn from."""
    full_seconds: Mapping[str, float] = field(default_factory=dict)
    """Tuned method -> what its training on all rows would take."""
    equal: MethodResult | None = None
    """The baseline fitted on the rows of the tuned method of the headline, where these are not all."""
    evidence: Evidence | None = None
    further: Sequence[tuple[int, MethodResult]] = ()
    """(seed, result) of further training runs of the tuned method of the headline."""
    whole_test: int | None = None
    """Rows of the whole test where a budget left some unanswered; None when all were answered."""
    resamples: int = RESAMPLES

    @property
    def cut(self) -> frozenset[str]:
        """Tuned methods that have seen a part of their training only, without a sign that it is enough."""
        whole = self.train_rows
        tuned = [method for method in self.methods if method.tuned]
        return frozenset(
            each.name
            for each in tuned
            if each.fewer_epochs or (each.name != self._enough and (each.learned or whole) < whole)
        )

    @property
    def _enough(self) -> str | None:
        """The method that saw at least half of the rows and gained less than the margin from the last doubling."""
        found = self.evidence
        if found is None or found.doubling is None or found.doubling.high >= self.margin:
            return None
        return found.method if 2 * found.curve[-1].rows >= self.train_rows else None

    @property
    def copies(self) -> frozenset[str]:
        """Methods that only copy example answers, where nothing checks what an answer says: none is recommended."""
        unchecked = self.metric.form_only
        return frozenset(method.name for method in self.methods if unchecked and method.model == CLASSICAL)


@dataclass(frozen=True, slots=True)
class HeadlineResult:
    """The comparison declared in advance: tuned minus untuned."""

    tuned: str
    untuned: str
    difference: Estimate
    p: float
    test: str
    gains: bool
    undecided: Literal["", "cut", "few rows"] = ""
    """Why nothing is decided: tuning has seen a part of its training and gains nothing, or there are too few rows."""


@dataclass(frozen=True, slots=True)
class TargetResult:
    """Whether some method reaches the task's target, and the lowest that does."""

    target: float
    met_by: str | None
    text: str

    def mark(self, found: Estimate) -> TargetMark:
        """How a method's result stands to the target, by its interval."""
        return "met" if found.low >= self.target else "missed" if found.high < self.target else "not sure"


@dataclass(frozen=True, slots=True)
class LadderRow:
    """One method's place on the ladder."""

    method: str
    estimate: Estimate
    status: Status
    rows_to_decide: int | None = None
    """Test rows that would decide an undecided method; None when decided, or when above 100,000."""
    learned: int | None = None
    """Rows it learned from; None where it learned from none."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """After how many requests the cost of tuning is earned back."""

    unit: Literal["money", "seconds"]
    fixed: float
    """The cost of training, without that of choosing on dev, and of the data where it has a price."""
    untuned_per_request: float
    tuned_per_request: float
    requests: int | None
    """None: never on cost."""
    prompt_tokens_saved: float
    """Per request; negative when tuning needs more."""
    text: str


@dataclass(frozen=True, slots=True)
class Advice:
    """A sentence, and the number or setting it rests on."""

    text: str
    rests_on: str


@dataclass(frozen=True, slots=True)
class TagEstimate:
    """One method on the rows that carry one value of one tag: the mean score (macro-F1: the share right)."""

    tag: str
    value: str
    method: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class ContractRates:
    """Contract kept, check passed, and answers cut at the length limit."""

    form: Estimate | None
    check: Estimate | None
    cut: int


@dataclass(frozen=True, slots=True)
class EqualRows:
    """The baseline fitted on as few rows as the tuned method of the headline has seen."""

    method: str
    rows: int
    estimate: Estimate
    difference: Estimate
    """The tuned method minus this one."""


@dataclass(frozen=True, slots=True)
class RowsAnswered:
    """How many rows of the test every method answered."""

    answered: int
    of: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which method to use and why, with the numbers it rests on."""

    sentence: str
    caveats: tuple[str, ...]
    advice: tuple[Advice, ...]
    recommended: str | None
    """The lowest method among the best; None when none is."""
    leaning: str
    """`recommended`, or else the method with the best claim: the lowest one whose difference to the best,
    taken at its face value, is within the margin."""
    test_rows: RowsAnswered
    headline: HeadlineResult | None
    target: TargetResult | None
    ladder: tuple[LadderRow, ...]
    pairs: tuple[MethodPair, ...]
    critical: float | None
    """Standard errors that the intervals of `pairs` reach to; None with a single unit."""
    break_even: BreakEven | None
    by_tag: tuple[TagEstimate, ...]
    costs: Mapping[str, PricedCost] = field(default_factory=dict)
    forms: Mapping[str, ContractRates] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    """Method -> further metric -> its estimate; they decide nothing."""
    details: Mapping[str, Details] = field(default_factory=dict)
    """Method -> its classes, probabilities or fields."""
    train_rows: int = 0
    """Rows there were to learn from."""
    equal: EqualRows | None = None
    evidence: Evidence | None = None
    judge: JudgeResult | None = None


def write_verdict(file: Path, verdict: Verdict) -> None:
    """Writes verdict.json, the old or the new file at any moment."""
    write_json(file, to_json(verdict))


def read_verdict(file: Path) -> Verdict | None:
    """What `write_verdict` wrote; None where there is no file. Raises RunError when it cannot be read."""
    if not file.exists():
        return None
    try:
        return from_json(Verdict, read_json(file))
    except ValueError as error:
        raise RunError(f"{file} is no verdict of this version of Étude ({error}). {REMEDY}") from error


def rows_of(lines: Iterable[Mapping[str, Any]], *, labels: bool) -> ScoredRows:
    """The Rows of one side, from lines of predictions.jsonl; `labels` when the task is to classify."""
    lines = list(lines)
    return ScoredRows(
        ids=[line["id"] for line in lines],
        units=[line["unit"] for line in lines],
        expected=[line["expected"].strip() for line in lines] if labels else (),
        tags=[line["tags"] for line in lines],
    )


def measured(name: str, lines: Iterable[Mapping[str, Any]], ids: Sequence[str], **facts: Any) -> MethodResult:
    """One method from its lines of predictions.jsonl, brought into the order of `ids`. `facts`: the other fields,
    `tuned` among them.

    Raises KeyError when a row has no line.
    """
    by_id = {line["id"]: line for line in lines}
    rows = [by_id[row] for row in ids]
    return MethodResult(
        name=name,
        scores=[float(row["score"]) for row in rows],
        predicted=[row["value"] if isinstance(row["value"], str) else None for row in rows],
        form=[row["form"] for row in rows],
        check=[row["check"] for row in rows],
        others={other: [row["others"][other] for row in rows] for other in rows[0]["others"]},
        cut=[row["cut"] for row in rows],
        cost=PricedCost(*(_mean(row[key] for row in rows) for key in PRICED)),
        **facts,
    )


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)
