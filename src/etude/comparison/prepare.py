"""What is reported and asked before the first method is fitted: the data, the power of the test,
what is sent.
"""

import math
from collections.abc import Mapping, Sequence

from etude.assistant import Assistant, with_engine
from etude.base.formatting import format_points, format_share
from etude.checks.quick_checks import list_label_notes
from etude.comparison.judging import confirm_judging
from etude.data.dataset import MIN_VERDICT_ROWS, Dataset, few_rows_note
from etude.data.formats.columns import BY_COLUMN_NAMES
from etude.data.splits import Split
from etude.evaluate import get_unit
from etude.methods import Method
from etude.methods.method import check_lengths
from etude.methods.shared.fit_context import resolve_contract, sample_evenly
from etude.metrics import Metric
from etude.models.registry import Models
from etude.runs import Run
from etude.runs.events import NoteEvent, OnEvent
from etude.runs.questions import Confirm, SendLimits, confirm_service
from etude.runs.record import write_data_record
from etude.runs.split import count_sides
from etude.stats.power import smallest_detectable, smallest_difference
from etude.task import Task
from etude.task.endpoint import SERVED
from etude.types import Message, ModelRef, Request

SAMPLED_ROWS = 50  # Dev rows whose prompts are counted; the total is extrapolated from them.
# Shares of rows on which two methods may disagree; the smallest detectable difference is reported
# for each.
DISAGREEMENT_SHARES = (0.1, 0.2, 0.3)


def report_data(
    run: Run,
    task: Task,
    split: Split,
    metric: Metric,
    on_event: OnEvent,
    notes_before: Sequence[str] = (),
) -> None:
    """Report rows, metric and the smallest difference that the test can show, and write them to
    run.json.
    """
    sizes = count_sides(split)
    power = compute_power(split.test, metric)
    total = sum(sizes.values())
    warnings = [few_rows_note(total)] if total < MIN_VERDICT_ROWS else []
    warnings += [*notes_before, *list_label_notes(task, split, metric)]
    notes = write_data_record(run, task, split, metric, warnings)
    run.update(power=power)
    sides = ", ".join(f"{rows:,} {side}" for side, rows in sizes.items())
    on_event(NoteEvent(f"{total:,} rows: {sides}. Metric: {metric.label}."))
    on_event(NoteEvent(f"This metric was chosen {metric.reason}.", detail=True))
    on_event(
        NoteEvent(
            f"Smallest difference that this test can show: {format_power(power, metric)}.",
            detail=True,
        )
    )
    for note in notes:
        on_event(NoteEvent(f"Note: {note}", detail=BY_COLUMN_NAMES in note))


def compute_power(test: Dataset, metric: Metric) -> list[dict[str, float | None]]:
    """Compute the smallest difference that 80% of such tests show, for each of DISAGREEMENT_SHARES.

    For graded metrics such as chrF, these numbers are standard deviations of the row differences,
    and their squares are the shares. Rows of one group are assumed to agree, which is the worst
    case. A difference is None if too few rows can disagree to show any.
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
        difference = line["difference"]
        disagree = line["disagree"] or 0.0
        if difference is None:
            texts.append(f"none if two methods disagree on only {format_share(disagree)} of rows")
        elif metric.graded:
            spread = format_points(math.sqrt(disagree))
            texts.append(
                f"{format_points(difference)} points if two methods' scores for a row differ by "
                f"{spread} points"
            )
        else:
            share = format_share(disagree)
            texts.append(
                f"{format_points(difference)} points if two methods disagree on {share} of rows"
            )
    return ", ".join(texts) + ends.get(metric.name, "")


def check_and_ask(
    task: Task,
    methods: Sequence[Method],
    split: Split,
    start: Assistant,
    models: Models,
    on_event: OnEvent,
    confirm: Confirm,
) -> None:
    """Check that no row is too long, and ask before anything is sent to a service. Raises
    InputError with all rows that are too long, Declined.
    """
    check_lengths(task, methods, start, split, models)
    confirm_sending(task, methods, split, start, models, on_event, confirm)
    reflections = [
        item for method in methods for item in method.list_reflections(task, split.train, start)
    ]
    confirm_reflecting(task.reflector, reflections, models, on_event, confirm)
    confirm_deciding(task, methods, split, models, on_event, confirm)
    confirm_judging(task, split, models, on_event, confirm)


def confirm_sending(
    task: Task,
    methods: Sequence[Method],
    split: Split,
    start: Assistant,
    models: Models,
    on_event: OnEvent,
    confirm: Confirm,
) -> None:
    """Report what will be sent to the service that answers prompts, and ask before the first
    request.

    Without a service there is no question. If nobody can answer the question, nothing is sent.
    Raises Declined.
    """
    start = with_engine(task.engine, start)
    is_served = task.engine.startswith(SERVED)  # then tuned weights answer there too
    asking_methods = [
        method for method in methods if method.asks_model and (is_served or not method.tuned)
    ]
    service = models.find_service(start.model.name)
    if service is None or not asking_methods:
        return
    sending = estimate_sending(task, asking_methods, split, start, models)
    confirm_service(
        service, sending, "will get the instructions and rows of this task", on_event, confirm
    )


def confirm_reflecting(
    name: str | None,
    requests: Sequence[Request],
    models: Models,
    on_event: OnEvent,
    confirm: Confirm,
) -> None:
    """Report what the model `name`, which writes instructions, is sent, and ask before the first
    request. Raises Declined.
    """
    if name and requests and (service := models.find_service(name)):
        tokens = sum(
            map(models.get(ModelRef(name)).count_tokens, (request.messages for request in requests))
        )
        sending = SendLimits(len(requests), tokens, sum(request.max_tokens for request in requests))
        purpose = (
            "will get the instructions, and training rows with answers, to write better "
            "instructions"
        )
        confirm_service(service, sending, purpose, on_event, confirm)


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
    if (
        name is None
        or service is None
        or all("decision_model" not in method.keys for method in methods)
    ):
        return
    model = models.get(ModelRef(name))
    contract = resolve_contract(task, split.train)
    labels = Message("system", f"{task.instructions}\n{contract.describe() if contract else ''}")
    rows = sample_evenly(split.dev, SAMPLED_ROWS)
    tokens = sum(model.count_tokens((labels, *row.input)) for row in rows) / len(rows)
    requests = len(split.dev) + len(split.test)
    sending = SendLimits(requests, round(tokens * requests), requests)
    confirm_service(
        service, sending, "will get the labels and rows of this task", on_event, confirm
    )


def estimate_sending(
    task: Task, methods: Sequence[Method], split: Split, start: Assistant, models: Models
) -> SendLimits:
    """Estimate the most that will be sent: all candidates on dev, searches, and each method's
    longest on the test.

    Each method is counted with the longest instructions of those before it, on which it may build.
    No test row is read.
    """
    model = models.get(start.model)
    rows = sample_evenly(split.dev, SAMPLED_ROWS)
    base = start
    requests = 0
    tokens = 0.0
    for method in methods:
        prompts = method.list_prompts(task, split.train, base)
        lengths = [
            sum(model.count_tokens(prompt.build_messages(row.input)) for row in rows) / len(rows)
            for prompt in prompts
        ]
        calls = method.count_calls(task)
        requests += len(prompts) * len(split.dev) + len(split.test) + calls
        tokens += sum(lengths) * len(split.dev) + max(lengths) * (len(split.test) + calls)
        if not any(prompt.shots or prompt.search for prompt in prompts):
            base = max(prompts, key=lambda prompt: len(prompt.instructions))
    return SendLimits(requests, round(tokens), requests * start.max_tokens)
