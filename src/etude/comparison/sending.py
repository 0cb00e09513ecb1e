"""What a comparison will send to an endpoint and what that costs at most, asked about before the first request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etude.assistant import Assistant
from etude.base.wording import decimal, two_digits
from etude.data.splits import Split
from etude.errors import Declined
from etude.methods import Method
from etude.methods.foresight.timing import TIMED_ANSWERS, spread
from etude.models.registry import Models
from etude.runs.events import OnEvent, Said
from etude.runs.questions import Confirm, Sensitive
from etude.task import Endpoint, Task

COUNTED = 50
"""Dev rows whose prompts are counted for all."""


@dataclass(frozen=True)
class Sending:
    """The most that is sent and answered, in tokens as they are counted before an endpoint has answered."""

    requests: int
    prompt_tokens: int
    answer_tokens: int


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


def confirm_endpoint(
    endpoint: Endpoint, most: Sending, what: str, on_event: OnEvent, confirm: Confirm
) -> None:
    """Says `what` an endpoint gets and what it costs at most, and asks. Raises Declined."""
    told = " ".join(in_words(endpoint, most, what))
    if endpoint.on_this_machine and endpoint.prices is None:
        on_event(Said(told))
    elif not confirm((str if endpoint.on_this_machine else Sensitive)(f"{told} Continue?")):
        raise Declined(
            "Nothing was sent. To agree beforehand add --yes; from Python, confirm=lambda question: True."
        )


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


def in_words(endpoint: Endpoint, most: Sending, what: str) -> Iterator[str]:
    """What is sent, what it costs, and what would stop it, in sentences."""
    prompt, answer = two_digits(most.prompt_tokens), two_digits(most.answer_tokens)
    yield (
        f"{endpoint.title} {what}: at most {most.requests:,} requests, about "
        f"{prompt:,} prompt tokens and at most {answer:,} answer tokens."
    )
    prices = endpoint.prices
    if prices is not None and prices.by_tokens:
        cost = prices.of_tokens(most.prompt_tokens, 0, most.answer_tokens)
        yield (
            f"At your prices ({prices.prompt:g} and {prices.answer:g} per million) that is at most {decimal(cost)}."
        )
    else:
        yield "No prices: are given for it, so no cost can be told."
    limits = {"max_requests": endpoint.max_requests, "max_cost": endpoint.max_cost}
    if set_limits := [f"{name}: {value:g}" for name, value in limits.items() if value is not None]:
        yield f"It stops at {' or '.join(set_limits)}."
