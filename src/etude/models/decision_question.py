"""A request as one typed question to a decision model, and its probabilities as a Completion."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from etude.types import Completion, Message, Request

DEFAULT_INSTRUCTIONS = "Which of these labels fits the input?"
YES_OR_NO = (("yes", "no"), ("true", "false"))
"""Pairs of labels that answer a question about one statement. The first label means that the statement is true."""
LOWEST = 1e-9  # a probability of 0 is replaced by this


class TypedQuestion(NamedTuple):
    """One question to a decision model about the turns of a chat."""

    kind: Literal["predicate", "choice"]
    instructions: str
    turns: Sequence[Message]
    choices: Sequence[str]
    """The labels; for a predicate, the label that means yes is the first."""
    descriptions: Mapping[str, str]


def build_question(request: Request) -> TypedQuestion:
    """Convert a request with choices to a question. Its system turns become the instructions."""
    system = [message.content for message in request.messages if message.role == "system"]
    turns = [message for message in request.messages if message.role != "system"]
    instructions = "\n\n".join(filter(None, system)) or DEFAULT_INSTRUCTIONS
    by_name = {label.strip().casefold(): label for label in request.choices}
    pair = next((pair for pair in YES_OR_NO if by_name.keys() == set(pair)), None)
    choices = [by_name[name] for name in pair] if pair else request.choices
    return TypedQuestion(
        "predicate" if pair else "choice", instructions, turns, choices, request.descriptions
    )


def build_completion(
    probabilities: Mapping[str, float], seconds: float, tokens: tuple[int, int, int] = (0, 0, 0)
) -> Completion:
    """Build the completion with the likeliest label, the first among equals. Without probabilities, which means a
    refusal, it is empty. `tokens`: numbers of prompt tokens, cached prompt tokens and answer tokens."""
    logprobs = {label: math.log(max(LOWEST, value)) for label, value in probabilities.items()}
    label = max(logprobs, key=lambda label: logprobs[label], default="")
    prompt, cached, answer = tokens
    return Completion(
        label,
        "stop",
        prompt,
        cached,
        answer,
        seconds,
        min(0.0, logprobs[label]) if label else None,
        choice_logprobs=logprobs,
    )
