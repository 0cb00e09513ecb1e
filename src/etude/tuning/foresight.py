"""What a training run will take, and what to ask before it takes more than allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from etude.assistant import Assistant
from etude.base.files import Json, free_bytes
from etude.base.wording import rough_time, size_in_words, time_in_words
from etude.data.dataset import Dataset
from etude.methods.foresight.timing import answer_seconds
from etude.methods.tuned.training_run import TrainingRun
from etude.models.registry import Models
from etude.runs.questions import LONG
from etude.task import Task

if TYPE_CHECKING:
    from etude.training.config import TrainConfig


def foreseen(task: Task, training: TrainingRun, student: Assistant, dev: Dataset, models: Models) -> Json:
    """Seconds, bytes at the peak, bytes available, and all of it in words, from a few timed steps."""
    from etude.training.memory.usage import memory_within_reach

    found, device = training.foresee(), training.model.module.device
    answering = answer_seconds(student, dev, models) * len(dev) if task.train.get("dev_metric") else 0.0
    measured = (training.config.epochs + 1) * answering
    expected: Json = {
        "seconds": found.seconds + measured,
        # Processes on one processor share its memory; each GPU has its own.
        "memory": found.memory * (training.world.size if device.type == "cpu" else 1),
        "within_reach": memory_within_reach(device),
    }
    lines = [*_lines(expected), *_about_metric(training.config.epochs, len(dev), answering)]
    return {**expected, "minutes": expected["seconds"] / 60, "lines": lines}


def held(training: TrainingRun) -> Json:
    """Bytes needed before the first step, those in use now included, and bytes available; nothing is allocated."""
    from etude.training.memory.forecast import at_rest
    from etude.training.memory.usage import memory_in_use, memory_within_reach

    module, world = training.model.module, training.world
    device = module.device
    memory = memory_in_use(device) + at_rest(module, training.config, world)
    return {
        "memory": memory * (world.size if device.type == "cpu" else 1),
        "within_reach": memory_within_reach(device),
    }


def disk_in_words(training: TrainingRun, checkpoint: Path) -> str:
    """The disk space that the run takes. Raises RunError if the result alone does not fit."""
    from etude.training.memory.disk_space import check_space, disk_of

    disk = disk_of(training.model.module, training.config)
    check_space(disk, checkpoint)
    free = size_in_words(free_bytes(checkpoint.absolute()))
    return (
        f"Disk: {size_in_words(disk.result)} for the tuned weights and, during training, "
        f"{size_in_words(disk.checkpoints)} for checkpoints ({free} free)."
    )


def question_of_memory(expected: Json) -> str | None:
    """What to ask if the memory is not available; None if it is."""
    memory, reach = expected["memory"], expected["within_reach"]
    if not memory > reach > 0:
        return None
    return (
        f"This training needs about {size_in_words(memory)} of memory before its first step, and "
        f"{size_in_words(reach)} is available. Continue?"
    )


def remedy(expected: Json, budget: float | None, config: TrainConfig) -> str:
    """What to set to avoid `question`."""
    from etude.training.memory.usage import less_memory

    lacks = expected["memory"] > expected["within_reach"] > 0
    long = question({**expected, "memory": 0}, budget)
    faster = "Set train: {max_rows: ...} or a smaller model in the task file."
    return " ".join([*([less_memory(config)] if lacks else []), *([faster] if long or not lacks else [])])


def question(expected: Json, budget: float | None) -> str | None:
    """What to ask before the first step; None when nothing exceeds a limit."""
    parts = []
    seconds, memory, reach = expected["seconds"], expected["memory"], expected["within_reach"]
    if budget is not None and seconds > budget:
        parts.append(f"takes {rough_time(seconds)}, over the budget of {time_in_words(budget)}")
    elif budget is None and seconds > LONG:
        parts.append(f"takes {rough_time(seconds)}, over the limit of {time_in_words(LONG)} without a budget")
    if memory > reach > 0:
        parts.append(
            f"needs about {size_in_words(memory)} of memory, and {size_in_words(reach)} is available"
        )
    return f"This training {' and '.join(parts)}. Continue?" if parts else None


def _lines(expected: Json) -> Iterator[str]:
    memory, reach = expected["memory"], expected["within_reach"]
    size = f" and about {size_in_words(memory)} of memory" if memory else ""
    most = f" ({size_in_words(reach)} available)" if memory and reach else ""
    yield f"Expected: {rough_time(expected['seconds'])}{size}{most}."


def _about_metric(epochs: int, num_dev: int, seconds: float) -> Iterator[str]:
    if seconds:
        yield (
            f"The metric on dev takes {rough_time((epochs + 1) * seconds)} of that: {num_dev:,} answers before "
            f"training and after each of {epochs} epochs (train: dev_metric)."
        )
