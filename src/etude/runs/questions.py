"""Questions to the user, and the default answers if nobody can be asked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from etude.base.formatting import format_count, format_decimal, round_up_rows
from etude.errors import Declined
from etude.models.remote import Journal, Service
from etude.runs.events import NoteEvent, OnEvent

NO_PRICES = "The task gives no prices for it, so the cost is unknown."

Confirm = Callable[[str], bool]
"""Asks the user a yes-or-no question."""


class SensitiveQuestion(str):
    """A question whose answer is no if nobody can be asked."""

    __slots__ = ()


def answer_unasked(question: str) -> bool:
    """Answer a question if nobody can be asked: yes, but no to a sensitive one."""
    return not isinstance(question, SensitiveQuestion)


@dataclass(frozen=True)
class SendLimits:
    """Maximum numbers of requests and tokens, as estimated before the first request."""

    requests: int
    prompt_tokens: int
    answer_tokens: int


def confirm_service(
    service: Service, limits: SendLimits, purpose: str, on_event: OnEvent, confirm: Confirm
) -> None:
    """Report what an endpoint will get and the maximum cost, and ask. Raises Declined if the answer
    is no.
    """
    question = " ".join(describe_sending(service, limits, purpose))
    if not service.needs_consent:
        on_event(NoteEvent(question))
    elif not confirm((str if service.is_local else SensitiveQuestion)(f"{question} Continue?")):
        raise Declined(
            "Nothing was sent. To agree in advance, add --yes; from Python, pass confirm=lambda "
            "question: True."
        )


def describe_sending(service: Service, limits: SendLimits, purpose: str) -> Iterator[str]:
    """Yield sentences: what is sent, what it costs, and which limits stop the run."""
    prompt = round_up_rows(limits.prompt_tokens)
    answer = round_up_rows(limits.answer_tokens)
    yield (
        f"{service.title} {purpose}: at most {limits.requests:,} requests, about "
        f"{prompt:,} prompt tokens and at most {answer:,} answer tokens."
    )
    prices = service.prices
    if prices is not None and prices.has_token_prices:
        cost = format_decimal(prices.price_tokens(limits.prompt_tokens, 0, limits.answer_tokens))
        per_million = (
            f"{prices.prompt:g} per million prompt tokens and {prices.answer:g} per million "
            "answer tokens"
        )
        yield f"At your prices ({per_million}), this costs at most {cost}."
    elif service.needs_consent:
        yield NO_PRICES
    user_limits = {"max_requests": service.max_requests, "max_cost": service.max_cost}
    # Limits that the task does not set are not mentioned.
    if texts := [f"{name}: {value:g}" for name, value in user_limits.items() if value is not None]:
        yield f"The run stops at {' or '.join(texts)}."


def describe_sent(service: Service, journal: Journal) -> str:
    """Say what a service was sent in a run, and what its answers cost."""
    prompt, _, answer = journal.tokens
    requests = format_count(len(journal), "request")
    text = (
        f"Sent to {service.title}: {requests} with {prompt:,} prompt tokens, answered with "
        f"{answer:,} tokens."
    )
    prices = service.prices
    if prices is not None and prices.has_token_prices:
        return (
            f"{text} At your prices, this cost "
            f"{format_decimal(prices.price_tokens(*journal.tokens))}."
        )
    return f"{text} {NO_PRICES}" if service.needs_consent else text
