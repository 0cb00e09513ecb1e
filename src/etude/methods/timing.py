"""How fast this machine answers and trains: a few timed steps before the plan is made."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etude.assistant import Assistant
from etude.data.dataset import Dataset
from etude.methods.method import Method, TrainingTime
from etude.models.registry import Models
from etude.task import Task
from etude.types import Example

TIMED_ANSWERS = 32


@dataclass(frozen=True)
class Rates:
    """Speeds on this machine, measured before anything is decided."""

    answer: float
    """Seconds for one row answered by the untuned model under the task's own prompt."""
    training: Mapping[str, TrainingTime] = field(default_factory=dict)
    """Method -> seconds of its training, for those that train."""


def measure(task: Task, methods: Sequence[Method], start: Assistant, train: Dataset, models: Models) -> Rates:
    """Answers 32 training inputs and times a few steps of each training.

    Nothing of it is kept, and a ladder that asks no language model is not timed. Speeds of later methods
    differ by the length of their prompts, so a plan is a guide, not a promise.
    """
    asking = sorted((method for method in methods if method.asks_model), key=lambda each: not each.prompted)
    if not asking:
        return Rates(answer=0.0)
    answer = answer_seconds(asking[0].asked(task, start, train, models), train, models)
    times = {method.name: method.training_time(task, start, train, models, answer) for method in asking}
    return Rates(answer, {name: time for name, time in times.items() if time})


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
