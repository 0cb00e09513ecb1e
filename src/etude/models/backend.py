"""What model backends can do, and a base class for one with a single verb."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal, Protocol

from etude.types import Batch, Completion, Message, Model, Request, Sampling, TokenScore

Capability = Literal[
    "generate",
    "sample",
    "stream",
    "score",
    "count",
    "choices",
    "grammar",
    "train",
    "learn",
    "live",
    "concurrent",
]

# Capability -> what such a backend can do. "train" needs a `TrainableModel`, "learn" a `LearningModel`, "live" a
# `LiveModel`, "concurrent" a `ConcurrentModel`.
CAPABILITIES: Mapping[Capability, str] = {
    "generate": "answer requests",
    "sample": "draw answers at random",
    "stream": "give an answer piece by piece",
    "score": "give log-probabilities of given answers",
    "count": "count tokens as it reads them",
    "choices": "restrict an answer to given texts",
    "grammar": "constrain an answer to a grammar",
    "train": "have its weights trained",
    "learn": "learn rows by itself",
    "concurrent": "answer requests of several threads at once",
    "live": "generate many answers at once that begin and end at any time",
}


class BatchedModel(ABC):
    """A Model with one verb, `complete`. Override the rest if the backend can do better."""

    context = 10**9
    rows_per_batch = 8

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def complete(self, requests: Sequence[Request]) -> Sequence[Completion]:
        """Answer one batch, in order."""
        ...

    def batches(self, requests: Sequence[Request], done: Collection[int] = ()) -> Iterator[Batch]:
        """Answer in batches of `rows_per_batch` in the order of the list."""
        for number, begin in enumerate(range(0, len(requests), self.rows_per_batch)):
            if number not in done:
                indices = tuple(range(begin, min(begin + self.rows_per_batch, len(requests))))
                yield Batch(number, indices, tuple(self.complete([requests[index] for index in indices])))

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer in the order of the requests."""
        return [completion for batch in self.batches(requests) for completion in batch.completions]

    def stream(self, request: Request) -> Iterator[str]:
        """Yield the answer in one piece."""
        yield self.generate([request])[0].text

    def render_text(self, messages: Sequence[Message]) -> str:
        """Render the prompt: a line `role: text` for every turn, then `assistant:`."""
        return "".join(f"{message.role}: {message.content}\n" for message in messages) + "assistant:"

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Count the words of the rendered prompt."""
        return len(self.render_text(messages).split())


class ConcurrentModel(Model, Protocol):
    """A Model that answers several threads at once."""

    def write(
        self, request: Request, sampling: Sampling, on_piece: Callable[[str], bool]
    ) -> tuple[Completion, Sequence[TokenScore]]:
        """Answer one request. `on_piece` gets each new piece and ends the answer by returning True."""
        ...


class StreamedText:
    """The text of an answer that arrives in chunks."""

    def __init__(self) -> None:
        self.text = self._sent = ""

    def add(self, chunk: str) -> str:
        """Add a chunk; return what is new of the answer without the white space around it."""
        self.text += chunk
        piece = self.text.strip()[len(self._sent) :]
        self._sent += piece
        return piece
