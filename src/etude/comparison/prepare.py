"""Everything that is fixed before the first method is fitted: run, split, metric, power and plan."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence

from etude.assistant import Assistant
from etude.base.wording import points, rough_time, share, time_in_words
from etude.checks.quick_checks import row_notes
from etude.comparison.judging import confirm_judging
from etude.comparison.plan import EVIDENCE, Pacing, Plan, Workload, leave_out, make_plan
from etude.comparison.sending import confirm_sending
from etude.data.dataset import VERDICT_LEAST, Dataset, few_for_tuning
from etude.data.formats.columns import BY_NAMES
from etude.data.splits import Split
from etude.errors import Declined
from etude.evaluate import unit
from etude.methods import Method, asks_a_model
from etude.methods.foresight.timing import measure
from etude.methods.foresight.too_long import check_lengths
from etude.metrics import Metric
from etude.models.registry import Models
from etude.runs import Run
from etude.runs.events import NoteEvent, OnEvent
from etude.runs.questions import LONG, Confirm
from etude.runs.record import describe_data
from etude.runs.split import sizes_of
from etude.stats.power import smallest_difference, smallest_shown
from etude.task import Task

CLOSING = 5.0
"""Seconds of a budget that are kept for the verdict and the report."""
DISAGREEMENT = (0.1, 0.2, 0.3)
"""Shares of rows on which two methods may disagree, for which the smallest difference is given."""


def describe(run: Run, task: Task, parts: Split, metric: Metric, on_event: OnEvent) -> None:
    """Report rows, sizes, the metric and the smallest difference the test can show; keep them in run.json."""
    sizes, power = sizes_of(parts), power_of(parts.test, metric)
    total = sum(sizes.values())
    few = [few_for_tuning(total)] if total < VERDICT_LEAST else []
    notes = describe_data(run, task, parts, metric, [*few, *row_notes(task, parts, metric)])
    run.update(power=power)
    sides = ", ".join(f"{rows:,} {side}" for side, rows in sizes.items())
    on_event(NoteEvent(f"{total:,} rows: {sides}. Metric: {metric.label}."))
    on_event(NoteEvent(f"This metric was chosen {metric.why}.", detail=True))
    on_event(NoteEvent(f"This test can show: {power_words(power, metric)}.", detail=True))
    for note in notes:
        on_event(NoteEvent(f"Note: {note}", detail=BY_NAMES in note))


def power_of(test: Dataset, metric: Metric) -> list[dict[str, float | None]]:
    """The smallest difference that the test shows in 80% of cases, for each share of `DISAGREEMENT` of its rows
    on which two methods disagree, or for scores such as chrF for each spread of their differences, whose
    square is the share. Rows of one group are taken to agree, so that grouped tests show no less. None where
    so few rows that disagree can show nothing.
    """
    units = len({unit(example) for example in test})
    groups = units if units < len(test) else None
    shares = [d * d if metric.graded else d for d in DISAGREEMENT]
    smallest = smallest_difference if metric.graded else smallest_shown
    return [{"disagree": d, "difference": smallest(units, d, groups)} for d in shares]


def power_words(power: Sequence[Mapping[str, float | None]], metric: Metric) -> str:
    """What `power_of` gives, as the end of a sentence."""
    ends = {"chrf": " (standard deviation)", "macro_f1": " (in macro-F1 more, where the labels are rare)"}
    return ", ".join(_shown(line, metric) for line in power) + ends.get(metric.name, "")


def _shown(line: Mapping[str, float | None], metric: Metric) -> str:
    size, d = line["difference"], line["disagree"] or 0.0
    if size is None:
        return f"nothing if two methods disagree on only {share(d)} of rows"
    if metric.graded:
        return f"{points(size)} points if row by row two methods' scores differ by {points(math.sqrt(d))}"
    return f"{points(size)} points if two methods disagree on {share(d)} of rows"


def planned(
    run: Run,
    task: Task,
    methods: Sequence[Method],
    parts: Split,
    start: Assistant,
    models: Models,
    started: float,
    on_event: OnEvent,
    confirm: Confirm,
) -> tuple[Plan, Pacing | None]:
    """The run's plan: as it was first made, or made now from a few timed steps and kept in run.json; and what keeps
    to it, where it is new and there is a budget. The budget counts from `started`, by `time.monotonic`."""
    if saved := run.info.get("plan"):
        return Plan.from_dict(saved), None
    check_lengths(task, methods, start, parts, models)
    confirm_sending(task, methods, parts, start, models, on_event, confirm)
    confirm_judging(task, parts, models, on_event, confirm)
    if asks_a_model(methods):
        on_event(NoteEvent("Timing a few steps ...", detail=True))
    tries = {method.name: method.tries(task, parts.train, start) for method in methods}
    work = Workload(
        tries={name: count for name, count in tries.items() if count},
        tuned=[method.name for method in methods if method.tuned],
        train=min(len(parts.train), int(task.train.get("max_rows", len(parts.train)))),
        dev=len(parts.dev),
        test=len(parts.test),
        searching=[method.name for method in methods if method.searches],
        all_train=len(parts.train),
        evidence=task.evidence == "full",
    )
    rates, budget = measure(task, methods, start, parts.train, models), task.budget_seconds
    around = time.monotonic() - started + CLOSING
    left = None if budget is None else budget - around
    plan = make_plan(work, rates, left)
    smallest = plan.total + around
    if left is not None and plan.total > left:
        plan = leave_out(work, rates, left)
    first, *cuts = plan_lines(plan, task.budget_seconds)
    on_event(NoteEvent(first, detail=plan.total < 60 and not plan.shrunk))
    for line in cuts:
        on_event(NoteEvent(line, detail=True))
    if (asked := question(plan, task.budget_seconds, smallest)) and not confirm(asked):
        raise Declined("Nothing was run. Set `budget:` in the task file, such as budget: 15m.")
    run.update(
        plan=plan.to_dict() | {"minutes": (plan.total + around) / 60, "lines": list(plan_lines(plan, None))},
        methods=[method.name for method in methods if method.name not in plan.left_out],
    )
    kept = work.without(plan.left_out)
    return plan, None if left is None else Pacing(kept, rates, time.monotonic() + left)


def plan_lines(plan: Plan, budget: float | None) -> Iterator[str]:
    """The plan in words: the time, with that of each method which takes a minute or more, then what was cut."""
    steps = {**plan.seconds, EVIDENCE: plan.evidence_seconds}
    long = [f"{name} {rough_time(seconds)}" for name, seconds in steps.items() if seconds >= 60]
    parts = f" ({', '.join(long)})" if long else ""
    limit = f" of {time_in_words(budget)}" if budget else ""
    cut = f", cut to fit the budget{limit}" if plan.shrunk else ""
    yield f"Plan: {rough_time(plan.total)}{parts}{cut}."
    if plan.shrunk:
        yield f"To fit the budget{limit}: {'; '.join(plan.shrunk)}."


def question(plan: Plan, budget: float | None, smallest: float) -> str | None:
    """What to ask before starting, if a limit is exceeded. `smallest` are the seconds of the smallest plan with all
    methods; those of `plan` are fewer where some were left out."""
    if budget is None:
        return f"This takes {rough_time(plan.total)}. Continue?" if plan.total > LONG else None
    if not plan.left_out and plan.total <= budget:
        return None
    limit = time_in_words(budget)
    over = f"Even the smallest plan with all methods takes {rough_time(smallest)}, over the budget of {limit}"
    enough = f"budget: {math.ceil(smallest / 60)}m is enough for all"
    if not plan.left_out:
        return f"{over}, and nothing can be left out; {enough}. Continue?"
    without = f"Without {' and '.join(plan.left_out)} it takes {rough_time(plan.total)}"
    return f"{over} ({enough}). {without}. Leave them out and continue?"
