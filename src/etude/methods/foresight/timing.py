"""How fast this machine answers and trains: a few timed steps before the plan is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from etude.assistant import Assistant, PromptLimit
from etude.data.dataset import Dataset
from etude.methods.method import Method, TrainingTime
from etude.methods.searching import search_time
from etude.models.batch_plan import shared_prefix
from etude.models.registry import Models
from etude.task import Task
from etude.types import Example, Message, Model, Request

TIMED_ANSWERS = 32
TIMED_TOKENS = 128
"""Tokens after which a timed answer is cut: a model that has not ended by then seldom ends before the limit."""
SHARED = 2_000
"""Tokens at the front of all prompts, computed once, that make every other token take twice as long."""
LONGER = 1.5
"""Prompts so many times as long as the shortest are timed too."""


@dataclass(frozen=True)
class Rates:
    """Speeds on this machine, measured before anything is decided."""

    answer: Mapping[str, float]
    """Method -> seconds for one row answered, for those that ask a language model."""
    training: Mapping[str, TrainingTime] = field(default_factory=dict)
    """Method -> seconds of its training, for those that train."""
    search: Callable[[int | None], float] = lambda epochs: 0.0
    """Seconds of fitting the search in so many epochs at most."""


class Timed(NamedTuple):
    """A row that was answered; the tokens of its prompt and of what was written are times the weight."""

    prompt: float
    written: float
    seconds: float
    answer: float
    """Tokens of a whole answer, where one that was cut is taken to reach the limit."""


class Asked(NamedTuple):
    """What a method asks: prompts as long as those it will try."""

    model: Model
    requests: Sequence[Request]
    prompt: float
    """Tokens of a prompt behind those that all share, times the weight."""
    weight: float
    """How many times as long a token takes because of the shared ones."""
    answer: float | None
    """Tokens of an answer, where it will be as the training answers are."""

    def timed(self, num_rows: int, most: int = TIMED_TOKENS) -> Timed:
        """Some rows answered in at most so many tokens each."""
        whole = self.requests[:num_rows]
        asked = [replace(each, max_tokens=min(most, each.max_tokens)) for each in whole]
        started = time.perf_counter()
        done = self.model.generate(asked)
        seconds = (time.perf_counter() - started) / len(done)
        written = [each.answer_tokens for each in done]
        ends = [
            each.max_tokens if num >= cut.max_tokens else num
            for each, cut, num in zip(whole, asked, written, strict=True)
        ]
        return Timed(self.prompt, self.weight * fmean(written), seconds, fmean(ends))


def measure(task: Task, methods: Sequence[Method], start: Assistant, train: Dataset, models: Models) -> Rates:
    """Answers some training inputs and times a few steps of each training.

    Nothing of it is kept, and a ladder that asks no language model is not timed. A row answered takes its prompt tokens
    and its answer tokens, each at a rate of the model's; so a plan is a guide, not a promise.
    """
    by_model: dict[str, dict[str, Asked]] = {}
    for method in (each for each in methods if each.asks_model):
        asked = _asked(method, task, start, train, models)
        by_model.setdefault(asked.model.name, {})[method.name] = asked
    answer = {name: found for group in by_model.values() for name, found in _row_seconds(group).items()}
    times = {
        method.name: method.training_time(task, start, train, models, answer.get(method.name, 0.0))
        for method in methods
        if method.name in answer or method.tuned
    }
    searches = any(method.searches for method in methods)
    search = search_time(task, train, models) if searches else Rates.search
    return Rates(answer, {name: time for name, time in times.items() if time}, search)


def _asked(method: Method, task: Task, start: Assistant, train: Dataset, models: Models) -> Asked:
    plain = spread(train, TIMED_ANSWERS)
    assistant, rows = method.typical(task, start, train, plain, models)
    model = models.get(assistant.model)
    limit = PromptLimit(assistant, model)
    rows = [row for row in rows if limit.fits(row.input)] or plain
    requests = assistant.prepare([row.input for row in rows], model)
    texts = [model.render_text(request.messages).encode() for request in requests]
    tokens = fmean(model.count_tokens(request.messages) for request in requests)
    shared = tokens * shared_prefix(texts) / fmean(map(len, texts))
    weight, answer = 1 + shared / SHARED, None
    if (method.tuned or assistant.shots) and not assistant.choices:
        bare = model.count_tokens((Message("user", ""),))
        answer = fmean(model.count_tokens((Message("user", row.output),)) - bare + 1 for row in rows)
    return Asked(model, requests, weight * (tokens - shared + shared / len(rows)), weight, answer)


def _row_seconds(asked: Mapping[str, Asked]) -> dict[str, float]:
    """Method -> seconds of a row, for methods that ask one model: the shortest and the longest prompts are timed, or
    the shortest for a single token where all are alike."""
    ranked = sorted(asked.values(), key=lambda each: each.prompt)
    shortest, longest = ranked[0], ranked[-1]
    shortest.timed(1, 1)  # the first call pays for what is set up once
    timed = [shortest.timed(TIMED_ANSWERS)]
    if longest.prompt > LONGER * shortest.prompt:
        timed.append(longest.timed(TIMED_ANSWERS // 2))
    elif not shortest.requests[0].choices:
        timed.append(shortest.timed(TIMED_ANSWERS, 1))
    table = np.array([(each.prompt, each.written, each.seconds) for each in timed])
    (prompt, token), _ = nnls(table[:, :2], table[:, 2])
    return {
        name: prompt * each.prompt + token * each.weight * (each.answer or timed[0].answer)
        for name, each in asked.items()
    }


def answer_seconds(assistant: Assistant, train: Dataset, models: Models) -> float:
    """Seconds that one row's answer takes, over 32 training inputs answered together."""
    rows = spread(train, TIMED_ANSWERS)
    model = models.get(assistant.model)
    requests = assistant.requests([example.input for example in rows], models)
    model.generate(requests[:1])  # the first call pays for what is set up once
    started = time.perf_counter()
    model.generate(requests)
    return (time.perf_counter() - started) / len(rows)


def spread(rows: Dataset, size: int) -> Sequence[Example]:
    """`size` rows at even distances."""
    step = max(1, len(rows) // size)
    return rows.examples[::step][:size]
