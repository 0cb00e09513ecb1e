"""How fast this machine answers and trains: a few timed steps before the plan is made."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etude.assistant import Assistant
from etude.data.dataset import Dataset
from etude.data.splits import Split
from etude.methods.method import Method, TrainingTime
from etude.models.registry import Models
from etude.task import Task
from etude.types import Example, ModelRef

TIMED_ANSWERS = 32


@dataclass(frozen=True)
class Rates:
    """Speeds, measured before anything is decided."""

    answer: float
    """Seconds for one row answered by the untuned model under the task's own prompt."""
    training: Mapping[str, TrainingTime] = field(default_factory=dict)
    """Method -> seconds of its training, for those that train."""
    others: Mapping[str, float] = field(default_factory=dict)
    """Method -> seconds for one row, for those that ask another model than the first."""


def measure(task: Task, methods: Sequence[Method], start: Assistant, parts: Split, models: Models) -> Rates:
    """Answers 32 dev inputs with each model that is asked and times a few steps of each training.

    Nothing of it is kept but in an endpoint's journal, and a ladder that asks no language model is not timed. Speeds of
    later methods differ by the length of their prompts, so a plan is a guide, not a promise.
    """
    asking = sorted((method for method in methods if method.asks_model), key=lambda each: not each.prompted)
    if not asking:
        return Rates(answer=0.0)
    by_model: dict[ModelRef, float] = {}
    answers: dict[str, float] = {}
    for method in asking:
        asked = method.asked(task, start, parts.train, models)
        if asked.model not in by_model:
            by_model[asked.model] = answer_seconds(asked, parts.dev, models)
        answers[method.name] = by_model[asked.model]
    first = next(iter(answers.values()))
    times = {
        method.name: method.training_time(task, start, parts.train, models, answers[method.name])
        for method in asking
    }
    others = {name: seconds for name, seconds in answers.items() if seconds != first}
    return Rates(first, {name: time for name, time in times.items() if time}, others)


def answer_seconds(assistant: Assistant, rows: Dataset, models: Models) -> float:
    """Seconds that one row's answer takes, over 32 of the rows' inputs answered together."""
    asked = spread(rows, TIMED_ANSWERS)
    model = models.get(assistant.model)
    requests = assistant.requests([example.input for example in asked], models)
    model.generate(requests[:1])  # the first call pays for what is set up once
    started = time.perf_counter()
    model.generate(requests)
    return (time.perf_counter() - started) / len(asked)


def spread(rows: Dataset, size: int) -> Sequence[Example]:
    """`size` rows at even distances."""
    step = max(1, len(rows) // size)
    return rows.examples[::step][:size]
