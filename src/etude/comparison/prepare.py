"""What is fixed before the first method is fitted: the data record, the power of the test, and the plan."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence

from etude.assistant import Assistant
from etude.base.formatting import format_points, format_rough_time, format_share, format_time
from etude.checks.quick_checks import list_label_notes
from etude.comparison.judging import confirm_judging
from etude.comparison.plan import EVIDENCE, Pacing, Plan, Workload, drop_methods, make_plan
from etude.data.dataset import MIN_VERDICT_ROWS, Dataset, few_rows_note
from etude.data.formats.columns import BY_COLUMN_NAMES
from etude.data.splits import Split
from etude.errors import Declined
from etude.estimates.row_checks import check_lengths
from etude.estimates.timing import TIMED_ANSWERS, measure_rates
from etude.evaluate import get_unit
from etude.methods import Method, needs_model
from etude.methods.fit_context import sample_evenly
from etude.metrics import Metric
from etude.models.registry import Models
from etude.runs import Run
from etude.runs.events import NoteEvent, OnEvent
from etude.runs.questions import ASK_SECONDS, Confirm, SendLimits, confirm_service
from etude.runs.record import write_data_record
from etude.runs.split import count_sides
from etude.stats.power import smallest_detectable, smallest_difference
from etude.task import Task

CLOSING_SECONDS = 5.0  # Seconds of a budget that are kept for the verdict and the report.
SAMPLED_ROWS = 50  # Dev rows whose prompts are counted in place of all.
# Shares of rows on which two methods may disagree; the smallest detectable difference is reported for each.
DISAGREEMENT_SHARES = (0.1, 0.2, 0.3)


def report_data(run: Run, task: Task, split: Split, metric: Metric, on_event: OnEvent) -> None:
    """Report rows, metric and the smallest difference that the test can show; write them to run.json."""
    sizes, power = count_sides(split), compute_power(split.test, metric)
    total = sum(sizes.values())
    warnings = [few_rows_note(total)] if total < MIN_VERDICT_ROWS else []
    notes = write_data_record(run, task, split, metric, [*warnings, *list_label_notes(task, split, metric)])
    run.update(power=power)
    sides = ", ".join(f"{rows:,} {side}" for side, rows in sizes.items())
    on_event(NoteEvent(f"{total:,} rows: {sides}. Metric: {metric.label}."))
    on_event(NoteEvent(f"This metric was chosen {metric.reason}.", detail=True))
    on_event(NoteEvent(f"This test can show: {format_power(power, metric)}.", detail=True))
    for note in notes:
        on_event(NoteEvent(f"Note: {note}", detail=BY_COLUMN_NAMES in note))


def compute_power(test: Dataset, metric: Metric) -> list[dict[str, float | None]]:
    """Compute the smallest difference that 80% of such tests show, for each of DISAGREEMENT_SHARES.

    Graded metrics such as chrF: for each standard deviation of the row differences; its square is the share.
    Rows of one group are taken to agree, the worst case. None if too few rows can disagree to show anything.
    """
    units = len({get_unit(example) for example in test})
    groups = units if units < len(test) else None
    shares = [share * share if metric.graded else share for share in DISAGREEMENT_SHARES]
    smallest = smallest_difference if metric.graded else smallest_detectable
    return [{"disagree": share, "difference": smallest(units, share, groups)} for share in shares]


def format_power(power: Sequence[Mapping[str, float | None]], metric: Metric) -> str:
    """Format the result of `compute_power` as the end of a sentence."""
    ends = {"chrf": " (standard deviation)", "macro_f1": " (in macro-F1 more if labels are rare)"}
    texts = []
    for line in power:
        difference, disagree = line["difference"], line["disagree"] or 0.0
        if difference is None:
            texts.append(f"nothing if two methods disagree on only {format_share(disagree)} of rows")
        elif metric.graded:
            spread = format_points(math.sqrt(disagree))
            texts.append(f"{format_points(difference)} points if the scores of a row differ by {spread}")
        else:
            share = format_share(disagree)
            texts.append(f"{format_points(difference)} points if two methods disagree on {share} of rows")
    return ", ".join(texts) + ends.get(metric.name, "")


def confirm_sending(
    task: Task,
    methods: Sequence[Method],
    split: Split,
    start: Assistant,
    models: Models,
    on_event: OnEvent,
    confirm: Confirm,
) -> None:
    """Report what is sent to the service that answers prompts, and ask before the first request.

    Without one nothing is asked. If nobody can answer, nothing leaves this machine. Raises Declined.
    """
    asking_methods = [method for method in methods if method.asks_model and not method.tuned]
    service = models.find_service(start.model.name)
    if service is None or not asking_methods:
        return
    sending = estimate_sending(task, asking_methods, split, start, models)
    confirm_service(service, sending, "gets the instructions and rows of this task", on_event, confirm)


def estimate_sending(
    task: Task, methods: Sequence[Method], split: Split, start: Assistant, models: Models
) -> SendLimits:
    """Estimate the most that will be sent: all candidates on dev, each method's longest on the test, and the timing.

    Each method is counted with the longest instructions of those before it, on which it may build. No test row is read.
    """
    model, rows = models.get(start.model), sample_evenly(split.dev, SAMPLED_ROWS)
    longest, base = 0.0, start
    requests, tokens = 2 * TIMED_ANSWERS + 1, 0.0
    for method in methods:
        prompts = method.list_prompts(task, split.train, base)
        lengths = [
            prompt.samples
            * sum(model.count_tokens(prompt.build_messages(row.input)) for row in rows)
            / len(rows)
            for prompt in prompts
        ]
        samples = [prompt.samples for prompt in prompts]
        requests += sum(samples) * len(split.dev) + max(samples) * len(split.test)
        longest = max(longest, *lengths)
        tokens += sum(lengths) * len(split.dev) + max(lengths) * len(split.test)
        if not any(prompt.shots or prompt.search for prompt in prompts):
            base = max(prompts, key=lambda prompt: len(prompt.instructions))
    tokens += 2 * TIMED_ANSWERS * longest
    return SendLimits(requests, round(tokens), requests * start.max_tokens)


def make_run_plan(
    run: Run,
    task: Task,
    methods: Sequence[Method],
    split: Split,
    start: Assistant,
    models: Models,
    started: float,
    on_event: OnEvent,
    confirm: Confirm,
) -> tuple[Plan, Pacing | None]:
    """Make the plan from a few timed steps and write it to run.json, or read the one that the run has.

    Also returns what keeps to a new plan under a budget, which counts from `started` (`time.monotonic`). Asks before
    anything is sent, before a plan of over an hour, and before methods are dropped. Raises Declined.
    """
    if saved := run.info.get("plan"):
        return Plan.from_dict(saved), None
    check_lengths(task, methods, start, split, models)
    confirm_sending(task, methods, split, start, models, on_event, confirm)
    confirm_judging(task, split, models, on_event, confirm)
    if needs_model(methods):
        on_event(NoteEvent("Timing a few steps ...", detail=True))
    work = _describe_work(task, methods, split, start)
    rates, budget = measure_rates(task, methods, start, split.train, models), task.budget_seconds
    overhead = time.monotonic() - started + CLOSING_SECONDS
    remaining = None if budget is None else budget - overhead
    plan = make_plan(work, rates, remaining)
    smallest = plan.total + overhead
    if remaining is not None and plan.total > remaining:
        plan = drop_methods(work, rates, remaining)
    summary, *cuts = format_plan(plan, task.budget_seconds)
    on_event(NoteEvent(summary, detail=plan.total < 60 and not plan.cuts))
    for line in cuts:
        on_event(NoteEvent(line, detail=True))
    if (question_text := make_question(plan, task.budget_seconds, smallest)) and not confirm(question_text):
        raise Declined("Nothing was run. Set `budget:` in the task file, such as budget: 15m.")
    run.update(
        plan=plan.to_dict()
        | {"minutes": (plan.total + overhead) / 60, "lines": list(format_plan(plan, None))},
        methods=[method.name for method in methods if method.name not in plan.left_out],
    )
    remaining_work = work.without(plan.left_out)
    return plan, None if remaining is None else Pacing(remaining_work, rates, time.monotonic() + remaining)


def _describe_work(task: Task, methods: Sequence[Method], split: Split, start: Assistant) -> Workload:
    num_candidates = {method.name: method.count_candidates(task, split.train, start) for method in methods}
    return Workload(
        num_candidates={name: num for name, num in num_candidates.items() if num},
        tuned=[method.name for method in methods if method.tuned],
        train=min(len(split.train), int(task.train.get("max_rows", len(split.train)))),
        dev=len(split.dev),
        test=len(split.test),
        searching=[method.name for method in methods if method.searches],
        all_train=len(split.train),
        evidence=task.evidence == "full",
    )


def format_plan(plan: Plan, budget: float | None) -> Iterator[str]:
    """Yield the planned time, with each method that takes a minute or more, then what was cut."""
    method_seconds = {**plan.seconds, EVIDENCE: plan.evidence_seconds}
    slow_methods = [
        f"{name} {format_rough_time(seconds)}" for name, seconds in method_seconds.items() if seconds >= 60
    ]
    method_times = f" ({', '.join(slow_methods)})" if slow_methods else ""
    limit = f" of {format_time(budget)}" if budget else ""
    cut = f", cut to fit the budget{limit}" if plan.cuts else ""
    yield f"Plan: {format_rough_time(plan.total)}{method_times}{cut}."
    if plan.cuts:
        yield f"To fit the budget{limit}: {'; '.join(plan.cuts)}."


def make_question(plan: Plan, budget: float | None, smallest: float) -> str | None:
    """Return what to ask before the start, if a limit is exceeded. `smallest`: seconds of the smallest plan with all
    methods; `plan` takes less if it leaves some out."""
    if budget is None:
        return f"This takes {format_rough_time(plan.total)}. Continue?" if plan.total > ASK_SECONDS else None
    if not plan.left_out and plan.total <= budget:
        return None
    limit = format_time(budget)
    summary = f"Even the smallest plan with all methods takes {format_rough_time(smallest)}, over the budget of {limit}"
    suggestion = f"budget: {math.ceil(smallest / 60)}m is enough for all"
    if not plan.left_out:
        return f"{summary}, and no method can be left out; {suggestion}. Continue?"
    without = f"Without {' and '.join(plan.left_out)} it takes {format_rough_time(plan.total)}"
    return f"{summary} ({suggestion}). {without}. Leave them out and continue?"
