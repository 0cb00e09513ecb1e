"""How fast this machine answers and trains: a few timed steps before the plan is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from etude.assistant import Assistant
from etude.comparison.plan import Rates
from etude.data.dataset import Dataset
from etude.methods import Method, asks_a_model
from etude.methods.fine_tune import student_of
from etude.methods.training_run import config_for, token_rows
from etude.models.registry import Models, is_fake
from etude.task import Task
from etude.types import Example

TIMED_ANSWERS = 32
TIMED_ROWS = 200
"""Rows whose lengths stand for those of all rows."""


def measure(task: Task, methods: Sequence[Method], start: Assistant, train: Dataset, models: Models) -> Rates:
    """Answers 32 training inputs and, when the ladder trains, times a few training steps.

    Nothing of it is kept, and a ladder that asks no language model is not timed. Speeds of later methods
    differ by the length of their prompts, so a plan is a guide, not a promise.
    """
    if not asks_a_model(methods):
        return Rates(answer=0.0)
    trains = any(method.tuned for method in methods)
    student = student_of(task, start, train, models) if trains else start
    answer = answer_seconds(start if any(method.prompted for method in methods) else student, train, models)
    if not trains or is_fake(task.model):
        return Rates(answer)
    return Rates(answer, training_seconds(task, student, train, models, answer))


def training_seconds(
    task: Task, student: Assistant, train: Dataset, models: Models, answer: float
) -> Callable[[int, int], float]:
    """Seconds of training on so many rows, with the loss on so many dev rows before it and after each epoch, and
    with their answers too where the task chooses the epoch by the metric (`answer` seconds each)."""
    from etude.training import estimate_speed

    model = models.local(student.model)
    examples = _spread(train, TIMED_ROWS)
    rows = token_rows(model, student, examples)
    pace = estimate_speed(model.module, rows, config_for(task, model, len(train)), rows)
    answered = answer if task.train.get("dev_metric") else 0.0

    def seconds(num_rows: int, num_dev: int) -> float:
        epochs = config_for(task, model, num_rows).epochs
        steps_and_losses = pace.seconds(epochs, num_rows / len(examples), num_dev / len(examples))
        return steps_and_losses + (epochs + 1) * num_dev * answered

    return seconds


def answer_seconds(start: Assistant, train: Dataset, models: Models) -> float:
    """Seconds that one row's answer takes, over 32 training inputs answered together."""
    rows = _spread(train, TIMED_ANSWERS)
    model = models.get(start.model)
    requests = start.prepare([example.input for example in rows], model)
    model.generate(requests[:1])  # the first call pays for what is set up once
    started = time.perf_counter()
    model.generate(requests)
    return (time.perf_counter() - started) / len(rows)


def _spread(rows: Dataset, size: int) -> Sequence[Example]:
    """`size` rows at even distances."""
    step = max(1, len(rows) // size)
    return rows.examples[::step][:size]
