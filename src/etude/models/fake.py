"""A deterministic model without weights, for tests, examples of the API and dry runs.

It behaves as a real one does where that matters to the ladder: it copies from similar examples in the
prompt, so few-shot helps; it copies from what it was tuned on, so fine-tuning helps more; without
either it guesses. A token is a word between white space.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, takewhile
from pathlib import Path

from etude.errors import ModelError, quote_value
from etude.models.backend import BatchedModel
from etude.models.registry import Models
from etude.types import Batch, Completion, Example, Message, ModelRef, Request

ADAPTER_FILE = "fake_adapter.json"
SIMILAR = 0.3
"""Overlap from which an example in the prompt is copied rather than a choice guessed."""


@dataclass(frozen=True, slots=True)
class FakeOptions:
    """What `fake:delay=0.01,context=500` says."""

    delay: float = 0.0
    """Seconds slept for every batch."""
    context: int = 4096
    """Words that a prompt and its answer may have together."""


class Known:
    """Questions with their answers, searched by the words they share."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self.answers = tuple(answers.values())
        self._words = [_words(question) for question in answers]

    @cached_property
    def _holders(self) -> dict[str, list[int]]:
        holders: dict[str, list[int]] = defaultdict(list)
        for number, words in enumerate(self._words):
            for word in words:
                holders[word].append(number)
        return holders

    def nearest(self, question: str) -> tuple[str, float]:
        """The answer of the question with the highest Jaccard overlap of words, and that overlap (the
        first one wins a tie); ("", 0.0) when no word is shared."""
        words = _words(question)
        shared = Counter(number for word in words for number in self._holders.get(word, ()))
        overlaps = {n: count / len(words | self._words[n]) for n, count in shared.items()}
        if not overlaps:
            return "", 0.0
        best = min(overlaps, key=lambda number: (-overlaps[number], number))
        return self.answers[best], overlaps[best]


class FakeModel(BatchedModel):
    """A Model that computes nothing. Same requests, same answers, on every machine."""

    def __init__(self, name: str = "fake", adapter: Path | None = None) -> None:
        super().__init__(name)
        self.options = _parse_options(name)
        self.context = self.options.context
        self._tuned = Known(_read_adapter(adapter)) if adapter else None

    def batches(self, requests: Sequence[Request], done: Collection[int] = ()) -> Iterator[Batch]:
        """Batches of 8 in the order of the list. Raises ModelError when a request is too long."""
        prompts = [self.render_text(request.messages).split() for request in requests]
        self._check_lengths(requests, prompts)
        shared = _shared_words(prompts)
        for batch in super().batches(requests, done):
            completions = (
                replace(each, cached_tokens=min(shared, each.prompt_tokens - 1)) for each in batch.completions
            )
            yield replace(batch, completions=tuple(completions))

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers a batch, after the delay."""
        started = time.perf_counter()
        if self.options.delay:
            time.sleep(self.options.delay)
        answers = [self._answer(request) for request in requests]
        seconds = (time.perf_counter() - started) / len(requests)
        return [
            _completion(request, *answer, self.count_tokens(request.messages), seconds)
            for request, answer in zip(requests, answers, strict=True)
        ]

    def stream(self, request: Request) -> Iterator[str]:
        """The answer in pieces of a word with the white space behind it."""
        yield from re.findall(r"\s*\S+\s*", self.generate([request])[0].text)

    def score(self, requests: Sequence[Request], completions: Sequence[str]) -> list[list[float]]:
        """Log-probabilities of given answers, one a word and one for the end of turn: near 0 for the
        answer this model gives, -5 else."""
        own = [completion.text for completion in self.generate(requests)]
        return [
            [-0.01 if text == wanted else -5.0] * (len(wanted.split()) + 1)
            for text, wanted in zip(own, completions, strict=True)
        ]

    def learn(self, rows: Sequence[Example], folder: Path) -> tuple[str, str]:
        """Writes an adapter folder with which a FakeModel answers as the nearest of `rows`."""
        folder.mkdir(parents=True, exist_ok=True)
        answers = {_question(row.input): row.output for row in rows}
        text = json.dumps({"answers": answers}, ensure_ascii=False, indent=1)
        (folder / ADAPTER_FILE).write_text(text + "\n", encoding="utf-8")
        sentence = f"The fake model memorized {len(rows):,} rows."
        return sentence, "the fake model memorized the rows"

    def _check_lengths(self, requests: Sequence[Request], prompts: Sequence[list[str]]) -> None:
        for number, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            if len(prompt) + request.max_tokens > self.context:
                raise ModelError(
                    f"Request {number} has {len(prompt)} tokens and may answer with {request.max_tokens}; "
                    f"{self.name} reads at most {self.context}. Shorten it or lower max_tokens."
                )

    def _answer(self, request: Request) -> tuple[str, float]:
        """The answer, and how sure the model is of it (0 to 1)."""
        question = _question(request.messages)
        candidates = [_shots(request.messages).nearest(question)]
        if self._tuned:
            candidates.append(self._tuned.nearest(question))
        answer, sure = max(candidates, key=lambda candidate: candidate[1])
        if request.choices:
            return _choose(request.choices, question, answer, sure)
        if not answer:
            shots = _shots(request.messages).answers
            answer = shots[0] if shots else question
        return answer, max(sure, 0.1)


def load(ref: ModelRef, models: Models) -> FakeModel:
    """The fake model that `ref` names, for the registry."""
    return FakeModel(ref.name, ref.adapter)


def _read_adapter(folder: Path) -> dict[str, str]:
    path = folder / ADAPTER_FILE
    try:
        answers = json.loads(path.read_text(encoding="utf-8"))["answers"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is not an adapter of the fake model ({error}). Write it with FakeModel.learn."
        ) from error
    return {str(question): str(answer) for question, answer in answers.items()}


def _parse_options(name: str) -> FakeOptions:
    _, _, rest = name.partition(":")
    given = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    try:
        options = FakeOptions(float(given.pop("delay", 0.0)), int(given.pop("context", 4096)))
    except ValueError as error:
        raise ModelError(
            f"An option of {quote_value(name)} is not a number: {error}. Example: fake:delay=0.01."
        ) from None
    if given:
        raise ModelError(
            f"The fake model knows delay and context, not {quote_value(list(given))}. Correct {quote_value(name)}."
        )
    return options


def _choose(choices: tuple[str, ...], question: str, answer: str, sure: float) -> tuple[str, float]:
    floor = 1 / len(choices)
    if answer in choices and sure >= SIMILAR:
        return answer, max(sure, floor)
    digest = hashlib.sha256(question.encode("utf-8")).digest()
    return choices[int.from_bytes(digest[:8], "big") % len(choices)], floor


def _shots(messages: Sequence[Message]) -> Known:
    """The question and answer pairs that stand in the prompt before the last turn."""
    pairs = pairwise(messages)
    return Known({q.content: a.content for q, a in pairs if (q.role, a.role) == ("user", "assistant")})


def _question(messages: Sequence[Message]) -> str:
    return next((message.content for message in reversed(messages) if message.role == "user"), "")


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))


def _shared_words(prompts: Sequence[list[str]]) -> int:
    """Words with which all of several prompts begin."""
    if len(prompts) < 2:
        return 0
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False)))


def _completion(request: Request, text: str, sure: float, prompt: int, seconds: float) -> Completion:
    words = re.findall(r"\s*\S+", text)
    cut = not request.choices and len(words) >= request.max_tokens
    return Completion(
        text="".join(words[: request.max_tokens]) if cut else text,
        finish="length" if cut else "stop",
        prompt_tokens=prompt,
        cached_tokens=0,
        answer_tokens=request.max_tokens if cut else len(words) + 1,
        seconds=seconds,
        logprob=math.log(min(sure, 0.99)),
    )
