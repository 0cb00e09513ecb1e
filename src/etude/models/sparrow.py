"""Decision models of the package sparrow-decider, in this process: weights of a few megabytes that need only numpy."""

import time
from collections.abc import Sequence
from typing import Any

from etude.errors import ModelError
from etude.models.backend import BatchedModel
from etude.models.decision_question import TypedQuestion, build_completion, list_questions
from etude.models.registry import Models
from etude.types import Completion, ModelRef, Request, join_turns

PACKAGE = "sparrow-decider"
"""As the name of a model, this means the package's default model."""


class SparrowModel(BatchedModel):
    """A Model that asks a `sparrow_decider.Decider` one question per request."""

    rows_per_batch = 64

    def __init__(self, name: str, decider: Any) -> None:
        super().__init__(name)
        self.decider = decider

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer one batch, in order."""
        return [self._ask(request) for request in requests]

    def _ask(self, request: Request) -> Completion:
        started, questions = time.perf_counter(), list_questions(request)
        bodies = {question.name: _build_body(question) for question in questions}
        answers = self.decider.ask(join_turns(questions[0].turns), bodies)
        seconds = time.perf_counter() - started
        spreads = []
        for question in questions:
            answer = answers[question.name]
            holds = answer.get("noul")
            shares = answer["probabilities"].values() if holds is None else (holds, 1 - holds)
            spreads.append(dict(zip(question.choices, shares, strict=True)))
        return build_completion(request, questions, spreads, seconds)


def _build_body(question: TypedQuestion) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "noul", "instructions": question.instructions}
    if question.kind == "choice":
        criteria = {label: question.descriptions.get(label, "") for label in question.choices}
        return {**body, "type": "choice", "criteria": criteria}
    if question.kind == "score":
        levels = [question.descriptions.get(label, label) for label in question.choices]
        return {**body, "type": "score", "criteria": levels}
    return body


def load(ref: ModelRef, models: Models) -> SparrowModel:
    """Load a model of the package by its name. Raises ModelError if there is none."""
    from sparrow_decider import Decider

    try:
        return SparrowModel(ref.name, Decider.load(None if ref.name == PACKAGE else ref.name))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The package {PACKAGE} has no model {ref.name} ({error}).") from error
