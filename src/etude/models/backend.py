"""The capabilities of model backends, a base class that needs one method, and the planning of
batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from operator import itemgetter
from typing import Any, Literal, Protocol

from etude.errors import ModelError
from etude.types import Batch, Completion, Message, Model, Request, Sampling, TokenScore

MAX_ROWS = 32
MAX_TOKENS = 4096  # Tokens of one batch, including padding
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

# Capability -> description for messages and tables. "train" needs a `TrainableModel`, "learn" a
# `LearningModel`, "live" a `LiveModel`, "concurrent" a `ConcurrentModel`.
CAPABILITIES: Mapping[Capability, str] = {
    "generate": "answer requests",
    "sample": "sample answers at random",
    "stream": "stream an answer",
    "score": "compute log-probabilities of given answers",
    "count": "count tokens exactly",
    "choices": "restrict an answer to a list of texts",
    "grammar": "constrain an answer to a grammar",
    "train": "be trained by Étude",
    "learn": "learn from rows in its own way",
    "concurrent": "answer several threads at once",
    "live": "generate many answers at once that start and end at any time",
}


def check_length(model: Model, request: str, num_tokens: int, max_tokens: int) -> None:
    """Raise ModelError if a request, by its name in the error, and its answer are longer than the
    model's context.
    """
    if num_tokens + max_tokens > model.context:
        raise ModelError(
            f"{request} has {num_tokens} tokens and its answer may have {max_tokens}; "
            f"{model.name} reads at most {model.context} in total. Shorten it, give fewer "
            "examples, or lower max_tokens."
        )


class BatchedModel(ABC):
    """A Model for which only `complete` must be implemented. Override other methods if the backend
    can do better.
    """

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
                yield Batch(
                    number, indices, tuple(self.complete([requests[index] for index in indices]))
                )

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer in the order of the requests."""
        return [completion for batch in self.batches(requests) for completion in batch.completions]

    def stream(self, request: Request) -> Iterator[str]:
        """Yield the answer in one piece."""
        yield self.generate([request])[0].text

    def render_text(self, messages: Sequence[Message]) -> str:
        """Render the prompt: a line `role: text` for every turn, then `assistant:`."""
        return (
            "".join(f"{message.role}: {message.content}\n" for message in messages) + "assistant:"
        )

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Count the words of the rendered prompt."""
        return len(self.render_text(messages).split())


class ConcurrentModel(Model, Protocol):
    """A Model that answers several threads at once."""

    def write(
        self, request: Request, sampling: Sampling, on_piece: Callable[[str], bool]
    ) -> tuple[Completion, Sequence[TokenScore]]:
        """Answer one request. `on_piece` gets each new piece and ends the answer by returning
        True.
        """
        ...


class StreamedText:
    """The text of an answer that arrives in chunks."""

    def __init__(self) -> None:
        self.text = self._sent = ""

    def add(self, chunk: str) -> str:
        """Add a chunk; return the new text of the answer, without white space around the answer."""
        self.text += chunk
        piece = self.text.strip()[len(self._sent) :]
        self._sent += piece
        return piece


def read_token_scores(tokens: Iterable[Mapping[str, Any]]) -> list[TokenScore]:
    """Read the scores of tokens from an answer in OpenAI's format."""
    alternatives = itemgetter("token", "logprob")
    return [
        TokenScore(
            token["token"],
            token["logprob"],
            tuple(map(alternatives, token.get("top_logprobs") or ())),
        )
        for token in tokens
    ]


def plan_batches(
    lengths: Sequence[int],
    kinds: Sequence[Hashable] | None = None,
    max_rows: int = MAX_ROWS,
    max_tokens: int = MAX_TOKENS,
) -> list[tuple[int, ...]]:
    """Group positions of `lengths` (tokens) into batches of similar length and the same kind.

    A batch has at most `max_rows` rows and, padded to its longest row, at most `max_tokens` tokens;
    a longer row is alone in its batch. The result depends only on the arguments.
    """
    kinds = kinds if kinds is not None else [None] * len(lengths)
    first_of_kind: dict[Hashable, int] = {}
    for row, kind in enumerate(kinds):
        first_of_kind.setdefault(kind, row)
    order = sorted(
        range(len(lengths)), key=lambda row: (first_of_kind[kinds[row]], lengths[row], row)
    )
    batches: list[list[int]] = []
    for row in order:
        if batches and kinds[batches[-1][0]] == kinds[row]:
            num_rows = len(batches[-1]) + 1
            if num_rows <= max_rows and num_rows * lengths[row] <= max_tokens:
                batches[-1].append(row)
                continue
        batches.append([row])
    return [tuple(batch) for batch in batches]


def count_shared_tokens(sequences: Sequence[Sequence[Hashable]]) -> int:
    """Count the tokens that all sequences begin with, without the last token of any; 0 for a single
    sequence.
    """
    if len(sequences) < 2:
        return 0
    columns = zip(*(sequence[:-1] for sequence in sequences), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
