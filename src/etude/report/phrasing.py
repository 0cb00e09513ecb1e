"""Texts and table rows of the report, for report.html and report.md."""

from collections.abc import Mapping, Sequence
from typing import Any

from etude.base import formatting
from etude.base.files import Json
from etude.metrics import CALL_PARTS, LABELS
from etude.report.contents import MethodView, Report
from etude.runs.details import ClassResult, Details, PlayResult
from etude.runs.verdict import HeadlineResult, Verdict
from etude.stats import ALPHA
from etude.stats.intervals import scale_estimate
from etude.types import Estimate

SPACE = "\u00a0"  # A space without a line break.
EQUALS = f"{SPACE}={SPACE}"
# Each status has its own shape, so that it can be read without colours.
STATUS_MARKS = {
    "among the best": "\u25cf",
    "worse": "\u25bc",
    "worse on dev": "\u25bc",
    "undecided": "\u25c6",
    "not measured enough": "\u25c6",
    "failed": "\u2718",
}
TARGET_MARKS = {
    "met": "\u2714 target met",
    "missed": "\u2718 target missed",
    "not sure": "? target uncertain",
}
TRUNCATED = "cut at the length limit"  # The kind of failure of a truncated answer.
MIN_EXCESS = (
    0.02  # over- or under-confidence is only reported if its whole interval is at least this large
)
# pairs of labels or questions that are listed, and characters of an example
MAX_PAIRS = 10
MAX_EXAMPLE = 160
COSTS_HEADER = ("Method", "Cost of a question", "If all were answered", "Handed over")
HANDOVER_HEADER = ("Method", "Answered", "Wrong among its answers", "More confident if right")
UNANSWERABLE_HEADER = (
    "Method",
    "Answered, but not in the documents",
    "Not answered, but in the documents",
)
CALLS_HEADER = ("Method", *CALL_PARTS.values())
TURNS_HEADER = ("Method", "First turn", "Second", "Later", "Worst turn of a conversation")
PLAYS_HEADER = (
    "Method",
    "Turns, true history",
    "Turns, played",
    "Lost",
    "Conversations, true history",
    "Conversations, played",
    "Finished",
)
CHECKS_NOTE = (
    "Only the quick checks of the rows were run here. etude check TASK also finds labels that "
    "look wrong, values that are not in the text, and mixed style; such errors lower every result."
)
RUN_STATES = {
    "running": "This run is not finished. This page shows the results so far.",
    "interrupted": "This run was interrupted. This page shows the results so far; run the same "
    "command to continue.",
    "failed": "This run failed. This page shows the results so far; run the same command to "
    "continue.",
}
UNDECIDED = {
    "cut": "Training was limited to fewer rows or epochs, so this is not decided.",
    "few rows": "There are too few rows for a verdict on fine-tuning.",
}


def format_estimate(estimate: Estimate) -> str:
    """Format a value with its interval: `82.5% (78.1 to 86.4, n = 400)`."""
    interval = formatting.format_interval(estimate)
    return f"{formatting.format_percent(estimate.value)} ({interval}, n{EQUALS}{estimate.n:,})"


def format_difference(difference: Estimate) -> str:
    """Format a difference for a sentence: `+6 points (95% interval +2 to +10, n = 400)`."""
    return formatting.format_gap(difference, signed=True).replace(" = ", EQUALS)


def format_tick(value: float) -> str:
    """Format a value on an axis."""
    return f"{100 * value:.4g}%"


def format_metric(report: Report) -> str:
    """Format the headline metric, and why it is the headline, as the start of a sentence."""
    reason = f", {report.metric_reason}" if report.metric_reason else ""
    return f"{capitalize(report.metric_label)}{reason}"


def list_other_metrics(report: Report) -> dict[str, str]:
    """Map the names of the other metrics to their labels; empty before the test."""
    names = dict.fromkeys(name for method in report.methods for name in method.other_metrics)
    return {name: capitalize(LABELS.get(name, name)) for name in names}


def format_seconds(value: float | None) -> str:
    """Format a time; empty if it is unknown."""
    return "" if value is None else formatting.format_time(value)


def capitalize(text: str) -> str:
    """Capitalize the start of a sentence, except names such as chrF."""
    first = text.split(" ", 1)[0]
    return text[:1].upper() + text[1:] if first.islower() or "-" in first else text


def format_price(value: float | None) -> str:
    """Format the price of 1,000 requests with three significant digits; empty if it is unknown."""
    return "" if value is None else formatting.format_decimal(1000 * value)


def format_headline(report: Report) -> str:
    """Format the comparison that was declared in advance; empty without one."""
    headline = report.verdict.headline if report.verdict else None
    if headline is None:
        return ""
    labels = {method.name: method.label for method in report.methods}
    tuned, untuned = (labels.get(name, name) for name in (headline.tuned, headline.untuned))
    p = f"{formatting.format_p_value(headline.p).replace(' ', SPACE)} by {headline.test}"
    gap = format_difference(headline.difference)
    return f"“{tuned}” minus “{untuned}”: {gap}, {p}. {_read_headline(headline)}"


def _read_headline(headline: HeadlineResult) -> str:
    if headline.undecided:
        return UNDECIDED[headline.undecided]
    if headline.difference.low <= 0 <= headline.difference.high:
        return f"The interval includes zero: this test shows no gain from {headline.tuned}."
    side, effect = ("above", "gain") if headline.difference.low > 0 else ("below", "loss")
    outcome = "improves the result" if effect == "gain" else "makes the result worse"
    if headline.p > ALPHA:
        return (
            f"The whole interval is {side} zero, but this may be chance, so it does not count as "
            f"a {effect}."
        )
    if effect == "gain" and not headline.gains:
        return "The whole interval is above zero, but there are too few rows to call it a gain."
    return f"The whole interval is {side} zero: {headline.tuned} {outcome}."


def count_test_rows(report: Report) -> str:
    """Count the answered test rows: `400 test rows`, `300 of 400 test rows`, or `50 to 400 test
    rows (column n)`. With `turns: all`, add the number of conversations.
    """
    most = report.num_test_answered
    num_units = report.split["test"]
    counts = [row.rows for row in report.verdict.ladder if row.rows] if report.verdict else []
    total = report.verdict.test_rows.total if report.verdict else num_units
    if min(counts, default=most) < most:
        column = "Column n counts their conversations" if total > num_units else "column n"
        return f"{min(counts):,} to {most:,} test rows ({column})"
    answered = f"{most:,} of {total:,} test rows" if most < total else f"{total:,} test rows"
    return f"{answered} in {num_units:,} conversations" if total > num_units else answered


def count_failures(report: Report) -> dict[str, dict[str, int]]:
    """Count dev rows: kind of failure -> method -> rows. The most frequent kind first, truncated
    answers last.
    """
    counts: dict[str, dict[str, int]] = {}
    for method in report.methods:
        for kind, count in method.failures.items():
            counts.setdefault(kind, {})[method.name] = count
    kinds = sorted(counts, key=lambda kind: (-sum(counts[kind].values()), kind))
    truncated = {
        method.name: method.num_truncated_dev
        for method in report.methods
        if method.num_truncated_dev
    }
    return {kind: counts[kind] for kind in kinds} | ({TRUNCATED: truncated} if truncated else {})


def get_training_outcome(report: Report) -> str:
    """Return the result of `etude train` in a sentence."""
    texts = [method.params["text"] for method in report.methods if "text" in method.params]
    return str(texts[0]) if texts else "The training is not finished."


def format_best_small(report: Report) -> str:
    """Format the best test result of the methods without a language model; empty if there is
    none.
    """
    results = {
        view.name: view.test for view in report.methods if view.test and not view.has_language_model
    }
    best = max(results, key=lambda name: results[name].value, default="")
    return (
        f"Without a language model, {best} is best: {format_estimate(results[best])}."
        if best
        else ""
    )


def list_only_right(report: Report, method: str, other: str) -> list[Json]:
    """List the dev rows that one of two methods gets right and the other does not: its line of
    each. With a graded metric, those where it is better by the margin.
    """
    least = report.min_change or 1
    rows = [row for row in report.dev if {method, other} <= row.keys()]
    return [row[method] for row in rows if row[method]["score"] - row[other]["score"] >= least]


def format_status(method: MethodView) -> str:
    """Format a method's status and its mark by the target, each with its shape."""
    status = f"{STATUS_MARKS[method.status]} {method.status}" if method.status else ""
    return ", ".join(filter(None, (status, TARGET_MARKS[method.target] if method.target else "")))


def format_train_rows(report: Report, rows: int | None) -> str:
    """Format how many rows a method was trained on: `1,440`, or `456 of 1,440`."""
    return formatting.format_part(rows or 0, report.split["train"])


def format_rows_to_decide(report: Report) -> str:
    """Format how many test rows would decide each undecided method; empty if none is known."""
    rows = {
        method.name: method.rows_to_decide for method in report.methods if method.rows_to_decide
    }
    texts = {
        name: formatting.format_rows(num, report.num_test_answered) for name, num in rows.items()
    }
    listed = ", ".join(
        f"{name} {'about ' * text[0].isdigit()}{text}" for name, text in texts.items()
    )
    return f"Test rows needed to decide: {listed}." if listed else ""


def format_elapsed_time(report: Report) -> str:
    """Format the elapsed time and the budget; empty if the time is unknown."""
    if report.elapsed_seconds is None:
        return ""
    budget = (
        f" of a budget of {formatting.format_time(report.budget_seconds)}"
        if report.budget_seconds
        else ""
    )
    return f"The run took {formatting.format_time(report.elapsed_seconds)}{budget}."


def format_openings(report: Report) -> str:
    """Format how often the test was opened."""
    if report.openings == 0:
        return "No test row was answered when this page was written."
    times = "once" if report.openings == 1 else f"{report.openings} times"
    return f"The test has been opened {times}, counting all runs."


def list_items(mapping: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List a mapping's numbers and texts; `text`, nested values and None are left out."""
    pairs = []
    for key, value in mapping.items():
        if key == "text" or value is None or isinstance(value, dict | list):
            continue
        if isinstance(value, float):
            value = formatting.format_decimal(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            value = f"{value:,}"
        pairs.append((key.replace("_", " "), str(value)))
    return pairs


def format_search_scores(method: MethodView) -> str:
    """Format the scores of the chosen instructions on the rows that steered the search, on the
    others and on test.
    """
    search = method.params["prompt_search"]
    chosen = next(trial for trial in method.candidates if trial.is_chosen)
    is_kept = chosen == method.candidates[0]
    start = (
        "The instructions as given were kept"
        if is_kept
        else "The searched instructions were chosen"
    )
    score = search["scores"][0 if is_kept else search["best"]]
    steered = (
        f"{formatting.format_percent(score)} on {search['steering_rows']:,} dev rows that steered "
        "the search"
    )
    on_test = f", {format_estimate(method.test)} on the test" if method.test else ""
    return (
        f"{start}. They score {steered}, {format_estimate(chosen.dev)} on the other half of "
        f"dev{on_test}."
    )


def list_confused_pairs(
    classes: Sequence[ClassResult], method: MethodView
) -> list[tuple[str, ...]]:
    """List the pairs of labels that a method confuses most on test and dev: right label, answered
    label, test rows, dev rows, and inputs of dev rows as examples.
    """
    on_test = {
        (row.label, answered): number
        for row in classes
        for answered, number in row.confused_with.items()
    }
    counts = {
        pair: on_test.get(pair, 0) + len(method.confused.get(pair, ()))
        for pair in (*on_test, *method.confused)
    }
    rows: list[tuple[str, ...]] = []
    for pair in sorted(counts, key=lambda pair: (-counts[pair], pair))[:MAX_PAIRS]:
        texts = method.confused.get(pair, ())
        examples = " · ".join(
            text if len(text) <= MAX_EXAMPLE else f"{text[:MAX_EXAMPLE]}…" for text in texts[:2]
        )
        rows.append((*pair, f"{on_test.get(pair, 0):,}", f"{len(texts):,}", examples))
    return rows


def list_cost_rows(report: Report) -> list[tuple[str, ...]]:
    """List the costs: for each method, the cost of a question, the cost if no question were handed
    over, and the share handed over. The last row is the cost of handing over every question; empty
    without `costs:`.
    """
    result = report.verdict.error_costs if report.verdict else None
    handover = result.handover if result else None
    no_method = (
        ()
        if handover is None
        else (("no method", formatting.format_decimal(handover), "", "100%"),)
    )
    rows = [
        (
            name,
            formatting.format_estimate_decimal(method.cost),
            formatting.format_estimate_decimal(method.cost_if_all_answered),
            formatting.format_percent(method.handed_over),
        )
        for name, method in (result.methods if result else {}).items()
    ]
    return [*rows, *no_method]


def list_handover_rows(report: Report) -> list[tuple[str, ...]]:
    """List each method that can hand over, with what it answers itself; empty without
    `handover:`.
    """
    return [
        (
            name,
            format_estimate(result.answered),
            format_estimate(result.wrong) if result.wrong else "",
            format_estimate(result.auroc),
        )
        for name, details in _get_details(report)
        if (result := details.handover)
    ]


def list_unanswerable_rows(report: Report) -> list[tuple[str, ...]]:
    """List each method with how often it answers what the documents do not say, and the reverse."""
    return [
        (
            name,
            *(format_estimate(rate) if rate else "" for rate in (result.answered, result.refused)),
        )
        for name, details in _get_details(report)
        if (result := details.unanswerable)
    ]


def list_turn_rows(report: Report) -> list[tuple[str, ...]]:
    """List each method with its scores by turn, and over whole conversations."""
    by_turn = {
        (row.method, row.value): format_estimate(row.estimate)
        for row in (report.verdict.by_tag if report.verdict else ())
        if row.tag == "turn"
    }
    return [
        (
            name,
            *(by_turn.get((name, turn), "") for turn in ("first", "second", "later")),
            format_estimate(whole),
        )
        for name, details in _get_details(report)
        if (whole := details.conversations)
    ]


def list_play_rows(plays: Mapping[str, PlayResult]) -> list[tuple[str, ...]]:
    """List each method with its scores by turn and by conversation, with the true history and
    played.
    """
    return [
        (
            name,
            *map(format_estimate, (result.turns, result.played_turns)),
            f"{formatting.format_difference(result.lost.value)} "
            f"({formatting.format_interval(result.lost)})",
            *map(format_estimate, (result.whole, result.played)),
            format_estimate(result.finished) if result.finished else "",
        )
        for name, result in plays.items()
    ]


def list_play_problems(plays: Mapping[str, PlayResult]) -> list[str]:
    """List what went wrong in each method's plays, apart from wrong answers."""
    return [
        f"{name}: {problem} in {formatting.format_count(count, 'conversation')}."
        for name, result in plays.items()
        for problem, count in result.problems.items()
    ]


def list_call_rows(report: Report) -> list[tuple[str, ...]]:
    """List each method with the parts of its function calls."""
    return [
        (name, *(format_estimate(calls[part]) if part in calls else "–" for part in CALL_PARTS))
        for name, details in _get_details(report)
        if (calls := details.calls)
    ]


def _get_details(report: Report) -> list[tuple[str, Details]]:
    return list(report.verdict.details.items()) if report.verdict else []


def list_calibration_sentences(report: Report) -> list[str]:
    """List sentences on methods that are over- or under-confident on the test, on the effect of
    recalibration, and on the confidence in rows with several questions.
    """
    labels = {method.name: method.label for method in report.methods}
    sentences = []
    for name, details in _get_details(report):
        if (calibration := details.calibration) is None:
            continue
        label = labels.get(name, name)
        stated = calibration.before or calibration
        excess = stated.overconfidence
        if excess.low >= MIN_EXCESS:
            sentences.append(f"{label} is over-confident by {formatting.format_gap(excess)}.")
        elif excess.high <= -MIN_EXCESS:
            gap = formatting.format_gap(scale_estimate(excess, -1))
            sentences.append(f"{label} is under-confident by {gap}.")
        if calibration.before:
            sentences.append(
                f"{label}: recalibration on dev changed the calibration error from "
                f"{format_estimate(stated.calibration_error)} to "
                f"{format_estimate(calibration.calibration_error)}, and the Brier score from "
                f"{stated.brier.value:.3f} to {calibration.brier.value:.3f}."
            )
        if of_rows := details.row_calibration:
            sentences.append(
                f"{label}: the probability that all answers of a row are right has a calibration "
                f"error of {format_estimate(of_rows.calibration_error)} and a Brier score of "
                f"{of_rows.brier.value:.3f}."
            )
    return sentences


def list_fields(verdict: Verdict | None) -> list[str]:
    """List the fields of an extract task in the order of the leaning method's F1, the worst
    first.
    """
    if verdict is None:
        return []
    names = (name for name in (verdict.leaning, *verdict.details) if name in verdict.details)
    return list(dict.fromkeys(field for name in names for field in verdict.details[name].fields))
