"""How fast this machine answers and trains, from a few timed steps before the plan is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import nnls

from etude.assistant import Assistant, PromptLimit, with_engine
from etude.data.dataset import Dataset
from etude.errors import STOPPING_ERRORS
from etude.index.build import load_task_encoder
from etude.methods.method import Method, TrainingTime
from etude.methods.shared.fit_context import sample_evenly
from etude.methods.shared.fitted_search import measure_search_time
from etude.models.backend import count_shared_tokens
from etude.models.registry import Models
from etude.models.remote import RemoteModel
from etude.models.timings import measure_once
from etude.task import Task
from etude.types import Message, Model, Request

if TYPE_CHECKING:
    from etude.models.local.encoder import Encoder

TIMED_ANSWERS = 32
FIRST_ANSWERS, ENOUGH_SECONDS = 4, 10.0
"""If the first answers take this many seconds, no more are timed. They were computed in a smaller batch, so a row then
seems slower than it will be."""
TIMED_TOKENS = 128
"""A timed answer is cut at this many tokens: a model that has not ended by then seldom ends before the limit."""
SHARED = 2_000  # length of a shared prefix, in tokens, after which every token takes twice as long
LONGER = 1.5  # the longest prompts are timed too if they are this many times as long as the shortest


@dataclass(frozen=True)
class Rates:
    """Speeds on this machine."""

    answer: Mapping[str, float]
    """Method -> seconds per answered row, for methods that use a language model, a decision model or an encoder."""
    training: Mapping[str, TrainingTime] = field(default_factory=dict)
    """Method -> seconds of its training, for methods that train."""
    search: Callable[[int | None], float] = lambda epochs: 0.0
    """(most epochs or None) -> seconds of fitting the search."""


class TimedAnswer(NamedTuple):
    """The mean over some answered rows. Tokens of prompt and answer are multiplied by the weight."""

    prompt: float
    num_written: float
    seconds: float
    answer: float  # tokens of a whole answer; one that was cut counts as long as the limit


class TypicalRequests(NamedTuple):
    """Requests of a method, whose prompts are as long as those that it will try."""

    model: Model
    requests: Sequence[Request]
    prompt: float  # tokens of a prompt after the shared ones, times the weight
    weight: float  # how many times as long a token takes because of the shared prefix
    answer: float | None  # tokens of an answer, if it will be as long as the training answers; else None
    samples: int  # requests for each row

    def measure(self, num_rows: int, max_tokens: int = TIMED_TOKENS) -> TimedAnswer:
        """Answer some rows, with at most `max_tokens` tokens each."""
        requests = self.requests[:num_rows]
        cut_requests = [
            replace(request, max_tokens=min(max_tokens, request.max_tokens)) for request in requests
        ]
        started = time.perf_counter()
        completions = self.model.generate(cut_requests)
        seconds = (time.perf_counter() - started) / len(completions)
        num_tokens = [completion.answer_tokens for completion in completions]
        lengths = [
            request.max_tokens if num >= cut.max_tokens else num
            for request, cut, num in zip(requests, cut_requests, num_tokens, strict=True)
        ]
        return TimedAnswer(self.prompt, self.weight * fmean(num_tokens), seconds, fmean(lengths))

    def measure_briefly(self, num_rows: int) -> TimedAnswer:
        """Answer some rows, or only the first few if these already take long."""
        first = self.measure(FIRST_ANSWERS)
        return first if first.seconds * FIRST_ANSWERS > ENOUGH_SECONDS else self.measure(num_rows)


def measure_rates(
    task: Task, methods: Sequence[Method], start: Assistant, train: Dataset, models: Models
) -> Rates:
    """Time some answers to training inputs and a few steps of each training; the answers are discarded.

    A model has one rate for prompt tokens and one for answer tokens, so a plan is only approximate. For methods without
    a language model, only an encoder or a decision model is timed.
    """
    by_model: dict[str, dict[str, TypicalRequests]] = {}
    for method in [method for method in methods if method.asks_model]:
        typical = _build_typical(method, task, start, train, models)
        by_model.setdefault(typical.model.name, {})[method.name] = typical
    answer = {
        name: seconds for group in by_model.values() for name, seconds in _compute_row_seconds(group).items()
    }
    times: dict[str, TrainingTime | None] = {}
    encoding = [
        method.name for method in methods if not method.asks_model and "encoder" in method.used_keys(task)
    ]
    if encoding and (encoder := load_task_encoder(task, models, [])):
        answer |= dict.fromkeys(encoding, _measure_encoding(encoder, train))
    for method in methods:
        decides = "decision_model" in method.keys
        if method.asks_model or method.tuned or decides:
            try:
                if decides:
                    assistant = method.build_untrained(task, start, train, models)
                    answer[method.name] = measure_answer_seconds(assistant, train, models)
                times[method.name] = method.measure_training_time(
                    task, start, train, models, answer.get(method.name, 0.0)
                )
            except STOPPING_ERRORS:
                raise
            except Exception:  # noqa: BLE001 - the fit will raise the same error and record it
                models.clear()
    searches = any(method.searches for method in methods)
    search = measure_search_time(task, train, models) if searches else Rates.search
    return Rates(answer, {name: seconds for name, seconds in times.items() if seconds}, search)


def _measure_encoding(encoder: Encoder, train: Dataset) -> float:
    """Time the encoding of some training inputs; return the seconds per row."""
    texts = [row.input[-1].content for row in sample_evenly(train, TIMED_ANSWERS)]

    def time_texts() -> list[float]:
        encoder.embed(texts[:1])  # the first call is slower, because of one-time setup
        started = time.perf_counter()
        encoder.embed(texts)
        return [(time.perf_counter() - started) / len(texts)]

    (seconds,) = measure_once(("encoding", encoder.name, texts), time_texts)
    return seconds


def _build_typical(
    method: Method, task: Task, start: Assistant, train: Dataset, models: Models
) -> TypicalRequests:
    plain = sample_evenly(train, TIMED_ANSWERS)
    assistant, rows = method.build_typical(task, start, train, plain, models)
    assistant = with_engine(task.engine, assistant)
    model = models.get(assistant.model)
    limit = PromptLimit(assistant, model)
    rows = [row for row in rows if limit.fits(row.input)] or plain
    # One sample is timed; each sample of a row takes as long.
    requests = replace(assistant, samples=1).prepare([row.input for row in rows], model)
    texts = [model.render_text(request.messages).encode() for request in requests]
    tokens = fmean(model.count_tokens(request.messages) for request in requests)
    shared = tokens * count_shared_tokens(texts) / fmean(map(len, texts))
    weight, answer = 1 + shared / SHARED, None
    if (method.tuned or assistant.shots) and not assistant.choices:
        bare = model.count_tokens((Message("user", ""),))
        answer = fmean(model.count_tokens((Message("user", row.output),)) - bare + 1 for row in rows)
    prompt = weight * (tokens - shared + shared / len(rows))
    return TypicalRequests(model, requests, prompt, weight, answer, assistant.samples)


def _compute_row_seconds(by_method: Mapping[str, TypicalRequests]) -> dict[str, float]:
    """Compute method -> seconds per row, for methods that use the same model."""
    ranked = sorted(by_method.values(), key=lambda typical: typical.prompt)
    shortest, longest = ranked[0], ranked[-1]

    def time_answers() -> list[float]:
        """Time two kinds of answers, to find two rates. The second kind has long prompts, or else a single answer
        token."""
        shortest.measure(1, 1)  # the first call is slower, because of one-time setup
        timed = [shortest.measure_briefly(TIMED_ANSWERS)]
        if longest.prompt > LONGER * shortest.prompt:
            timed.append(longest.measure_briefly(TIMED_ANSWERS // 2))
        elif not shortest.requests[0].choices:
            timed.append(shortest.measure(TIMED_ANSWERS, 1))
        return [value for answer in timed for value in answer]

    subject = ("answers", shortest.model.name, shortest.requests, longest.requests)
    # A service may be faster the next time, and its answers and their price are recorded in the run.
    values = (
        time_answers() if isinstance(shortest.model, RemoteModel) else measure_once(subject, time_answers)
    )
    timed = [TimedAnswer(*values[begin : begin + 4]) for begin in range(0, len(values), 4)]
    table = np.array([(answer.prompt, answer.num_written, answer.seconds) for answer in timed])
    (prompt_rate, token_rate), _ = nnls(table[:, :2], table[:, 2])
    return {
        name: typical.samples
        * (prompt_rate * typical.prompt + token_rate * typical.weight * (typical.answer or timed[0].answer))
        for name, typical in by_method.items()
    }


def measure_answer_seconds(assistant: Assistant, train: Dataset, models: Models) -> float:
    """Time the answers to 32 training inputs together; return the seconds per row."""
    rows = sample_evenly(train, TIMED_ANSWERS)
    model = models.get(assistant.model)
    requests = assistant.build_requests([example.input for example in rows], models)
    model.generate(requests[:1])  # the first call is slower, because of one-time setup
    started = time.perf_counter()
    model.generate(requests)
    return (time.perf_counter() - started) / len(rows)
