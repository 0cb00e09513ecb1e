"""What is fixed before the first method is fitted: the data record, the power of the test, and the plan."""

import math
import time
from collections.abc import Mapping, Sequence

from etude.assistant import Assistant, with_engine
from etude.base.formatting import format_names, format_points, format_rough_time, format_share, format_time
from etude.checks.quick_checks import list_label_notes
from etude.comparison.judging import confirm_judging
from etude.comparison.plan import (
    Allotment,
    MethodWork,
    Plan,
    Timekeeper,
    Workload,
    count_least_seconds,
    drop_methods,
    format_plan,
    make_plan,
)
from etude.data.dataset import MIN_VERDICT_ROWS, Dataset, few_rows_note
from etude.data.formats.columns import BY_COLUMN_NAMES
from etude.data.splits import Split
from etude.errors import Declined
from etude.estimates.row_checks import check_lengths
from etude.estimates.timing import TIMED_ANSWERS, Rates, measure_rates
from etude.evaluate import get_unit
from etude.methods import Method, needs_model
from etude.methods.shared.fit_context import resolve_contract, sample_evenly
from etude.metrics import Metric
from etude.models.registry import Models, find_backend
from etude.runs import Run
from etude.runs.events import NoteEvent, OnEvent
from etude.runs.questions import ASK_SECONDS, Confirm, SendLimits, confirm_service
from etude.runs.record import write_data_record
from etude.runs.split import count_sides
from etude.stats.power import smallest_detectable, smallest_difference
from etude.task import Task
from etude.task.endpoint import SERVED
from etude.types import Message, ModelRef

CLOSING_SECONDS = 5.0  # Seconds of a budget that are kept for the verdict and the report.
LEAST_SHARE = (
    0.5  # Methods and test get at least this share of the budget; with a slow timing, the run takes longer.
)
SAMPLED_ROWS = 50  # Dev rows whose prompts are counted; the total is extrapolated from them.
# Shares of rows on which two methods may disagree; the smallest detectable difference is reported for each.
DISAGREEMENT_SHARES = (0.1, 0.2, 0.3)


def report_data(
    run: Run, task: Task, split: Split, metric: Metric, on_event: OnEvent, notes_before: Sequence[str] = ()
) -> None:
    """Report rows, metric and the smallest difference that the test can show, and write them to run.json."""
    sizes, power = count_sides(split), compute_power(split.test, metric)
    total = sum(sizes.values())
    warnings = [few_rows_note(total)] if total < MIN_VERDICT_ROWS else []
    warnings += [*notes_before, *list_label_notes(task, split, metric)]
    notes = write_data_record(run, task, split, metric, warnings)
    run.update(power=power)
    sides = ", ".join(f"{rows:,} {side}" for side, rows in sizes.items())
    on_event(NoteEvent(f"{total:,} rows: {sides}. Metric: {metric.label}."))
    on_event(NoteEvent(f"This metric was chosen {metric.reason}.", detail=True))
    on_event(
        NoteEvent(f"Smallest difference that this test can show: {format_power(power, metric)}.", detail=True)
    )
    for note in notes:
        on_event(NoteEvent(f"Note: {note}", detail=BY_COLUMN_NAMES in note))


def compute_power(test: Dataset, metric: Metric) -> list[dict[str, float | None]]:
    """Compute the smallest difference that 80% of such tests show, for each of DISAGREEMENT_SHARES.

    For graded metrics such as chrF, these numbers are standard deviations of the row differences, and their squares are
    the shares. Rows of one group are assumed to agree, which is the worst case. A difference is None if too few rows
    can disagree to show any.
    """
    units = len({get_unit(example) for example in test})
    groups = units if units < len(test) else None
    shares = [share * share if metric.graded else share for share in DISAGREEMENT_SHARES]
    smallest = smallest_difference if metric.graded else smallest_detectable
    return [{"disagree": share, "difference": smallest(units, share, groups)} for share in shares]


def format_power(power: Sequence[Mapping[str, float | None]], metric: Metric) -> str:
    """Format the result of `compute_power` as the end of a sentence."""
    ends = {
        "chrf": " (standard deviation)",
        "macro_f1": " (for macro-F1 larger differences if labels are rare)",
    }
    texts = []
    for line in power:
        difference, disagree = line["difference"], line["disagree"] or 0.0
        if difference is None:
            texts.append(f"none if two methods disagree on only {format_share(disagree)} of rows")
        elif metric.graded:
            spread = format_points(math.sqrt(disagree))
            texts.append(
                f"{format_points(difference)} points if two methods' scores for a row differ by {spread} points"
            )
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
    """Report what will be sent to the service that answers prompts, and ask before the first request.

    Without a service there is no question. If nobody can answer the question, nothing is sent. Raises Declined.
    """
    start = with_engine(task.engine, start)
    is_served = task.engine.startswith(SERVED)  # then tuned weights answer there too
    asking_methods = [method for method in methods if method.asks_model and (is_served or not method.tuned)]
    service = models.find_service(start.model.name)
    if service is None or not asking_methods:
        return
    sending = estimate_sending(task, asking_methods, split, start, models)
    confirm_service(service, sending, "will get the instructions and rows of this task", on_event, confirm)


def confirm_deciding(
    task: Task,
    methods: Sequence[Method],
    split: Split,
    models: Models,
    on_event: OnEvent,
    confirm: Confirm,
) -> None:
    """Report what the decision model is sent, and ask before the first request. Raises Declined."""
    name = task.decision_model
    service = models.find_service(name) if name else None
    if name is None or service is None or all("decision_model" not in method.keys for method in methods):
        return
    model, contract = models.get(ModelRef(name)), resolve_contract(task, split.train)
    labels = Message("system", f"{task.instructions}\n{contract.describe() if contract else ''}")
    rows = sample_evenly(split.dev, SAMPLED_ROWS)
    tokens = sum(model.count_tokens((labels, *row.input)) for row in rows) / len(rows)
    requests = len(split.dev) + len(split.test) + TIMED_ANSWERS + 1
    sending = SendLimits(requests, round(tokens * requests), requests)
    confirm_service(service, sending, "will get the labels and rows of this task", on_event, confirm)


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
) -> tuple[Plan, Timekeeper | None]:
    """Make the plan from a few timed steps and write it to run.json, or read the plan that the run already has.

    Also returns the clock of a run with a budget, which counts from `started` (`time.monotonic`); a resumed run gets
    the time that earlier attempts left. Asks before anything is sent, before a plan of over an hour, and before methods
    are left out. Raises Declined.
    """
    saved, budget = run.info.get("plan"), task.budget_seconds
    if saved and budget is None:
        return Plan.from_dict(saved), None
    if not saved:
        check_lengths(task, methods, start, split, models)
        confirm_sending(task, methods, split, start, models, on_event, confirm)
        confirm_deciding(task, methods, split, models, on_event, confirm)
        confirm_judging(task, split, models, on_event, confirm)
    if needs_model(methods):
        is_quick = "train" not in find_backend(task.model).can
        on_event(NoteEvent("Timing a few steps to make the plan ...", detail=is_quick))
    rates = measure_rates(task, methods, start, split.train, models)
    work = describe_work(task, methods, split, start, rates)
    overhead = time.monotonic() - started + CLOSING_SECONDS
    deadline = started - run.info.get("elapsed_seconds", 0.0) + (budget or 0.0) - CLOSING_SECONDS
    if budget is not None and not saved:
        # If timing took most of the budget, a plan for the rest would leave out even cheap methods.
        deadline = max(deadline, time.monotonic() + LEAST_SHARE * budget)
    remaining = None if budget is None else max(0.001, deadline - time.monotonic())
    if saved:
        plan = Plan.from_dict(saved)
    else:
        plan = make_plan(work, remaining)
        if remaining is not None and plan.total > remaining:
            plan = drop_methods(work, remaining)
        question = make_question(work, plan, budget, overhead)
        line = format_plan(work.without(plan.left_out), plan, overhead)
        on_event(NoteEvent(line, detail=plan.total < 60 and not plan.left_out))
        if question and not confirm(question):
            raise Declined("Nothing was run. Set `budget:` in the task file, such as budget: 15m.")
        run.update(
            plan=plan.to_dict() | {"minutes": (plan.total + overhead) / 60, "lines": [line]},
            methods=[method.name for method in methods if method.name not in plan.left_out],
        )
    if plan.budget is None:
        return plan, None
    allotment = Allotment(work.without(plan.left_out), plan.budget, plan.cheap, plan.evidence_seconds)
    return plan, Timekeeper(allotment, deadline)


def describe_work(
    task: Task, methods: Sequence[Method], split: Split, start: Assistant, rates: Rates
) -> Workload:
    """Describe what the methods would do without a budget, and how long it takes."""
    searching = [method.name for method in methods if method.searches]
    works = {
        method.name: MethodWork(
            method.name,
            max(1, method.count_candidates(task, split.train, start)),
            rates.answer.get(method.name, 0.0),
            rates.training.get(method.name),
            rates.search if method.name in searching[:1] else None,
            method.tuned and method.asks_model,
            method.same_rows_as,
            not method.asks_model,
            method.searches and method.tuned,
        )
        for method in methods
    }
    return Workload(
        works,
        train=min(len(split.train), int(task.train.get("max_rows", len(split.train)))),
        dev=len(split.dev),
        test=len(split.test),
        all_train=len(split.train),
        evidence_for=[method.name for method in methods if method.tuned] if task.evidence == "full" else (),
        searching=searching,
    )


def make_question(work: Workload, plan: Plan, budget: float | None, overhead: float) -> str | None:
    """Return the question to ask before the start, or None. Asks if the run has no budget and takes long, or if a
    method would get less than the smallest useful share of the budget. `overhead`: seconds before and after methods and
    test.
    """
    if budget is None:
        return f"This takes {format_rough_time(plan.total)}. Continue?" if plan.total > ASK_SECONDS else None
    if not plan.left_out and plan.total <= (plan.budget or 0.0) * (1 + 1e-9):
        return None
    least = count_least_seconds(work, budget) + overhead
    summary = (
        f"The budget of {format_time(budget)} is too small for all methods: even with the largest cuts they "
        f"take {format_rough_time(least)}"
    )
    suggestion = f"set budget: {math.ceil(least / 60)}m to run all"
    if not plan.left_out:
        return f"{summary} ({suggestion}), and no method can be left out. Continue?"
    time_without = f"the run takes {format_rough_time(plan.total + overhead)}"
    without = f"Without {format_names(plan.left_out)}, {time_without}"
    pronoun = "it" if len(plan.left_out) == 1 else "them"
    return f"{summary} ({suggestion}). {without}. Leave {pronoun} out and continue?"
