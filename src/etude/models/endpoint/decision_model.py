"""A decision model behind a URL. It gets typed questions and returns probabilities, as OpenAI's
`/v1/decisions`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from etude.base.files import Json
from etude.models import registry
from etude.models.endpoint.model import EndpointModel, load_endpoint
from etude.task.questions import join_answers
from etude.types import Completion, Message, ModelRef, Request

PATH = "decisions"
DEFAULT_INSTRUCTIONS = "Which of these labels fits the input?"
YES_OR_NO = (("yes", "no"), ("true", "false"))
"""Pairs of labels that answer a question about one statement. The first label means that the
statement is true.
"""
MAX_LEVELS = 10  # of a score; with more, a question is a choice
LOWEST = 1e-9  # a probability of 0 is replaced by this
_OPTIONS = {"choice": ("choices", "value"), "score": ("levels", "label")}
"""Kind of question -> the field with its options, and the field with the label of each."""


class TypedQuestion(NamedTuple):
    """One question to a decision model about the turns of a chat."""

    kind: Literal["predicate", "choice", "score"]
    instructions: str
    turns: Sequence[Message]
    choices: Sequence[str]
    """The labels; for a predicate, the label that means yes is the first, for a score the lowest
    level.
    """
    descriptions: Mapping[str, str]
    name: str = "label"


def list_questions(request: Request) -> list[TypedQuestion]:
    """Convert a request to its questions, each with the instructions before its own; without names,
    to one question.
    """
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
        questions.append(
            typed._replace(kind="score", choices=question.labels) if is_score else typed
        )
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
    request: Request,
    questions: Sequence[TypedQuestion],
    spreads: Sequence[Mapping[str, float]],
    seconds: float,
    tokens: tuple[int, int, int] = (0, 0, 0),
) -> Completion:
    """Build the completion with the likeliest label of each question, the first among equals, from
    the probabilities of its labels. It is empty if one has none, which means a refusal. `tokens`:
    numbers of prompt tokens, cached prompt tokens and answer tokens.
    """
    if not all(spreads):
        return Completion("", "stop", *tokens, seconds, None)
    logprobs = [
        {label: math.log(max(LOWEST, share)) for label, share in spread.items()}
        for spread in spreads
    ]
    labels = [max(spread, key=lambda label: spread[label]) for spread in logprobs]
    logprob = sum(min(0.0, spread[label]) for spread, label in zip(logprobs, labels, strict=True))
    text = labels[0]
    spread = logprobs[0]
    if request.questions:
        names = [question.name for question in questions]
        text = join_answers(dict(zip(names, labels, strict=True)))
        pairs = zip(names, logprobs, strict=True)
        spread = {
            join_answers({name: label}): log for name, own in pairs for label, log in own.items()
        }
    return Completion(text, "stop", *tokens, seconds, logprob, choice_logprobs=spread)


class DecisionModel(EndpointModel):
    """An endpoint that gets typed questions and has no text to stream."""

    def ask(self, request: Request) -> tuple[Completion, str]:
        """Answer one request; also return the name that the model reports. A refusal is an empty
        answer.
        """
        questions = list_questions(request)
        turns = [
            {"type": "message", "role": turn.role, "content": turn.content}
            for turn in questions[0].turns
        ]
        body = {
            "model": self.endpoint.model,
            "input": turns[0]["content"] if len(turns) == 1 else turns,
            "questions": [_build_body(question) for question in questions],
            **self.endpoint.options,
        }

        def read(answer: Json) -> list[dict[str, float]]:
            pairs = zip(questions, answer["answers"], strict=True)
            return [read_probabilities(question, body) for question, body in pairs]

        answer, seconds = self._client.request_answer(body, PATH, read)
        probabilities = read(answer)
        if not all(probabilities):
            self.notes.setdefault(f"{self.endpoint.title} refused to answer some questions.")
        usage = answer.get("usage") or {}
        details = usage.get("input_tokens_details") or {}
        tokens = (
            int(usage.get("input_tokens") or self.count_tokens(request.messages)),
            int(details.get("cached_tokens") or 0),
            int(usage.get("output_tokens") or 0),
        )
        completion = build_completion(request, questions, probabilities, seconds, tokens)
        return completion, str(answer.get("model") or self.endpoint.model)


def _build_body(question: TypedQuestion) -> Json:
    body: Json = {
        "type": question.kind,
        "name": question.name,
        "instructions": question.instructions,
    }
    options, key = _OPTIONS.get(question.kind, ("", ""))
    if options:
        body[options] = [
            {
                key: label,
                **({"description": text} if (text := question.descriptions.get(label)) else {}),
            }
            for label in question.choices
        ]
    return body


def read_probabilities(question: TypedQuestion, answer: Json) -> dict[str, float]:
    """Read the probability of each label from the answer to a question. Empty for a refusal.

    Raises KeyError, IndexError, TypeError or ValueError for any other answer. The field
    `confidence` is not read, because its meaning differs between models.
    """
    if answer["type"] == "refusal":
        return {}
    if question.kind == "predicate":
        holds = float(answer["probability"])
        return dict(zip(question.choices, (holds, 1 - holds), strict=True))
    key = _OPTIONS[question.kind][1]
    shares = {option[key]: float(option["probability"]) for option in answer["probabilities"]}
    return {label: shares[label] for label in question.choices if label in shares}


def load(ref: ModelRef, models: registry.Models) -> EndpointModel:
    """Load the model that `ref` names, with the limits of the task and the saved answers of the
    run.
    """
    return load_endpoint(ref, models, DecisionModel)
