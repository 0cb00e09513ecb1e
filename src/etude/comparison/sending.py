"""What a comparison will send to an endpoint and what that costs at most, asked about before the first request."""

from __future__ import annotations

from collections.abc import Sequence

from etude.assistant import Assistant
from etude.data.splits import Split
from etude.methods import Method
from etude.methods.foresight.timing import TIMED_ANSWERS, spread
from etude.models.registry import Models
from etude.runs.events import OnEvent
from etude.runs.questions import Confirm, Sending, confirm_endpoint
from etude.task import Task

COUNTED = 50
"""Dev rows whose prompts are counted for all."""


def confirm_sending(
    task: Task,
    methods: Sequence[Method],
    parts: Split,
    start: Assistant,
    models: Models,
    on_event: OnEvent,
    confirm: Confirm,
) -> None:
    """Says what goes to the endpoint that answers the prompts, and asks; nothing where none does.

    What leaves this machine is not sent where nobody answers. Raises Declined.
    """
    asking = [method for method in methods if method.asks_model and not method.tuned]
    endpoint = task.endpoints.get(start.model.name)
    if endpoint is None or not asking:
        return
    most = foreseen(task, asking, parts, start, models)
    confirm_endpoint(endpoint, most, "gets the instructions and rows of this task", on_event, confirm)


def foreseen(
    task: Task, methods: Sequence[Method], parts: Split, start: Assistant, models: Models
) -> Sending:
    """What all candidates of the methods ask on dev, the longest of each on the test, and what is timed for the plan.

    Each method is counted on the longest instructions of those before it, on which it may build. No test row is read.
    """
    model, rows = models.get(start.model), spread(parts.dev, COUNTED)
    longest, base = 0.0, start
    requests, tokens = 2 * TIMED_ANSWERS + 1, 0.0
    for method in methods:
        prompts = method.prompts(task, parts.train, base)
        lengths = [
            sum(model.count_tokens(each.messages(row.input)) for row in rows) / len(rows) for each in prompts
        ]
        requests += len(prompts) * len(parts.dev) + len(parts.test)
        longest = max(longest, *lengths)
        tokens += sum(lengths) * len(parts.dev) + max(lengths) * len(parts.test)
        if not any(each.shots or each.search for each in prompts):
            base = max(prompts, key=lambda each: len(each.instructions))
    tokens += 2 * TIMED_ANSWERS * longest
    return Sending(requests, round(tokens), requests * start.max_tokens)
