"""Details of each method on the test: confusions of classes, calibration of probabilities, values
of fields.

Computed from the test lines of predictions.jsonl. They do not affect the verdict.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from etude.base.files import Json
from etude.metrics import CALL_PARTS, ValueHits, count_value_hits, score_call_parts, to_label
from etude.stats import estimate, estimate_known, estimate_sample
from etude.stats.calibration import (
    RiskPoint,
    brier_score,
    compute_risk_coverage,
    estimate_auroc,
    iter_surest,
    list_reliability,
    measure_calibration_error,
    measure_overconfidence,
)
from etude.stats.sample import make_f1_sample, make_ratio_sample
from etude.task.definition import Handover
from etude.task.questions import split_answers
from etude.text.label_lists import split_labels
from etude.types import Estimate, Kind

SAME_SHARE = 0.95  # a method that gives one answer to at least this share of the rows is reported
NO_LABEL = "(no label)"  # an answer without a label
MAX_RISK_POINTS = 60  # points of the curve that are kept
STATED = "stated_confidence"  # key of predictions.jsonl: the confidence before it was recalibrated


@dataclass(frozen=True, slots=True)
class ClassResult:
    """The rows of one label."""

    label: str
    recall: Estimate
    """Share of its rows that are answered with it."""
    confused_with: Mapping[str, int]
    """Other label -> how many of its rows were answered with it, the most frequent first."""


@dataclass(frozen=True, slots=True)
class SurestRows:
    """The rows with the highest confidence, if the others are left to people."""

    share: float
    min_confidence: float
    """The lowest confidence among them."""
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """A bin of rows with similar probabilities; all bins have about the same number of rows."""

    confidence: float
    """Their mean probability."""
    right: Estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a method's label probabilities can be trusted, on the rows that have one."""

    calibration_error: Estimate
    """Expected calibration error over bins with equally many rows."""
    brier: Estimate
    overconfidence: Estimate
    """Mean probability minus the share that is right."""
    reliability: tuple[ReliabilityBin, ...]
    """The least sure rows first."""
    surest: tuple[SurestRows, ...]
    before: "Calibration | None" = None
    """Calibration before the recalibration; None if the probabilities were not recalibrated."""


@dataclass(frozen=True, slots=True)
class ValueScores:
    """Scores over the values of all fields, on the rows with a value in the answer or in the
    expected answer.
    """

    precision: Estimate | None
    """Share of the answered values that are right; None if no value was answered."""
    recall: Estimate | None
    """Share of the expected values that were answered; None if no value is expected."""
    f1: Estimate


@dataclass(frozen=True, slots=True)
class HandoverResult:
    """What is handed over, and how many of the other answers are wrong."""

    max_wrong: float
    """Largest share of wrong answers that the task allows."""
    answered: Estimate
    """Share of the rows that are not handed over."""
    wrong: Estimate | None
    """Share of their answers that are wrong; None if all rows are handed over."""
    auroc: Estimate
    """How often a right answer has a higher score than a wrong one."""
    curve: tuple[RiskPoint, ...]
    """For other thresholds, the highest first."""


@dataclass(frozen=True, slots=True)
class UnanswerableResult:
    """Answers to questions that the documents do not answer, and the reverse; handed-over answers
    count too.
    """

    answered: Estimate | None
    """Of the rows that should get the answer "not in the documents", the share with another answer;
    None without rows.
    """
    refused: Estimate | None
    """Of the other rows, the share that gets this answer; None without rows."""


@dataclass(frozen=True, slots=True)
class Details:
    """Details of one method's test answers."""

    classes: tuple[ClassResult, ...] = ()
    """For classify: the worst first."""
    calibration: Calibration | None = None
    """For classify, if the method gives probabilities; of several questions together."""
    row_calibration: Calibration | None = None
    """With several questions: of the probability that all answers of a row are right."""
    fields: Mapping[str, Estimate] = field(default_factory=dict)
    """For extract: F1 over the values of each field, the worst first."""
    calls: Mapping[str, Estimate] = field(default_factory=dict)
    """If right answers call functions: the share of rows that are right in each of `CALL_PARTS`."""
    values: ValueScores | None = None
    """For extract: over the values of all fields."""
    constant: str | None = None
    """The answer that nearly all rows got; None if answers differ, or if it is right for all of
    these rows.
    """
    handover: HandoverResult | None = None
    """If the task allows a share of wrong answers, and the method has a confidence."""
    unanswerable: UnanswerableResult | None = None
    """If the task has an answer for "not in the documents"."""
    conversations: Estimate | None = None
    """With `turns: all`: the lowest score of each conversation, averaged. For answers that are
    right or wrong, this is the share of conversations that are right in all turns.
    """


@dataclass(frozen=True, slots=True)
class PlayResult:
    """The plays of one method, beside its test answers to the same conversations."""

    turns: Estimate
    """Score of a turn, with the true history before it."""
    played_turns: Estimate
    """The same, with the assistant's own answers as history. A turn with another number of answers
    than in the row, because of calls, scores 0, and so do the turns after a conversation that had
    to end.
    """
    lost: Estimate
    """`turns` minus `played_turns`, on the same conversations."""
    whole: Estimate
    """Lowest score of each conversation's turns, with the true history."""
    played: Estimate
    """The same, with the assistant's own answers as history."""
    finished: Estimate | None = None
    """How far `finished` says that the tasks were done; None without such a function."""
    problems: Mapping[str, int] = field(default_factory=dict)
    """What went wrong -> in how many conversations; tools that raised are among them."""
    seconds: float = 0.0
    """Of all answers, without the tools."""


def compute_details(
    kind: Kind,
    lines: Sequence[Json],
    handover: Handover | None = None,
    turns: Mapping[str, int] | None = None,
) -> Details:
    """Compute the details of one method from its test lines, in any order. `turns`: conversation ->
    its questions.
    """
    rows = sorted(lines, key=lambda line: str(line["id"]))
    details = replace(
        _compute_by_kind(kind, rows), conversations=_score_conversations(rows, turns or {})
    )
    if handover is None:
        return details
    handed_over = _measure_handover(rows, handover)
    unanswerable = _count_unanswerable(rows, handover)
    return replace(details, handover=handed_over, unanswerable=unanswerable)


def _score_conversations(rows: Sequence[Json], turns: Mapping[str, int]) -> Estimate | None:
    conversations: dict[str, list[Json]] = {}
    for row in rows:
        conversations.setdefault(row.get("conversation", ""), []).append(row)
    # A budget may leave out some turns of a conversation, which then says nothing about all of
    # them.
    complete = [lines for name, lines in conversations.items() if len(lines) == turns.get(name)]
    scores = [min(line["score"] for line in lines) for lines in complete]
    return estimate(scores, [lines[0]["unit"] for lines in complete]) if complete else None


def _measure_handover(rows: Sequence[Json], handover: Handover) -> HandoverResult | None:
    scored_rows = [row for row in rows if row["confidence"] is not None]
    if handover.wrong is None or not scored_rows:
        return None
    scores = [
        row["confidence"] * (1.0 if "signals" in row else row.get("nearness", 1.0) ** 0.5)
        for row in scored_rows
    ]
    units = [row["unit"] for row in scored_rows]
    right = [row["score"] >= handover.right for row in scored_rows]
    wrong = [
        None if row.get("handed_over") else row["score"] < handover.right for row in scored_rows
    ]
    points = compute_risk_coverage(scores, right)
    step = -(-len(points) // MAX_RISK_POINTS)
    return HandoverResult(
        handover.wrong,
        estimate([value is not None for value in wrong], units),
        estimate_known(wrong, units),
        estimate_auroc(scores, right, units),
        tuple(points[::-1][::step][::-1]),
    )


def _count_unanswerable(rows: Sequence[Json], handover: Handover) -> UnanswerableResult | None:
    if not handover.unanswerable:
        return None
    units = [row["unit"] for row in rows]
    is_sentence = [handover.is_unanswerable(row["answer"]) for row in rows]
    is_expected = [handover.is_unanswerable(row["expected"]) for row in rows]
    pairs = list(zip(is_sentence, is_expected, strict=True))
    return UnanswerableResult(
        estimate_known([not said if expected else None for said, expected in pairs], units),
        estimate_known([None if expected else said for said, expected in pairs], units),
    )


def _compute_by_kind(kind: Kind, rows: Sequence[Json]) -> Details:
    ((answer, num_answered),) = Counter(row["answer"] for row in rows).most_common(1)
    is_excess = num_answered > sum(row["expected"] == answer for row in rows)
    constant = answer if num_answered >= SAME_SHARE * len(rows) and is_excess else None
    if kind == "classify":
        lines = [line for row in rows for line in split_line(row)]
        of_rows = _measure_calibration(rows) if len(lines) > len(rows) else None
        return Details(
            _count_classes(lines), _measure_calibration(lines), of_rows, constant=constant
        )
    if kind != "extract":
        return Details(constant=constant, calls=_score_calls(rows))
    hits = [count_value_hits(row["answer"], [row["expected"], *row["references"]]) for row in rows]
    units = [row["unit"] for row in rows]
    scores = {}
    for name in dict.fromkeys(name for fields in hits for name in fields):
        positions = [row for row, fields in enumerate(hits) if name in fields]
        counts = [hits[row][name] for row in positions]
        field_units = [units[row] for row in positions]
        scores[name] = estimate_sample(make_f1_sample(counts, field_units))
    scores = dict(sorted(scores.items(), key=lambda one: (one[1].value, one[0])))
    return Details(fields=scores, values=_score_values(hits, units), constant=constant)


def _score_calls(rows: Sequence[Json]) -> Mapping[str, Estimate]:
    scores = [
        score_call_parts(
            row["answer"], [row["expected"], *row["references"]], row.get("defaults", {})
        )
        for row in rows
    ]
    if not any("call" in parts for parts in scores):
        return {}
    units = [row["unit"] for row in rows]
    shares = {
        name: estimate_known([parts.get(name) for parts in scores], units) for name in CALL_PARTS
    }
    return {name: share for name, share in shares.items() if share}


def split_line(line: Json) -> Sequence[Json]:
    """Split a line of predictions.jsonl into one line per question. The question's name is put
    before its labels. A row with one question is returned as it is.
    """
    expected = split_answers(line["expected"])
    answered = split_answers(line["answer"]) if expected else {}
    return [
        {
            **line,
            "expected": f"{name}: {label}",
            "value": f"{name}: {answered[name]}" if answered.get(name) else None,
            "score": float(answered.get(name) == label),
            "confidence": line.get("confidences", {}).get(name),
            STATED: None,  # is that of all questions together
        }
        for name, label in expected.items()
    ] or [line]


def _count_classes(rows: Sequence[Json]) -> tuple[ClassResult, ...]:
    has_lists = any(isinstance(row["value"], list) for row in rows)
    by_label: dict[str, list[tuple[bool, list[str], str]]] = {}
    for row in rows:
        for label, is_right, wrong in list_expected(row, has_lists):
            by_label.setdefault(label, []).append((is_right, wrong, row["unit"]))
    results = []
    for label, answers in by_label.items():
        confused_with = Counter(name for _, wrong, _ in answers for name in wrong)
        recall = estimate(
            [float(is_right) for is_right, _, _ in answers], [unit for _, _, unit in answers]
        )
        results.append(
            ClassResult(
                label,
                recall,
                dict(sorted(confused_with.items(), key=lambda one: (-one[1], one[0]))),
            )
        )
    return tuple(
        sorted(
            results, key=lambda one: (one.recall.value, -sum(one.confused_with.values()), one.label)
        )
    )


def list_expected(line: Json, has_lists: bool) -> Iterator[tuple[str, bool, list[str]]]:
    """Yield each expected label, whether it was answered, and if not, what was answered wrongly
    instead.
    """
    if not has_lists:
        is_right = line["score"] == 1
        value = line["value"]
        answered_label = value.strip() if isinstance(value, str) else NO_LABEL
        yield line["expected"].strip(), is_right, [] if is_right else [answered_label]
        return
    expected, answered = (
        set(split_labels(text)) for text in (line["expected"], to_label(line["value"], ""))
    )
    for label in sorted(expected):
        yield label, label in answered, [] if label in answered else sorted(answered - expected)


def _measure_calibration(rows: Sequence[Json], key: str = "confidence") -> Calibration | None:
    confident_rows = [row for row in rows if row.get(key) is not None]
    if not confident_rows:
        return None
    numbers = (
        [row[key] for row in confident_rows],
        [float(row["score"] == 1) for row in confident_rows],
        [row["unit"] for row in confident_rows],
    )
    return Calibration(
        measure_calibration_error(*numbers),
        brier_score(*numbers),
        measure_overconfidence(*numbers),
        tuple(ReliabilityBin(*point) for point in list_reliability(*numbers)),
        tuple(SurestRows(*each) for each in iter_surest(*numbers)),
        _measure_calibration(rows, STATED) if key != STATED else None,
    )


def _score_values(
    hits: Sequence[Mapping[str, ValueHits]], units: Sequence[str]
) -> ValueScores | None:
    totals = [np.sum([*fields.values()], axis=0) if fields else np.zeros(3) for fields in hits]
    rows = [row for row, counts in enumerate(totals) if counts.any()]
    if not rows:
        return None
    counts = np.array([totals[row] for row in rows])
    units = [units[row] for row in rows]
    right, answered, expected = counts.T
    precision, recall = (
        estimate_sample(make_ratio_sample(right, values, units)) if values.any() else None
        for values in (answered, expected)
    )
    return ValueScores(precision, recall, estimate_sample(make_f1_sample(counts, units)))
