"""A decision model behind a URL. It gets typed questions and returns probabilities, as OpenAI's `/v1/decisions`."""

from collections.abc import Mapping, Sequence
from typing import Any

from etude.base.files import Json
from etude.models import registry
from etude.models.decision_question import TypedQuestion, build_completion, build_question
from etude.models.endpoint.model import EndpointModel, load_endpoint
from etude.types import Completion, Message, ModelRef, Request

PATH = "decisions"


class DecisionModel(EndpointModel):
    """An endpoint that gets one typed question per request and has no text to stream."""

    def ask(self, request: Request) -> tuple[Completion, str]:
        """Answer one request; also return the name that the model reports. A refusal is an empty answer."""
        question = build_question(request)
        body = {
            "model": self.endpoint.model,
            "input": _build_input(question.turns),
            "questions": [_build_body(question)],
            **self.endpoint.options,
        }
        answer, seconds = self._client.request_answer(body, PATH, read_probabilities)
        probabilities = read_probabilities(answer)
        if not probabilities:
            self.notes.setdefault(f"{self.endpoint.title} refused to answer some questions.")
        if question.kind == "predicate" and probabilities:
            holds = probabilities[True]
            probabilities = dict(zip(question.choices, (holds, 1 - holds), strict=True))
        usage = answer.get("usage") or {}
        details = usage.get("input_tokens_details") or {}
        tokens = (
            int(usage.get("input_tokens") or self.count_tokens(request.messages)),
            int(details.get("cached_tokens") or 0),
            int(usage.get("output_tokens") or 0),
        )
        labels = {label: probabilities[label] for label in question.choices if label in probabilities}
        return build_completion(labels, seconds, tokens), str(answer.get("model") or self.endpoint.model)


def _build_input(turns: Sequence[Message]) -> str | list[Json]:
    if len(turns) == 1:
        return turns[0].content
    return [{"type": "message", "role": turn.role, "content": turn.content} for turn in turns]


def _build_body(question: TypedQuestion) -> Json:
    body: Json = {"type": question.kind, "name": "label", "instructions": question.instructions}
    if question.kind == "choice":
        body["choices"] = [
            {
                "value": label,
                **({"description": text} if (text := question.descriptions.get(label)) else {}),
            }
            for label in question.choices
        ]
    return body


def read_probabilities(answer: Json) -> Mapping[Any, float]:
    """Read the probability of each choice; for a predicate, that of True. Empty for a refusal.

    Raises KeyError, IndexError, TypeError or ValueError for any other answer. The field `confidence` is not read,
    because its meaning differs between models.
    """
    first = answer["answers"][0]
    if first["type"] == "refusal":
        return {}
    if first["type"] == "predicate":
        return {True: float(first["probability"])}
    return {option["value"]: float(option["probability"]) for option in first["probabilities"]}


def load(ref: ModelRef, models: registry.Models) -> EndpointModel:
    """Load the model that `ref` names, with the limits of the task and the saved answers of the run."""
    return load_endpoint(ref, models, DecisionModel)
