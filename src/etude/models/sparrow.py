"""Decision models of the package sparrow-decider, in this process: weights of a few megabytes that need only numpy."""

import time
from collections.abc import Sequence
from typing import Any

from etude.errors import ModelError
from etude.models.backend import BatchedModel
from etude.models.decision_question import build_completion, build_question
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
        started, question = time.perf_counter(), build_question(request)
        body: dict[str, Any] = {"type": "noul", "instructions": question.instructions}
        if question.kind == "choice":
            criteria = {label: question.descriptions.get(label, "") for label in question.choices}
            body |= {"type": "choice", "criteria": criteria}
        answer = self.decider.ask(join_turns(question.turns), {"label": body})["label"]
        if question.kind == "predicate":
            probabilities = dict(zip(question.choices, (answer["noul"], 1 - answer["noul"]), strict=True))
        else:
            probabilities = answer["probabilities"]
        return build_completion(probabilities, time.perf_counter() - started)


def load(ref: ModelRef, models: Models) -> SparrowModel:
    """Load a model of the package by its name. Raises ModelError if there is none."""
    from sparrow_decider import Decider

    try:
        return SparrowModel(ref.name, Decider.load(None if ref.name == PACKAGE else ref.name))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The package {PACKAGE} has no model {ref.name} ({error}).") from error
