"""A deterministic model without weights, for tests, examples of the API and dry runs.

It behaves like a real model where that matters for a comparison. It copies from similar examples in
the prompt, so few-shot helps. It copies from the rows it was tuned on, so fine-tuning helps more.
Without either, it guesses. A token is a word between white space.
"""

import hashlib
import json
import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from etude.errors import ModelError, quote_value
from etude.models import backend, registry
from etude.types import Batch, Completion, Example, Message, ModelRef, Request

ADAPTER_FILE = "fake_adapter.json"
MIN_OVERLAP = 0.3  # From this overlap on, it gives the known answer instead of guessing a choice


class QuestionIndex:
    """Questions with their answers, searched by shared words."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self.answers = tuple(answers.values())
        self._words = [_split_words(question) for question in answers]
        self._questions_with: dict[str, list[int]] = defaultdict(list)
        for number, words in enumerate(self._words):
            for word in words:
                self._questions_with[word].append(number)

    def find_nearest(self, question: str) -> tuple[str, float]:
        """Return the answer of the question with the highest Jaccard overlap of words, and that
        overlap.

        The first one wins a tie; ("", 0.0) if no question shares a word.
        """
        words = _split_words(question)
        shared = Counter(number for word in words for number in self._questions_with.get(word, ()))
        overlaps = {
            number: count / len(words | self._words[number]) for number, count in shared.items()
        }
        if not overlaps:
            return "", 0.0
        best = min(overlaps, key=lambda number: (-overlaps[number], number))
        return self.answers[best], overlaps[best]


class FakeModel(backend.BatchedModel):
    """A Model without computation: it gives the same answers to the same requests on every
    machine.
    """

    def __init__(self, name: str = "fake", adapter: Path | None = None) -> None:
        super().__init__(name)
        self.delay, self.context = _parse_options(name)
        self._tuned = QuestionIndex(_read_adapter(adapter)) if adapter else None

    def batches(self, requests: Sequence[Request], done: Collection[int] = ()) -> Iterator[Batch]:
        """Answer in batches of 8 in the order of the list. Raises ModelError if a request is too
        long.
        """
        prompts = [self.render_text(request.messages).split() for request in requests]
        for number, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            backend.check_length(self, f"Request {number}", len(prompt), request.max_tokens)
        shared = backend.count_shared_tokens(prompts)
        for batch in super().batches(requests, done):
            completions = (
                replace(completion, cached_tokens=shared) for completion in batch.completions
            )
            yield replace(batch, completions=tuple(completions))

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer a batch, after the delay."""
        started = time.perf_counter()
        if self.delay:
            time.sleep(self.delay)
        answers = [self._answer(request) for request in requests]
        seconds = (time.perf_counter() - started) / len(requests)
        completions = []
        for request, (text, probability) in zip(requests, answers, strict=True):
            words = re.findall(r"\s*\S+", text)
            is_cut = not request.choices and len(words) >= request.max_tokens
            sure = min(probability, 0.99)
            doubt = (1 - sure) / max(1, len(request.choices) - 1)  # of each of the others
            spread = {
                choice: math.log(sure if choice == text else doubt) for choice in request.choices
            }
            completions.append(
                Completion(
                    text="".join(words[: request.max_tokens]) if is_cut else text,
                    finish="length" if is_cut else "stop",
                    prompt_tokens=self.count_tokens(request.messages),
                    cached_tokens=0,
                    answer_tokens=request.max_tokens if is_cut else len(words) + 1,
                    seconds=seconds,
                    logprob=math.log(sure),
                    choice_logprobs=spread,
                )
            )
        return completions

    def stream(self, request: Request) -> Iterator[str]:
        """Yield the answer word by word. Each word includes the white space after it."""
        yield from re.findall(r"\s*\S+\s*", self.generate([request])[0].text)

    def score(self, requests: Sequence[Request], completions: Sequence[str]) -> list[list[float]]:
        """Return the log-probabilities of given answers: one for each word and one for the end of
        turn.

        They are near 0 for the answer that this model would give, and -5 for any other.
        """
        answers = [completion.text for completion in self.generate(requests)]
        return [
            [-0.01 if text == answer else -5.0] * (len(text.split()) + 1)
            for answer, text in zip(answers, completions, strict=True)
        ]

    def learn(self, rows: Sequence[Example], folder: Path) -> tuple[str, str]:
        """Write an adapter folder with which a FakeModel answers like the nearest of `rows`."""
        folder.mkdir(parents=True, exist_ok=True)
        answers = {
            _find_question(row.input[:place]): turn.content
            for row in rows
            for place, turn in enumerate((*row.input, Message("assistant", row.output)))
            if turn.role == "assistant" and turn.trained
        }
        text = json.dumps({"answers": answers}, ensure_ascii=False, indent=1)
        (folder / ADAPTER_FILE).write_text(text + "\n", encoding="utf-8")
        sentence = f"The fake model memorized {len(rows):,} rows."
        return sentence, "the fake model memorized the rows"

    def _answer(self, request: Request) -> tuple[str, float]:
        """Return the answer and its probability, 0 to 1."""
        question = _find_question(request.messages)
        turns = pairwise(request.messages)  # the last turn has no answer
        shots = QuestionIndex(
            {
                asked.content: answered.content
                for asked, answered in turns
                if (asked.role, answered.role) == ("user", "assistant")
            }
        )
        candidates = [shots.find_nearest(question)]
        if self._tuned:
            candidates.append(self._tuned.find_nearest(question))
        answer, overlap = max(candidates, key=lambda candidate: candidate[1])
        if request.choices:
            floor = 1 / len(request.choices)
            if answer in request.choices and overlap >= MIN_OVERLAP:
                return answer, max(overlap, floor)
            digest = hashlib.sha256(question.encode("utf-8")).digest()
            return request.choices[int.from_bytes(digest[:8], "big") % len(request.choices)], floor
        # without a similar question, guess an answer of the right form, else repeat the question
        if not answer:
            answer = shots.answers[0] if shots.answers else question
        return answer, max(overlap, 0.1)


def load(ref: ModelRef, models: registry.Models) -> FakeModel:
    """Load the fake model that `ref` names, for the registry."""
    return FakeModel(ref.name, ref.adapter)


def _read_adapter(folder: Path) -> dict[str, str]:
    path = folder / ADAPTER_FILE
    try:
        answers = json.loads(path.read_text(encoding="utf-8"))["answers"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is not an adapter of the fake model ({error}). Create it with FakeModel.learn."
        ) from error
    return {str(question): str(answer) for question, answer in answers.items()}


def _parse_options(name: str) -> tuple[float, int]:
    """Parse `fake:delay=0.01,context=500`: seconds to sleep for every batch, and the largest number
    of words of a prompt and its answer.
    """
    values = dict(
        option.partition("=")[::2] for option in name.partition(":")[2].split(",") if option
    )
    try:
        options = float(values.pop("delay", 0.0)), int(values.pop("context", 4096))
    except ValueError as error:
        raise ModelError(
            f"An option of {quote_value(name)} is not a number: {error}. Example: fake:delay=0.01."
        ) from None
    if values:
        raise ModelError(
            f"The fake model has the options delay and context, not {quote_value(list(values))}. "
            f"Correct {quote_value(name)}."
        )
    return options


def _find_question(messages: Sequence[Message]) -> str:
    return next((message.content for message in reversed(messages) if message.role == "user"), "")


def _split_words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))
