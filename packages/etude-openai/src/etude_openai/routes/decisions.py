"""/v1/decisions: probabilities of the labels of an assistant that classifies, as answers to typed
questions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from fastapi import Request
from fastapi.responses import Response

from etude.assistant import Assistant
from etude.serve import responses
from etude.serve.answering import PreparedAnswer, respond
from etude.serve.engine import FinishedAnswer
from etude.serve.generation import AnswerRequest, build_chat_request
from etude.serve.schemas import ChatRequest, Json
from etude.serve.server import Server, ServerState
from etude.task.contract import Contract
from etude.task.questions import split_answers
from etude.web.api_errors import ApiError
from etude_openai import item_schemas

BOOLEANS = {True: ("true", "yes"), False: ("false", "no")}
"""A boolean choice -> the labels that it can mean."""


class MatchedQuestion(NamedTuple):
    """What a question of a request means to the assistant."""

    name: str
    """The assistant's own question; "" if it has only one."""
    labels: Sequence[str]


async def create_decision(
    body: item_schemas.DecisionRequest, request: Request, server: ServerState
) -> Response:
    """Answer questions about an input."""
    return await respond(server, prepare_decision(server, body), request)


def prepare_decision(server: Server, body: item_schemas.DecisionRequest) -> PreparedAnswer:
    """Match the questions to the labels of the assistant. Raises ApiError for a question that it
    cannot decide.
    """
    served = server.find_model(body.model)
    settings = server.settings
    several = _list_several(served.assistant)
    if not (served.assistant.choices or several or served.assistant.questions):
        message = (
            f"{served.name!r} does not compute probabilities of labels, so it cannot decide "
            "questions. Use an assistant that classifies and does, such as fine_tune_encoder; "
            "one that copies the nearest example does not."
        )
        raise ApiError(400, message, "model", "no_labels")
    label_sets = {own.name: own.labels for own in served.assistant.questions}
    matched = []
    for number, question in enumerate(body.questions):
        name = str(question.name) if label_sets else ""
        if label_sets and name not in label_sets:
            message = (
                f"This model has no question {name!r}. Its questions: {', '.join(label_sets)}."
            )
            raise ApiError(400, message, f"questions.{number}", "unknown_question")
        contract = Contract(labels=label_sets.get(name) or served.assistant.choices or several)
        matched.append(
            MatchedQuestion(name, _match_labels(number, question, contract, bool(several)))
        )
    messages = item_schemas.build_messages(item_schemas.list_items(body.input))
    chat = ChatRequest.model_validate(
        {**item_schemas.list_unknown(body), "model": body.model, "messages": messages}
    )
    request = build_chat_request(served, chat, settings.limits, settings.strict)
    ignored = ("questions.instructions", *item_schemas.list_chat_fields(body), *request.ignored)
    request = replace(request, ignored=ignored)
    response_id = f"decision-{uuid4().hex}"
    return PreparedAnswer(
        response_id,
        request,
        partial(_build_decision, response_id, request, body.questions, matched),
    )


def _list_several(assistant: Assistant) -> tuple[str, ...]:
    """Return the labels if several may apply; empty if exactly one applies."""
    schema = assistant.contract.json_schema if assistant.contract else None
    items = (
        (schema or {}).get("items")
        if assistant.kind == "classify" and not assistant.choices
        else None
    )
    return tuple(items.get("enum", ())) if isinstance(items, Mapping) else ()


def _match_labels(
    number: int, question: item_schemas.Question, contract: Contract, several: bool
) -> list[str]:
    """Find the label of each choice or level; for a predicate, the label that it is about."""
    if question.type == "predicate":
        is_boolean = len(contract.labels) == 2 and _find_label(contract, False)
        label = _find_label(contract, question.name) or (is_boolean and _find_label(contract, True))
        if label:
            return [label]
        problem = f"its name {question.name!r} is not one of the labels"
    elif None in question.options:
        problem = (
            "each of its choices needs a value"
            if question.choices
            else "each of its levels needs a label"
        )
    else:
        labels = [_find_label(contract, option) for option in question.options]
        if not several and sorted(map(str, labels)) == sorted(contract.labels):
            return [str(label) for label in labels]
        problem = f"its options are {', '.join(map(str, question.options)) or 'missing'}"
    among = "" if several else "a choice or a score among all of its labels, and "
    message = (
        f"This model cannot decide question {number}: {problem}. It decides {among}a predicate "
        f"with the name of a label. Its labels: {', '.join(contract.labels)}."
    )
    raise ApiError(400, message, f"questions.{number}", "unknown_question")


def _find_label(contract: Contract, value: str | bool | None) -> str | None:
    texts = BOOLEANS[value] if isinstance(value, bool) else (value or "",)
    return next((label for text in texts if (label := contract.parse(text))), None)


def _build_decision(
    response_id: str,
    request: AnswerRequest,
    questions: Sequence[item_schemas.Question],
    matched: Sequence[MatchedQuestion],
    answers: Sequence[FinishedAnswer],
) -> Json:
    (finished,) = answers
    shares = [_calibrate(finished, own.name) for own in matched]
    # A decision model behind the assistant may refuse with an empty answer.
    is_refused = (
        finished.answer.handed_over or bool(finished.answer.limit) or not finished.answer.text
    )
    if not all(shares) and not is_refused:
        raise ApiError(
            400,
            f"{request.served.name!r} does not compute probabilities of labels.",
            "model",
            "no_labels",
        )
    refusal = {"type": "refusal", "handover_reason": responses.get_handover_reason(finished)}
    return {
        "id": response_id,  # for feedback
        "object": "decision",
        "model": request.served.name,
        "answers": [
            {
                "name": question.name,
                **(
                    refusal
                    if is_refused
                    else _answer(question, own.labels, spread, _read(finished, own.name))
                ),
            }
            for question, own, spread in zip(questions, matched, shares, strict=True)
        ],
        "usage": responses.count_item_usage(request, answers),
        **request.describe_measured(answers),
    }


def _read(finished: FinishedAnswer, name: str) -> str:
    return split_answers(finished.answer.text).get(name, "") if name else finished.answer.text


def _calibrate(finished: FinishedAnswer, name: str) -> dict[str, float]:
    """Return the probability of each label of the question. For the answer it is its confidence,
    which may be recalibrated; the rest is divided among the other labels in the model's
    proportions.
    """
    answer = finished.answer
    label = _read(finished, name)
    confidence = answer.confidences.get(name) if name else answer.confidence
    stated = {
        key: math.exp(logprob) for key, logprob in finished.completion.choice_logprobs.items()
    }
    if name:
        pairs = ((split_answers(key), share) for key, share in stated.items())
        stated = {answers[name]: share for answers, share in pairs if name in answers}
    if confidence is None or label not in stated:
        return stated
    others = sum(share for other, share in stated.items() if other != label)
    scale = (1 - confidence) / others if others else 0.0
    return {other: share * scale for other, share in stated.items()} | {label: confidence}


def _answer(
    question: item_schemas.Question,
    labels: Sequence[str],
    calibrated: Mapping[str, float],
    answer: str,
) -> Json:
    shares = [
        calibrated.get(label, 0.0) for label in labels
    ]  # none for a label without training rows
    if question.type == "predicate":
        return {"type": "predicate", "probability": shares[0]}
    if question.type == "choice":
        # The assistant's answer: after recalibration it need not be the likeliest.
        choice = labels.index(answer)
        pairs = zip(question.options, shares, strict=True)
        return {
            "type": "choice",
            "choice": question.options[choice],
            "confidence": shares[choice],
            "probabilities": [{"value": option, "probability": share} for option, share in pairs],
        }
    levels = [
        {"label": option, "value": number, "probability": share}
        for number, (option, share) in enumerate(zip(question.options, shares, strict=True))
    ]
    mean = sum(number * share for number, share in enumerate(shares))
    return {"type": "score", "score": mean, "confidence": max(shares), "probabilities": levels}
