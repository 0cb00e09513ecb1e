"""What the report says in words: estimates, the declared comparison, training, openings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from etude.base import wording
from etude.base.wording import bounds, decimal, p_value, percent, points, rows_in_words, time_in_words
from etude.metrics import LABELS
from etude.report.contents import Epoch, Report, Rung
from etude.runs.details import ClassResult
from etude.runs.verdict import Evidence, HeadlineResult, JudgeResult, Verdict
from etude.stats import ALPHA
from etude.types import Estimate

SPACE = "\u00a0"
"""A space at which no line is broken."""
EQUALS = f"{SPACE}={SPACE}"

MARKS = {"among the best": "\u25cf", "worse": "\u25bc", "undecided": "\u25c6"}
"""The shape that stands for a status, so that colour is never the only sign."""

TARGET_MARKS = {"met": "\u2714 target met", "missed": "\u2718 target missed", "not sure": "? target not sure"}
"""What stands beside a method where the task has a target."""

CUT = "cut at the length limit"
"""What is said of an answer that the length limit stopped."""

RELIANCE = (
    "On test, of the rows that have one. The calibration error is how far the share of right labels is from their "
    "probability, on average over 15 bins of equally many rows; few rows alone make it larger than 0. The Brier score "
    "is the mean squared distance of the probability from right (1) or wrong (0). The surest rows are those that "
    "would be answered if the others were left to people."
)
CLASSES = "On test. What the rows of a label were given in its place, and how often: the confusion matrix, row by row."
FIELDS = "F1 of each field on test, the worst first: fields wanted and given, and right when their values are equal."

RUN_STATES = {
    "running": "This run is not finished. This page shows what was done so far.",
    "interrupted": "This run was interrupted. This page shows what was done so far; run the same command to continue.",
    "failed": "This run failed. This page shows what was done so far; run the same command to continue.",
}


def estimate(found: Estimate) -> str:
    """Value, bounds and n: `82.5% (78.1 to 86.4, n = 400)`."""
    return f"{percent(found.value)} ({bounds(found)}, n{EQUALS}{found.n:,})"


def difference(found: Estimate) -> str:
    """A difference with its bounds and n, for a sentence: `+6.1 points (95% interval +2 to +10.1, n = 400)`."""
    value, low, high = (points(part, signed=True) for part in (found.value, found.low, found.high))
    return f"{value} points (95% interval {low} to {high}, n{EQUALS}{found.n:,})"


def tick(value: float) -> str:
    """A value on an axis."""
    return f"{100 * value:.4g}%"


def metric(report: Report) -> str:
    """The headline metric with the reason why it is, as the start of a sentence."""
    why = f", {report.metric_why}" if report.metric_why else ""
    return f"{opening(report.metric_label)}{why}"


def others(report: Report) -> dict[str, str]:
    """The metrics beside the headline, by name, each in words; empty before the test."""
    names = dict.fromkeys(name for rung in report.rungs for name in rung.others)
    return {name: opening(LABELS[name]) for name in names}


def seconds(value: float | None) -> str:
    """A time in words; empty where none is known."""
    return "" if value is None else time_in_words(value)


def opening(text: str) -> str:
    """A text as the start of a sentence: its first letter changes, but chrF and the like stay as they are."""
    first = text.split(" ", 1)[0]
    return text[:1].upper() + text[1:] if first.islower() or "-" in first else text


def price(value: float | None) -> str:
    """The price of 1,000 requests with three significant digits."""
    if value is None:
        return ""
    return decimal(1000 * value)


def headline(report: Report) -> str:
    """The comparison that was declared in advance, as one sentence; empty without one."""
    found = report.verdict.headline if report.verdict else None
    if found is None:
        return ""
    labels = {rung.name: rung.label for rung in report.rungs}
    tuned, untuned = labels.get(found.tuned, found.tuned), labels.get(found.untuned, found.untuned)
    p = f"{p_value(found.p).replace(' ', SPACE)} by {found.test}"
    return f"“{tuned}” against “{untuned}”: {difference(found.difference)}, {p}. {_reading(found)}"


UNDECIDED = {
    "cut": "Tuning has seen a part of its training, so nothing is decided.",
    "few rows": "The rows are too few for a verdict on tuning.",
}


def _reading(found: HeadlineResult) -> str:
    if found.undecided:
        return UNDECIDED[found.undecided]
    if found.difference.low <= 0 <= found.difference.high:
        return "The interval includes zero: this test shows no gain from fine-tuning."
    by_chance = found.p > ALPHA
    if found.difference.high < 0:
        claim = "no loss is claimed: chance is not ruled out" if by_chance else "fine-tuning loses"
        return f"The whole interval is below zero{', but' if by_chance else ':'} {claim}."
    if found.gains:
        return "The whole interval is above zero: fine-tuning gains."
    why = "chance is not ruled out" if by_chance else "the rows are too few"
    return f"The whole interval is above zero, but no gain is claimed: {why}."


JUDGED_HEAD = ("Method", "Judge says right", "As people would judge")


def judge(found: JudgeResult) -> str:
    """Who judged, how far it agrees with people, and which answers of the declared pair it prefers, in sentences."""
    if found.kappa is None:
        checked = (
            f"not checked against people ({found.labelled:,} answers with people's labels, 30 are needed)"
        )
    else:
        kappa = f"{found.kappa.value:.2f} (95% interval {found.kappa.low:.2f} to {found.kappa.high:.2f}"
        checked = f"its agreement with people on {found.labelled:,} answers is kappa {kappa})"
    parts = [f"Judged by {found.judge}: {checked}. It decides nothing."]
    if pair := found.pair:
        parts.append(
            f"With both orders shown, it prefers {pair.tuned} to {pair.untuned} on {pair.wins:,} test rows, the other "
            f"on {pair.losses:,}, and neither on {pair.ties:,}."
        )
    if found.unread:
        parts.append(f"Replies that were neither yes nor no, which are left out: {found.unread:,}.")
    return " ".join(parts)


def judged_rows(found: JudgeResult) -> list[tuple[str, str, str]]:
    """The table of the judge: each method, the share it calls right, and that share corrected by its agreement."""
    unchecked = "not checked against people" if found.kappa is None else "no better than chance"
    return [
        (each.method, estimate(each.said), estimate(each.corrected) if each.corrected else unchecked)
        for each in found.shares
    ]


EVIDENCE_HEAD = ("Fit", "Rows learned from", "Result")


def evidence(found: Evidence) -> str:
    """What was done on request, what it took and what the last doubling gained, in sentences."""
    took = time_in_words(found.seconds)
    parts = [
        f"{found.method} was fitted on parts of its rows and with other seeds, which took {took}; its own fit is the "
        "last point and the first training run. Where passages are looked up, the search is that of all rows."
    ]
    if found.doubling is not None:
        parts.append(f"The last doubling of the rows changed the result by {difference(found.doubling)}.")
    return " ".join(parts)


def curve_rows(found: Evidence) -> list[str]:
    """The numbers of rows under the points of the learning curve."""
    return [f"{point.rows:,}" for point in found.curve]


def evidence_rows(found: Evidence) -> list[tuple[str, str, str]]:
    """The table of all fits: what each is, its rows, its result."""
    whole = curve_rows(found)[-1]
    curve = [("on dev", f"{point.rows:,}", estimate(point.estimate)) for point in found.curve]
    return [*curve, *((f"on test, seed {run.seed}", whole, estimate(run.estimate)) for run in found.runs)]


def test_rows(report: Report) -> str:
    """How many rows of the test are answered: `400 test rows`, or `300 of 400 test rows`."""
    whole = report.split["test"]
    part = f"{report.answered:,} of " if report.answered < whole else ""
    return f"{part}{whole:,} test rows"


def power_heading(report: Report) -> str:
    """What the smallest differences depend on: how often two methods disagree, or how far their scores spread."""
    if report.graded:
        return "When row by row the scores of two methods differ by (standard deviation)"
    return "When two methods disagree on"


def power_rows(report: Report) -> list[tuple[str, str]]:
    """What the smallest difference depends on, and the difference, both in words."""
    when = [
        f"{100 * math.sqrt(d):.0f} points" if report.graded else f"{100 * d:.0f}% of rows"
        for d, _ in report.power
    ]
    shown = ["nothing" if size is None else f"{100 * size:.1f} points" for _, size in report.power]
    return list(zip(when, shown, strict=True))


def power_on_dev(report: Report) -> str:
    """The smallest difference of the declared pair that the test can show; empty if none is known."""
    if report.shown_on_dev is None:
        return ""
    pair = f"{report.tuned} and {report.untuned}"
    return f"From how {pair} differ on dev, it can show {points(report.shown_on_dev)} points between them."


def turned(report: Report) -> tuple[str, str]:
    """What tuning made of rows whose score it raised, and of those it lowered."""
    return ("Higher with", "Lower with") if report.graded else ("Fixed by", "Broken by")


def least_turn(report: Report) -> str:
    """Which rows are called higher or lower, in a sentence; empty where a row is right or wrong."""
    if not report.graded:
        return ""
    return f"Higher and lower are rows whose score changed by {points(report.least_turn)} points, the margin, or more."


def failure_kinds(report: Report) -> dict[str, dict[str, int]]:
    """Kind of failure -> method -> on how many dev rows; the most frequent kind first, cut answers last."""
    counts: dict[str, dict[str, int]] = {}
    for rung in report.rungs:
        for kind, count in rung.failures.items():
            counts.setdefault(kind, {})[rung.name] = count
    kinds = sorted(counts, key=lambda kind: (-sum(counts[kind].values()), kind))
    cut = {rung.name: rung.cut_dev for rung in report.rungs if rung.cut_dev}
    return {kind: counts[kind] for kind in kinds} | ({CUT: cut} if cut else {})


def failure_note(report: Report) -> str:
    """What is no failure under a graded metric, and that nothing failed where nothing did; empty elsewhere."""
    nothing = not failure_kinds(report)
    if not report.graded:
        return "No failure on dev." if nothing else ""
    graded = f"{opening(report.metric_label)}: answers are graded, so right and wrong are not counted here."
    return f"{graded} Nothing else failed on dev." if nothing else graded


KEPT = {
    "whole": "keeps all, word for word",
    "first_sentence": "keeps only the first sentence; the weights learn the rest",
    "none": "keeps nothing; the weights learn them",
}
"""What of the instructions a tuned model keeps -> what is said of its prompt."""


def tuned_prompt(report: Report) -> str:
    """What fine-tuning does to the instructions; empty where nothing was tuned."""
    parts = [KEPT[rung.params["instructions"]] for rung in report.rungs if "instructions" in rung.params]
    return f"Instructions: the fine-tuned model's prompt {parts[0]}." if parts else ""


def outcome(report: Report) -> str:
    """What came of a training; until then, that it has not ended."""
    texts = [rung.params["text"] for rung in report.rungs if "text" in rung.params]
    return str(texts[0]) if texts else "The training is not finished."


def epochs(report: Report) -> list[tuple[str, ...]]:
    """The table of a training's epochs, its heading first."""
    found = report.curve.epochs if report.curve else ()
    measured = any(epoch.score for epoch in found)
    metric_head = ("Metric on dev",) if measured else ()
    head = ("Epoch", "After step", "Loss in training", "Loss on dev", *metric_head, "")
    return [head, *(_epoch(epoch, measured) for epoch in found)]


def _epoch(epoch: Epoch, measured: bool) -> tuple[str, ...]:
    train = "" if epoch.train_loss is None else wording.loss(epoch.train_loss)
    score = ((estimate(epoch.score) if epoch.score else ""),) if measured else ()
    states = ("kept" if epoch.best else "", "overfits" if epoch.overfits else "")
    state = ", ".join(filter(None, states)) or ("before training" if epoch.epoch == 0 else "")
    return (f"{epoch.epoch}", f"{epoch.step:,}", train, wording.loss(epoch.dev_loss), *score, state)


def learned(report: Report) -> tuple[str, ...]:
    """What training learned and what it only read, in sentences; none where nothing was tuned."""
    return tuple(line for rung in _trained(report) for line in rung.params.get("supervision") or ())


def _trained(report: Report) -> list[Rung]:
    """The method whose training is shown."""
    return [rung for rung in report.rungs if report.curve and rung.name == report.curve.method]


def settings(report: Report) -> list[tuple[str, str, str]]:
    """Settings of training that were chosen or set by the user: (name, value, why)."""
    return [
        (name, wording.setting(rung.params["settings"].get(name)), why)
        for rung in _trained(report)
        for name, why in (rung.params.get("reasons") or {}).items()
    ]


def defaults(report: Report) -> str:
    """The other settings of training, in one line; empty where nothing was tuned."""
    found = [rung.params["defaults"] for rung in _trained(report) if "defaults" in rung.params]
    return wording.defaults(found[0]) if found else ""


def shown_rows(report: Report) -> list[Mapping[str, Any]]:
    """Training rows as they are learned: {"row", "why", "spans": [(text, whether it is learned)]}."""
    return [row for rung in _trained(report) for row in rung.params.get("shown_rows") or ()]


def role(report: Report, rung: Rung) -> str:
    """What the choices on dev made of a method; empty for most."""
    if rung.name == report.untuned:
        return "best untuned on dev"
    return "best tuned on dev" if rung.name == report.tuned else ""


def standing(rung: Rung) -> str:
    """A method's status, and its mark by the target, each with its shape."""
    status = f"{MARKS[rung.status]} {rung.status}" if rung.status else ""
    return ", ".join(filter(None, (status, TARGET_MARKS[rung.target] if rung.target else "")))


def learned_from(report: Report, rows: int | None) -> str:
    """How many rows a method learned from, and of how many where it is a part."""
    whole = report.split["train"]
    return "" if rows is None else f"{rows:,} of {whole:,}" if rows < whole else f"{rows:,}"


def rows_to_decide(report: Report) -> str:
    """The methods that are undecided and have a number of test rows that would decide; empty where none has."""
    rows = {rung.name: rung.rows_to_decide for rung in report.rungs if rung.rows_to_decide}
    shown = {name: rows_in_words(num, report.answered) for name, num in rows.items()}
    told = ", ".join(f"{name} {'about ' * text[0].isdigit()}{text}" for name, text in shown.items())
    return f"Test rows that would decide: {told}." if told else ""


def planned_and_taken(report: Report) -> str:
    """What was planned and what it took, in a sentence; empty where one of them is not known."""
    plan = report.plan
    if plan.minutes is None or plan.taken is None:
        return ""
    return f"Planned: {time_in_words(60 * plan.minutes)}. Taken: {time_in_words(60 * plan.taken)}."


def openings(report: Report) -> str:
    """How often the test was opened, in a sentence."""
    if report.openings == 0:
        return "The test has not been opened."
    times = "once" if report.openings == 1 else f"{report.openings} times"
    return f"The test has been opened {times}, in all runs together."


def plain(value: Any) -> str:
    """A value of a settings mapping as text."""
    if isinstance(value, float):
        return decimal(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def items(mapping: Any) -> list[tuple[str, str]]:
    """A mapping as pairs of words and text; `text`, nested values and those not known are left out."""
    pairs = ((str(key).replace("_", " "), value) for key, value in dict(mapping).items() if key != "text")
    return [(key, plain(value)) for key, value in pairs if not isinstance(value, (dict, list, type(None)))]


def shares(verdict: Verdict) -> list[str]:
    """The headings of the surest rows."""
    found = (each.reliance for each in verdict.details.values())
    return next(
        ([f"Right, surest {wording.share(row.share)}" for row in each.surest] for each in found if each), []
    )


def instead(found: ClassResult) -> str:
    """What a label's rows were given in its place: "refund 3, transfer 1"."""
    return ", ".join(f"{label} {number:,}" for label, number in found.instead.items())


def fields(verdict: Verdict | None) -> list[str]:
    """The fields of an extract task, those first that the method with the best claim gets worst."""
    if verdict is None:
        return []
    named = [
        verdict.details[name].fields
        for name in (verdict.leaning, *verdict.details)
        if name in verdict.details
    ]
    return list(dict.fromkeys(name for each in named for name in each))
