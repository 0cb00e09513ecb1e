"""A decision model behind a URL. It gets typed questions and returns probabilities, as OpenAI's `/v1/decisions`."""

from etude.base.files import Json
from etude.models import registry
from etude.models.decision_question import TypedQuestion, build_completion, list_questions
from etude.models.endpoint.model import EndpointModel, load_endpoint
from etude.types import Completion, ModelRef, Request

PATH = "decisions"
_OPTIONS = {"choice": ("choices", "value"), "score": ("levels", "label")}
"""Kind of question -> the field with its options, and the field with the label of each."""


class DecisionModel(EndpointModel):
    """An endpoint that gets typed questions and has no text to stream."""

    def ask(self, request: Request) -> tuple[Completion, str]:
        """Answer one request; also return the name that the model reports. A refusal is an empty answer."""
        questions = list_questions(request)
        turns = [{"type": "message", "role": turn.role, "content": turn.content} for turn in questions[0].turns]
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
    body: Json = {"type": question.kind, "name": question.name, "instructions": question.instructions}
    options, key = _OPTIONS.get(question.kind, ("", ""))
    if options:
        body[options] = [
            {key: label, **({"description": text} if (text := question.descriptions.get(label)) else {})}
            for label in question.choices
        ]
    return body


def read_probabilities(question: TypedQuestion, answer: Json) -> dict[str, float]:
    """Read the probability of each label from the answer to a question. Empty for a refusal.

    Raises KeyError, IndexError, TypeError or ValueError for any other answer. The field `confidence` is not read,
    because its meaning differs between models.
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
    """Load the model that `ref` names, with the limits of the task and the saved answers of the run."""
    return load_endpoint(ref, models, DecisionModel)
