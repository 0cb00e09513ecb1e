"""The inputs and parts of a verdict, as frozen values, and how verdict.json is read and written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any, Literal

from etude.base import files, typed_json
from etude.base.formatting import format_html_table, format_interval, format_percent
from etude.errors import RUN_REMEDY, RunError
from etude.metrics import Metric, to_label
from etude.models.registry import find_backend
from etude.runs.details import Details
from etude.stats.sample import RESAMPLES, UnitSums
from etude.task import Endpoint, Prices, Task, Usage
from etude.types import CLASSICAL, Estimate, MethodPair, PricedCost

# Keys of predictions.jsonl from which costs are computed.
COST_KEYS = ("prompt_tokens", "cached_tokens", "answer_tokens", "seconds")
Status = Literal["among the best", "worse", "worse on dev", "undecided", "not measured enough"]
TargetMark = Literal["met", "missed", "not sure"]
Basis = Literal[
    "among the best",
    "not beaten",
    "alone",
    "costs",
    "few rows",
    "nothing right",
    "one answer",
    "copies",
]
"""Why a method is used. With the last four, it is used but not recommended."""


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """The test rows, one entry each: in any order if all methods answered all rows, else as they
    were answered.
    """

    ids: Sequence[str]
    units: Sequence[str] | None = None
    """Each row's unit; None if every row is a unit of its own."""
    expected: Sequence[str] = ()
    """The expected labels (classify) or answers (extract); empty for other kinds."""
    tags: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, eq=False)
class MethodResult:
    """One method on the test rows. Every sequence has an entry for each answered row: the first of
    `ScoredRows`.
    """

    name: str
    tuned: bool
    scores: Sequence[float]
    predicted: Sequence[str | None] = ()
    """The answered labels, or for other kinds the answers."""
    keeps_contract: Sequence[bool | None] = ()
    check: Sequence[float | None] = ()
    other_metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Scores under other metrics, by name."""
    truncated: Sequence[bool] = ()
    """Stopped by the length limit."""
    cost: PricedCost = field(default_factory=PricedCost)
    model: str = ""
    train_seconds: float = 0.0
    """Seconds of its training alone."""
    learned: int | None = None
    """Rows it was trained on; None if there are none."""
    fewer_epochs: bool = False
    """Whether its training was ended before its last epoch."""
    weights_rows: int | None = None
    """Rows that its weights were trained on, if a budget ended training early. `learned` may be
    larger, because a search may have been trained on more rows.
    """
    num_tried: int = 0
    """Candidates that it tried on dev, of `num_candidates`."""
    num_candidates: int = 0
    is_stored: bool = False
    """Whether these are the stored answers of another model, not answers of a method."""

    @property
    def has_language_model(self) -> bool:
        return find_backend(self.model).is_language_model


@dataclass(frozen=True, slots=True)
class HeadlinePair:
    """The untuned and the tuned method that the test compares, chosen on dev; None if none was
    run.
    """

    untuned: str | None
    tuned: str | None
    reasons: tuple[str, ...] = ()
    prompted: str | None = None
    """The best untuned method that the bigger model (`prompt_model:`) answers, chosen on dev; None
    without one.
    """


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The tuned method fitted on some of the training rows, on dev."""

    rows: int
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Evidence:
    """The results that `evidence: full` adds for the tuned method of the headline."""

    method: str
    curve: tuple[CurvePoint, ...]
    """On nested subsets of the training rows; the last point uses all rows that the method was
    trained on.
    """
    doubling: Estimate | None
    """The last point minus the point before it, on the same dev rows."""
    seconds: float
    """Seconds of the extra fits."""


@dataclass(frozen=True, slots=True)
class JudgedShare:
    """The share of a method's test answers that the judge calls right."""

    method: str
    uncorrected: Estimate
    corrected: Estimate | None
    """Corrected for the judge's errors; None if it was not checked or is no better than chance."""


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """Test rows on which the judge prefers the same answer in both orders, and ties."""

    tuned: str
    untuned: str
    wins: int
    """Of the tuned method."""
    losses: int
    ties: int


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """The results of a judge model. They do not affect the verdict."""

    judge: str
    labelled: int
    """Rows that people have labelled and the judge has judged."""
    kappa: Estimate | None
    """Its agreement with people; None if they labelled too few rows to check it."""
    shares: tuple[JudgedShare, ...]
    pair: JudgedPair | None
    unread: int
    """Replies that were neither yes nor no."""
    num_replies: int = 0
    """All replies to single answers."""


@dataclass(frozen=True, eq=False)
class VerdictInputs:
    """Everything a verdict depends on."""

    rows: ScoredRows
    methods: Sequence[MethodResult]
    """In the order of the ladder, lowest method first."""
    pair: HeadlinePair
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
    full_seconds: Mapping[str, float] = field(default_factory=dict)
    """Tuned method -> seconds that training on all rows would take."""
    baseline_on_equal_rows: MethodResult | None = None
    """The baseline fitted on as many rows as the tuned method of the headline; None if that method
    used all rows.
    """
    evidence: Evidence | None = None
    num_test_rows: int | None = None
    """Rows of the whole test; None if all were answered."""
    beaten: frozenset[str] = frozenset()
    """Methods that another one clearly beat on dev, so they answered only a few test rows, under a
    budget. They are shown, but not compared on the test: dev is enough for that, and a few rows
    would show less.
    """
    most_frequent: MethodResult | None = None
    """What the most frequent training answer would score as the answer to every row; None if copies
    are not scored.
    """
    error_costs: "CostResult | None" = None
    resamples: int = RESAMPLES

    def index(self, name: str) -> int:
        """Return the position of a method on the ladder."""
        return [method.name for method in self.methods].index(name)

    def get_method(self, name: str) -> MethodResult:
        """Return the result of a method on the ladder."""
        return self.methods[self.index(name)]

    def build_sample(self, method: MethodResult, num_rows: int | None = None) -> UnitSums:
        """Return a method's rows, or the first `num_rows`, under the headline metric, ready for
        statistics.
        """
        # The baseline on equal rows may have answered more rows than any method of the ladder.
        num = min(len(method.scores) if num_rows is None else num_rows, len(self.rows.ids))
        units = None if self.rows.units is None else self.rows.units[:num]
        return self.metric.sample(
            method.scores[:num], units, self.rows.expected[:num], method.predicted[:num]
        )

    def build_pair(self, a: MethodResult, b: MethodResult) -> tuple[UnitSums, UnitSums]:
        """Return two methods on the rows that both answered."""
        num = min(len(a.scores), len(b.scores))
        return self.build_sample(a, num), self.build_sample(b, num)

    @property
    def in_race(self) -> "VerdictInputs":
        return replace(
            self, methods=[method for method in self.methods if method.name not in self.beaten]
        )

    @property
    def partly_trained(self) -> frozenset[str]:
        """Tuned methods whose training was cut by a budget or `max_rows`, without evidence that it
        was still enough.
        """
        num_train_rows = self.train_rows
        tuned = [method for method in self.methods if method.tuned]
        # Sufficient: at least half of the rows, with a gain below the margin from their last
        # doubling.
        sufficiently_trained = None
        evidence = self.evidence
        if evidence and evidence.doubling and evidence.doubling.high < self.margin:
            is_half = 2 * evidence.curve[-1].rows >= num_train_rows
            sufficiently_trained = evidence.method if is_half else None
        return frozenset(
            method.name
            for method in tuned
            if method.fewer_epochs
            or (
                method.name != sufficiently_trained
                and method.learned is not None
                and method.learned < num_train_rows
            )
        )

    @property
    def copying_methods(self) -> frozenset[str]:
        """Methods that only copy example answers, if nothing checks answers. They are not
        recommended.
        """
        unchecked = self.metric.contract_only
        return frozenset(
            method.name for method in self.methods if unchecked and method.model == CLASSICAL
        )

    @property
    def candidates(self) -> list[str]:
        """Methods that may be recommended: neither stored answers nor copies."""
        return [
            method.name
            for method in self.methods
            if not method.is_stored and method.name not in self.copying_methods
        ]

    @property
    def stored_answers(self) -> list[str]:
        return [method.name for method in self.methods if method.is_stored]


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
    """Why nothing is decided: the training was cut and shows no gain, or there are too few rows."""


@dataclass(frozen=True, slots=True)
class BiggerModelResult:
    """The tuned method of the headline against the best prompt of the bigger model, on the test."""

    tuned: str
    prompted: str
    difference: Estimate
    """Tuned minus prompted."""
    num_only_tuned: int
    """Rows that only the tuned method gets right; for a graded metric, rows where it is better by
    the margin.
    """
    num_only_prompted: int
    text: str


@dataclass(frozen=True, slots=True)
class TargetResult:
    """Whether some method reaches the task's target, and the lowest that does."""

    target: float
    met_by: str | None
    text: str

    def mark(self, estimate: Estimate) -> TargetMark:
        """Return whether a method meets the target, by its interval."""
        return (
            "met"
            if estimate.low >= self.target
            else "missed"
            if estimate.high < self.target
            else "not sure"
        )


@dataclass(frozen=True, slots=True)
class LadderRow:
    """One method in the table of results."""

    method: str
    estimate: Estimate
    status: Status
    rows_to_decide: int | None = None
    """Test rows that would decide an undecided method; None if decided, or above 100,000."""
    learned: int | None = None
    """Rows that its weights were trained on; None if there are none."""
    rows: int = 0
    """Test rows that it answered."""
    is_stored: bool = False
    """Whether these are stored answers of another model."""
    num_tried: int = 0
    """Candidates that it tried on dev, of `num_candidates`."""
    num_candidates: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What to use today, why, and what is still open. Everything that names a method to use comes
    from here.
    """

    method: str
    """The method whose assistant answers in `load`, `chat` and `serve`."""
    basis: Basis
    open: tuple[str, ...] = ()
    """What could change the decision, each with what would settle it."""

    @property
    def recommended(self) -> str | None:
        """The method, unless the basis is no reason to recommend it."""
        is_reason = self.basis in ("among the best", "not beaten", "alone", "costs")
        return self.method if is_reason else None


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The number of requests after which tuning has paid back its cost."""

    unit: Literal["money", "seconds"]
    fixed: float
    """The cost of training (without choosing on dev), and of the data if it has a price."""
    untuned_per_request: float
    tuned_per_request: float
    requests: int | None
    """None: never."""
    prompt_tokens_saved: float
    """Per request; negative when tuning needs more."""
    text: str


@dataclass(frozen=True, slots=True)
class MethodCost:
    """What a question costs with one method, by the task's `costs:`."""

    cost: Estimate
    cost_if_all_answered: Estimate
    """The same if nothing were handed over."""
    handed_over: float
    """Share of the questions."""


@dataclass(frozen=True, slots=True)
class CostResult:
    """The methods by what their errors and hand-overs cost on the test."""

    text: str
    cheapest: str
    """The cheapest of the methods that answered at least half as many rows as any."""
    is_sure: bool
    """Whether the intervals show that the cheapest method is cheaper than every other one."""
    methods: Mapping[str, MethodCost]
    handover: float | None = None
    """What a question costs if every one is handed over; None if a hand-over has no cost."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A sentence, and the number or setting it is based on."""

    text: str
    basis: str


@dataclass(frozen=True, slots=True)
class TagEstimate:
    """One method on the rows with one value of one tag: the mean score (macro-F1: the share
    right).
    """

    tag: str
    value: str
    method: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class ContractRates:
    """Shares of answers that keep the contract and pass the check, and the number cut at the length
    limit.
    """

    keeps_contract: Estimate | None
    passes_check: Estimate | None
    truncated: int


@dataclass(frozen=True, slots=True)
class BaselineOnEqualRows:
    """The baseline fitted on as many rows as the tuned method of the headline was trained on."""

    method: str
    rows: int
    estimate: Estimate
    difference: Estimate
    """The tuned method minus this one."""


@dataclass(frozen=True, slots=True)
class MadeRowsResult:
    """What rows that a model made add to one method on the test: differences to the same method on
    the real rows.
    """

    method: str
    num_made: int
    gain: Estimate
    repeated: Estimate
    """Of the real rows repeated to as many rows."""
    drawn: Estimate | None
    """Of as many made rows, drawn at random from all that passed the gates; None without further
    rows.
    """
    text: str


@dataclass(frozen=True, slots=True)
class MostFrequentAnswer:
    """What the most frequent training answer would score as the answer to every test row."""

    answer: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class RowsAnswered:
    """The number of test rows answered by the method that answered most, and the number of all test
    rows.
    """

    answered: int
    total: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which method to use and why, with all numbers."""

    sentence: str
    caveats: tuple[str, ...]
    advice: tuple[Advice, ...]
    recommended: str | None
    """The method to use today; None if there are too few rows, or if no method is worth using."""
    leaning: str
    """`recommended`, or else the method whose assistant answers all the same."""
    basis: Basis
    """Why this method."""
    open: tuple[str, ...]
    """What could change the decision, each with what would settle it."""
    test_rows: RowsAnswered
    headline: HeadlineResult | None
    target: TargetResult | None
    ladder: tuple[LadderRow, ...]
    pairs: tuple[MethodPair, ...]
    critical: float | None
    """Number of standard errors that the intervals of `pairs` reach; None with a single unit."""
    break_even: BreakEven | None
    by_tag: tuple[TagEstimate, ...]
    costs: Mapping[str, PricedCost] = field(default_factory=dict)
    contract_rates: Mapping[str, ContractRates] = field(default_factory=dict)
    other_metrics: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    """Method -> other metric -> its estimate. They do not affect the verdict."""
    details: Mapping[str, Details] = field(default_factory=dict)
    """Method -> its classes, probabilities or fields."""
    train_rows: int = 0
    baseline_on_equal_rows: BaselineOnEqualRows | None = None
    evidence: Evidence | None = None
    bigger: BiggerModelResult | None = None
    """None without a bigger model for the prompts, or with too few rows."""
    made_rows: tuple[MadeRowsResult, ...] = ()
    """Empty if the task has no made rows."""
    judge: JudgeResult | None = None
    error_costs: CostResult | None = None
    """Set with `costs:` in the task; then cost decides which method to use."""
    most_frequent: MostFrequentAnswer | None = None
    """None if nothing checks whether an answer is right."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Method -> why it failed. Failed methods are not on the ladder; the same command tries them
    again.
    """

    @property
    def reaches_target(self) -> bool:
        """Whether the recommended method is sure to reach the target."""
        row = next((row for row in self.ladder if row.method == self.recommended), None)
        return (
            row is not None and self.target is not None and self.target.mark(row.estimate) == "met"
        )

    def __str__(self) -> str:
        rows = self._list_cells()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in rows]
        return "\n".join([*lines, "", self.sentence])

    def _repr_html_(self) -> str:
        table = format_html_table(self._list_cells())
        return f"<p><strong>{escape(self.sentence)}</strong></p>{table}"

    def _list_cells(self) -> list[tuple[str, ...]]:
        rows = [
            (
                row.method,
                format_percent(row.estimate.value),
                format_interval(row.estimate),
                row.status,
            )
            for row in self.ladder
        ]
        return [*rows, *((name, "", "", "failed") for name in self.failures)]


def write_verdict(file: Path, verdict: Verdict) -> None:
    """Write verdict.json atomically."""
    files.write_json(file, typed_json.to_json(verdict))


def read_verdict(file: Path) -> Verdict | None:
    """Read what `write_verdict` wrote; None if there is no file. Raises RunError if it cannot be
    read.
    """
    if not file.exists():
        return None
    try:
        return typed_json.from_json(Verdict, files.read_json(file))
    except ValueError as error:
        raise RunError(
            f"{file} was written by another version of Étude, or is damaged ({error}). {RUN_REMEDY}"
        ) from error


def build_scored_rows(lines: Iterable[Mapping[str, Any]], *, labels: bool) -> ScoredRows:
    """Build the rows of one side from lines of predictions.jsonl; `labels`: whether statistics need
    the expected answers, for classify and extract.
    """
    lines = list(lines)
    return ScoredRows(
        ids=[line["id"] for line in lines],
        units=[line["unit"] for line in lines],
        expected=[line["expected"].strip() for line in lines] if labels else (),
        tags=[line["tags"] for line in lines],
    )


def build_method_result(
    name: str, lines: Iterable[Mapping[str, Any]], ids: Sequence[str], **facts: Any
) -> MethodResult:
    """Build one method's result from its lines of predictions.jsonl, in the order of `ids`.
    `facts`: the other fields.

    Raises KeyError if the lines do not belong to the first `ids`.
    """
    by_id = {line["id"]: line for line in lines}
    rows = [by_id[row] for row in ids[: len(by_id)]]
    return MethodResult(
        name=name,
        scores=[float(row["score"]) for row in rows],
        predicted=[to_label(row["value"], row["answer"]) for row in rows],
        keeps_contract=[row["keeps_contract"] for row in rows],
        check=[row["check"] for row in rows],
        other_metrics={
            metric: [row["other_metrics"][metric] for row in rows]
            for metric in rows[0]["other_metrics"]
        },
        truncated=[row["truncated"] for row in rows],
        cost=PricedCost(*(sum(row[key] for row in rows) / len(rows) for key in COST_KEYS)),
        **facts,
    )
