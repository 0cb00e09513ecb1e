"""The Scope of an assistant: which questions it turns away, and what it says instead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from etude.data.formats.tools import CALL_TAG, split_results
from etude.task.definition import Limit
from etude.types import Message

if TYPE_CHECKING:
    from etude.limits.question_model import QuestionModel

GENERAL = "out_of_scope"
LEAD = 1.0
"""The general limit applies unless the log-odds of another limit are higher by LEAD."""
FOLLOW_UP_WORDS = 6
"""A last question of so few words, such as "and for a boy of nine?", may be a follow-up of the one
before it.
"""
ELLIPSIS_WORDS = 10
ELLIPSIS = re.compile(
    r"(and|but|or|also|then|what about|how about)\W+"
    r"(for|in|on|at|with|without|from|to|he|she|it|they|this|that|these|those|my|his|her|their|our|the"
    r"|one (for|that|which))\b",
    re.IGNORECASE,
)
"""A question of at most `ELLIPSIS_WORDS` words that begins so ("and for my brother, he is 4?") has
no subject.
"""


@dataclass(frozen=True)
class Scope:
    """A fitted scope, which is part of an Assistant. The first limit is used if no other limit fits
    better.
    """

    limits: tuple[Limit, ...]
    threshold: float
    """Log-odds of being one of the task's own questions below which a question is turned away."""
    model: str
    """The QuestionModel as text."""

    def find_limits(self, chats: Sequence[Sequence[Message]]) -> list[Limit | None]:
        """Find the limit that turns each chat away; None if its last question is to be answered.

        A follow-up gets the limit of the question before it: one that leaves out its subject, and a
        short one that is only out of scope.
        """
        questions_by_chat = [list_questions(chat) for chat in chats]
        judged = iter(
            self._judge([question for questions in questions_by_chat for question in questions])
        )
        limits: list[Limit | None] = []
        for questions in questions_by_chat:
            limit = next(judged)
            for question, own in zip(questions[1:], judged, strict=False):
                is_elliptic = _is_elliptic(question)
                is_short = is_elliptic or len(question.split()) <= FOLLOW_UP_WORDS
                is_vague = own is not None and own.name == GENERAL and is_short
                limit = limit if is_vague or (own is None and is_elliptic) else own
            limits.append(limit)
        return limits

    def _judge(self, questions: Sequence[str]) -> list[Limit | None]:
        if not questions:
            return []
        model = _load_model(self.model)
        logits = model.compute_logits(questions)
        scores = model.score(questions)
        by_name = {limit.name: limit for limit in self.limits}
        limits: list[Limit | None] = []
        for row, score in zip(logits.tolist(), scores.tolist(), strict=True):
            logit_of = dict(zip(model.classes, row, strict=True))
            logit_of[GENERAL] += LEAD
            name = max(by_name, key=lambda name: logit_of.get(name, float("-inf")))
            limits.append(by_name[name] if score < self.threshold else None)
        return limits


def list_questions(chat: Sequence[Message]) -> list[str]:
    """List the texts of the user's turns, without the results of calls; at least the last turn. A
    turn in the form of a result counts as one only after a call, so that no user can bring a
    question past the limits in this form.
    """
    follows_call = [
        False,
        *(turn.role == "assistant" and CALL_TAG in turn.content for turn in chat),
    ]
    questions = [
        turn.content
        for turn, is_answer_to_call in zip(chat, follows_call, strict=False)
        if turn.role == "user" and not (is_answer_to_call and split_results(turn.content))
    ]
    return questions or [chat[-1].content]


def get_question(chat: Sequence[Message]) -> str:
    """Return the text by which a chat is searched for and compared with others: the user's last
    question and, if it leaves out its subject, the questions before it, back to one that does not.
    """
    questions = list_questions(chat)
    begin = next((n for n in reversed(range(len(questions))) if not _is_elliptic(questions[n])), 0)
    return "\n".join(questions[begin:])


def _is_elliptic(question: str) -> bool:
    return len(question.split()) <= ELLIPSIS_WORDS and ELLIPSIS.match(question.strip()) is not None


@lru_cache(maxsize=16)
def _load_model(text: str) -> QuestionModel:
    from etude.limits.question_model import QuestionModel  # scikit-learn takes a second to import

    return QuestionModel.from_text(text)
