"""What a model backend can do, and a base class for one that has a single verb."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

from etude.types import Batch, Completion, Message, Request

Capability = Literal[
    "generate", "stream", "score", "count", "choices", "grammar", "train", "learn", "live", "concurrent"
]

CAPABILITIES: Mapping[Capability, str] = {
    "generate": "answer requests",
    "stream": "give an answer piece by piece",
    "score": "give log-probabilities of given answers",
    "count": "count tokens as it reads them",
    "choices": "keep an answer to given texts",
    "grammar": "keep an answer to a grammar",
    "train": "have its weights trained",
    "learn": "learn rows by itself",
    "concurrent": "answer requests of several threads at once",
    "live": "write many answers at once that begin and end at any time",
}
"""Capability -> what a backend that has it can do. "train" needs a `TrainableModel`, "learn" a `LearningModel`."""


class BatchedModel(ABC):
    """A Model with one verb, `complete`. Override the rest where the backend can do better."""

    context = 10**9
    rows_per_batch = 8

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def complete(self, requests: Sequence[Request]) -> Sequence[Completion]:
        """Answers one batch, in order."""
        ...

    def batches(self, requests: Sequence[Request], done: Collection[int] = ()) -> Iterator[Batch]:
        """Batches of `rows_per_batch` in the order of the list."""
        for number, begin in enumerate(range(0, len(requests), self.rows_per_batch)):
            if number not in done:
                indices = tuple(range(begin, min(begin + self.rows_per_batch, len(requests))))
                yield Batch(number, indices, tuple(self.complete([requests[index] for index in indices])))

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers in the order of the requests."""
        return [completion for batch in self.batches(requests) for completion in batch.completions]

    def stream(self, request: Request) -> Iterator[str]:
        """The answer in one piece."""
        yield self.generate([request])[0].text

    def render_text(self, messages: Sequence[Message]) -> str:
        """The prompt: a line `role: text` for every turn, then `assistant:`."""
        return "".join(f"{message.role}: {message.content}\n" for message in messages) + "assistant:"

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Words of the rendered prompt."""
        return len(self.render_text(messages).split())
