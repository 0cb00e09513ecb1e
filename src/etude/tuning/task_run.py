"""Shared setup for training and preview: the task, its split rows, and the run they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from etude.assistant import Assistant
from etude.base.processes import World
from etude.data.dataset import (
    APART_LEAST,
    COMPARED,
    DEV_LEAST,
    TEST_LEAST,
    TRAINED,
    Least,
)
from etude.data.splits import Split
from etude.errors import InputError, Issue
from etude.methods import unused_keys
from etude.methods.fine_tune import FineTune
from etude.methods.fit_context import blank
from etude.methods.foresight.too_long import check_lengths
from etude.methods.tuned.training_run import TrainingRun, training_run
from etude.models.registry import Models
from etude.runs.fingerprints import fingerprints
from etude.runs.lifecycle import TaskRun, read_task
from etude.task import Task
from etude.types import Example

METHOD = FineTune()
NAME = METHOD.name


def opened(task_file: Path | str, budget: float | None = None, least: Least = TRAINED) -> TaskRun:
    """Reads the task and its rows. Raises InputError with all errors, fewer rows than `least` among them."""
    task, dataset, test = read_task(task_file, budget, least)
    task = replace(task, methods=(NAME,))
    apart = unused_keys(METHOD, task)
    parts = fingerprints(task, dataset, test).items()
    inputs = {key: part for key, part in parts if key not in apart} | {"command": "train"}
    return TaskRun(task, dataset, test, inputs)


def sizes(task_run: TaskRun) -> tuple[Least, ...]:
    """The smallest sizes of the sides, the first that the rows are enough for is taken: a comparison's where its
    split leaves enough to train on, else those of a training, which needs no test."""
    left = len(task_run.dataset) - DEV_LEAST - (0 if task_run.test else TEST_LEAST)
    return (COMPARED, TRAINED) if left >= APART_LEAST else (TRAINED,)


def check_processes(task: Task, world: World) -> None:
    """Raises InputError where the processes of `world` cannot train together as the task asks."""
    if world.size > 1 and task.train.get("dev_metric") and task.train.get("data_parallel") == "fsdp":
        what = f"with data_parallel: fsdp none of {world.size} processes holds the whole model that would answer dev"
        raise InputError([Issue("train: dev_metric", what, "true", "leave one of the two out")])


def checked_student(task: Task, parts: Split, models: Models) -> Assistant:
    """The student before training, once every row of train and dev is known to fit. No row of the test is looked at.

    Raises InputError listing the rows that are too long.
    """
    start = blank(replace(task, prompt_model=None), parts.train, models)
    sealed = replace(parts, test=parts.test.select([], "sealed"))
    check_lengths(task, [METHOD], start, sealed, models)
    return METHOD.asked(task, start, parts.train, models)


def training(
    task: Task, student: Assistant, parts: Split, chosen: Sequence[Example], models: Models
) -> TrainingRun:
    """The training run on the `chosen` rows of train."""
    model = models.trainable(student.model)
    return training_run(task, student, parts.train, chosen, parts.dev, model)
