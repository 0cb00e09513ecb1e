"""The Scope of an assistant: which questions it turns away, and what it says instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from etude.task.definition import Limit
from etude.types import Message

if TYPE_CHECKING:
    from etude.limits.question_model import QuestionModel

GENERAL, LEAD = "out_of_scope", 1.0
"""The general limit applies unless the log-odds of another limit are higher by LEAD."""
FOLLOW_UP_WORDS = 6
"""A last turn of at most this many words, such as "and for a boy of nine?", may be a follow-up of the question before
it."""


@dataclass(frozen=True)
class Scope:
    """A fitted scope, which is part of an Assistant. The first limit is used if no other limit fits better."""

    limits: tuple[Limit, ...]
    threshold: float
    """Log-odds of being one of the task's own questions below which a question is turned away."""
    model: str
    """The QuestionModel as text."""

    def find_limits(self, chats: Sequence[Sequence[Message]]) -> list[Limit | None]:
        """Find the limit that turns each chat away, by its last turn; None if it is to be answered.

        A short last turn that is only out of scope is answered if the user's turn before it is in scope.
        """
        limits = self._judge([chat[-1].content for chat in chats])
        follow_ups = {
            position: earlier[-1]
            for position, (chat, limit) in enumerate(zip(chats, limits, strict=True))
            if limit is not None
            and limit.name == GENERAL
            and len(chat[-1].content.split()) <= FOLLOW_UP_WORDS
            and (earlier := [turn.content for turn in chat[:-1] if turn.role == "user"])
        }
        for position, limit in zip(follow_ups, self._judge(list(follow_ups.values())), strict=True):
            limits[position] = limit
        return limits

    def _judge(self, questions: Sequence[str]) -> list[Limit | None]:
        if not questions:
            return []
        model = _load_model(self.model)
        logits, scores = model.compute_logits(questions), model.score(questions)
        by_name = {limit.name: limit for limit in self.limits}
        limits: list[Limit | None] = []
        for row, score in zip(logits.tolist(), scores.tolist(), strict=True):
            logit_of = dict(zip(model.classes, row, strict=True))
            logit_of[GENERAL] += LEAD
            name = max(by_name, key=lambda name: logit_of.get(name, float("-inf")))
            limits.append(by_name[name] if score < self.threshold else None)
        return limits


def parse_scope(body: Mapping[str, Any]) -> Scope:
    """Parse the result of `asdict` on a scope. Raises KeyError or TypeError for anything else."""
    limits = (Limit(**{**limit, "examples": tuple(limit["examples"])}) for limit in body["limits"])
    return Scope(tuple(limits), float(body["threshold"]), str(body["model"]))


@lru_cache(maxsize=16)
def _load_model(text: str) -> QuestionModel:
    from etude.limits.question_model import QuestionModel  # scikit-learn takes a second to import

    return QuestionModel.from_text(text)
