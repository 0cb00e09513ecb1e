"""A request as typed questions to a decision model, and its probabilities as a Completion."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from etude.task.questions import join_answers
from etude.types import Completion, Message, Request

DEFAULT_INSTRUCTIONS = "Which of these labels fits the input?"
YES_OR_NO = (("yes", "no"), ("true", "false"))
"""Pairs of labels that answer a question about one statement. The first label means that the statement is true."""
MAX_LEVELS = 10  # of a score; with more, a question is a choice
LOWEST = 1e-9  # a probability of 0 is replaced by this


class TypedQuestion(NamedTuple):
    """One question to a decision model about the turns of a chat."""

    kind: Literal["predicate", "choice", "score"]
    instructions: str
    turns: Sequence[Message]
    choices: Sequence[str]
    """The labels; for a predicate, the label that means yes is the first, for a score the lowest level."""
    descriptions: Mapping[str, str]
    name: str = "label"


def list_questions(request: Request) -> list[TypedQuestion]:
    """Convert a request to its questions, each with the instructions before its own; without names, to one question."""
    if not request.questions:
        return [build_question(request)]
    questions = []
    for question in request.questions:
        own = [Message("system", question.ask.strip())] if question.ask.strip() else []
        own_request = replace(
            request, messages=(*own, *request.messages), choices=question.labels, descriptions=question.descriptions
        )
        typed = build_question(own_request)._replace(name=question.name)
        is_score = question.is_score and len(question.labels) <= MAX_LEVELS
        questions.append(typed._replace(kind="score", choices=question.labels) if is_score else typed)
    return questions


def build_question(request: Request) -> TypedQuestion:
    """Convert a request with choices to a question. Its system turns become the instructions."""
    system = [message.content for message in request.messages if message.role == "system"]
    turns = [message for message in request.messages if message.role != "system"]
    instructions = "\n\n".join(filter(None, system)) or DEFAULT_INSTRUCTIONS
    by_name = {label.strip().casefold(): label for label in request.choices}
    pair = next((pair for pair in YES_OR_NO if by_name.keys() == set(pair)), None)
    choices = [by_name[name] for name in pair] if pair else request.choices
    return TypedQuestion("predicate" if pair else "choice", instructions, turns, choices, request.descriptions)


def build_completion(
    request: Request,
    questions: Sequence[TypedQuestion],
    spreads: Sequence[Mapping[str, float]],
    seconds: float,
    tokens: tuple[int, int, int] = (0, 0, 0),
) -> Completion:
    """Build the completion with the likeliest label of each question, the first among equals, from the probabilities of
    its labels. It is empty if one has none, which means a refusal. `tokens`: numbers of prompt tokens, cached prompt
    tokens and answer tokens."""
    if not all(spreads):
        return Completion("", "stop", *tokens, seconds, None)
    logprobs = [{label: math.log(max(LOWEST, share)) for label, share in spread.items()} for spread in spreads]
    labels = [max(spread, key=lambda label: spread[label]) for spread in logprobs]
    logprob = sum(min(0.0, spread[label]) for spread, label in zip(logprobs, labels, strict=True))
    text, spread = labels[0], logprobs[0]
    if request.questions:
        names = [question.name for question in questions]
        text = join_answers(dict(zip(names, labels, strict=True)))
        pairs = zip(names, logprobs, strict=True)
        spread = {join_answers({name: label}): log for name, own in pairs for label, log in own.items()}
    return Completion(text, "stop", *tokens, seconds, logprob, choice_logprobs=spread)
