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
    """Convert a request to its questions, each with the instructions of all before its own; one without names is a
    single question."""
    if not request.questions:
        return [build_question(request)]
    questions = []
    for question in request.questions:
        own = [Message("system", question.ask.strip())] if question.ask.strip() else []
        own_request = replace(
            request,
            messages=(*own, *request.messages),
            choices=question.labels,
            descriptions=question.descriptions,
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


def join_completions(names: Sequence[str], completions: Sequence[Completion]) -> Completion:
    """Join the completions of the questions to one with the object of their answers, empty if one was refused. Seconds
    and tokens are those of the first."""
    if not all(completion.text for completion in completions):
        return replace(completions[0], text="", logprob=None, choice_logprobs={})
    pairs = list(zip(names, completions, strict=True))
    spread = {
        join_answers({name: label}): logprob
        for name, completion in pairs
        for label, logprob in completion.choice_logprobs.items()
    }
    text = join_answers({name: completion.text for name, completion in pairs})
    logprob = sum(completion.logprob or 0.0 for completion in completions)
    return replace(completions[0], text=text, logprob=logprob, choice_logprobs=spread)
