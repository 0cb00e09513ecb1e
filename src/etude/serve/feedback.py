"""What people say about answers: which answer an id means, and the entry in the feedback.jsonl of its assistant."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from etude.feedback import Feedback, read_feedback
from etude.serve.catalogue import Served
from etude.serve.errors import ApiError
from etude.serve.schemas import FeedbackRequest, Json
from etude.types import Message

MOST_CHARACTERS = 20_000_000
"""Of the questions and answers that are remembered; the oldest are forgotten first."""

OVERHEAD = 1_000


@dataclass(frozen=True)
class Given:
    """An answer that was given."""

    served: Served
    turns: tuple[Message, ...]
    text: str

    @property
    def characters(self) -> int:
        """Of the question and the answer, and what remembering them takes beside."""
        return OVERHEAD + len(self.text) + sum(len(turn.content) for turn in self.turns)


class Recent:
    """The latest answers by response and number."""

    def __init__(self) -> None:
        self._given: OrderedDict[tuple[str, int], Given] = OrderedDict()
        self._characters = 0

    def keep(self, response: str, index: int, given: Given) -> None:
        """Remembers an answer."""
        self._given[response, index] = given
        self._characters += given.characters
        while self._characters > MOST_CHARACTERS:
            self._characters -= self._given.popitem(last=False)[1].characters

    def find(self, response: str, index: int) -> Given:
        """The answer. Raises ApiError if it is not known (any more)."""
        try:
            return self._given[response, index]
        except KeyError:
            what = f"No answer {index} of {response} is remembered: the id is wrong, or the server was started anew."
            raise ApiError(404, what, "id", "unknown_answer") from None


def exchange(given: Given) -> Json:
    """Assistant, question and answer, as the file of feedback has them."""
    turns = [{"role": turn.role, "content": turn.content} for turn in given.turns]
    return {"assistant": given.served.source, "input": turns, "answer": given.text}


def entry(said: FeedbackRequest, given: Given, who: str) -> Feedback:
    """What the file gets. The same thing said twice has the same id, so that it is kept once."""
    all_of_it = (said.id, said.index, who, said.thumb, said.correction, said.reason)
    named = {"id": hashlib.sha256(repr(all_of_it).encode()).hexdigest()[:32], "who": who}
    opinion = {"thumb": said.thumb, "correction": said.correction, "reason": said.reason}
    return read_feedback({**named, **exchange(given), **opinion})
