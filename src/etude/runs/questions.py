"""What a run asks its user, and what is answered where nobody is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from etude.base.wording import decimal, two_digits
from etude.errors import Declined
from etude.runs.events import NoteEvent, OnEvent
from etude.task import Endpoint

LONG = 3600.0
"""Seconds above which the user is asked before a run without a budget begins."""

UNANSWERED = "(unanswered)"
"""Printed behind a question to which silence is a no, where nobody is asked; one word, which no line end parts."""

Confirm = Callable[[str], bool]
"""Asks the user a yes-or-no question."""


class Sensitive(str):
    """A question to which silence is a no."""

    __slots__ = ()


def agreed(question: str) -> bool:
    """The answer where nobody is asked: yes, but no to what is sensitive."""
    return not isinstance(question, Sensitive)


@dataclass(frozen=True)
class Sending:
    """The most that is sent and answered, in tokens as they are counted before an endpoint has answered."""

    requests: int
    prompt_tokens: int
    answer_tokens: int


def confirm_endpoint(
    endpoint: Endpoint, most: Sending, what: str, on_event: OnEvent, confirm: Confirm
) -> None:
    """Says `what` an endpoint gets and what it costs at most, and asks. Raises Declined."""
    told = " ".join(in_words(endpoint, most, what))
    if endpoint.on_this_machine and endpoint.prices is None:
        on_event(NoteEvent(told))
    elif not confirm((str if endpoint.on_this_machine else Sensitive)(f"{told} Continue?")):
        raise Declined(
            "Nothing was sent. To agree beforehand add --yes; from Python, confirm=lambda question: True."
        )


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
