"""Time, memory and disk space that a training run will need, and the question to ask if a limit is exceeded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from etude.assistant import Assistant
from etude.base.files import Json, free_bytes
from etude.base.formatting import format_rough_time, format_size, format_time
from etude.data.dataset import Dataset
from etude.estimates.timing import measure_answer_seconds
from etude.methods.shared.training_run import TrainingRun
from etude.models.registry import Models
from etude.runs.questions import ASK_SECONDS
from etude.task import Task

if TYPE_CHECKING:
    from etude.training.config import TrainConfig


def measure_training_needs(
    task: Task, training: TrainingRun, student: Assistant, dev: Dataset, models: Models
) -> Json:
    """Time a few steps to estimate seconds and peak bytes; return them with the available bytes and sentences."""
    from etude.training.memory.usage import available_memory

    estimate, device = training.estimate(), training.model.module.device
    metric_seconds, lines, epochs = 0.0, [], training.config.epochs
    if task.train.get("dev_metric"):
        metric_seconds = (epochs + 1) * measure_answer_seconds(student, dev, models) * len(dev)
        lines.append(
            f"Of this time, the metric on dev takes {format_rough_time(metric_seconds)}: {len(dev):,} answers before "
            f"training and after each of {epochs} epochs (train: dev_metric)."
        )
    seconds, available = estimate.seconds + metric_seconds, available_memory(device)
    # Processes on one processor share its memory; each GPU has its own.
    memory = estimate.memory * (training.world.size if device.type == "cpu" else 1)
    size = f" and about {format_size(memory)} of memory" if memory else ""
    room = f" ({format_size(available)} available)" if memory and available else ""
    lines.insert(0, f"Expected: {format_rough_time(seconds)}{size}{room}.")
    return {
        "seconds": seconds,
        "minutes": seconds / 60,
        "memory": memory,
        "available_memory": available,
        "lines": lines,
    }


def compute_memory_at_rest(training: TrainingRun) -> Json:
    """Compute the bytes needed before the first step, including those in use now, and the available bytes."""
    from etude.training.memory.forecast import compute_base_memory
    from etude.training.memory.usage import available_memory, memory_in_use

    module, world = training.model.module, training.world
    device = module.device
    memory = memory_in_use(device) + compute_base_memory(module, training.config, world)
    return {
        "memory": memory * (world.size if device.type == "cpu" else 1),
        "available_memory": available_memory(device),
    }


def format_disk_space(training: TrainingRun, checkpoint: Path) -> str:
    """Format the disk space that the run needs. Raises RunError if there is not even room for the result."""
    from etude.training.memory.forecast import check_disk_space, compute_disk_space

    disk = compute_disk_space(training.model.module, training.config)
    check_disk_space(disk, checkpoint)
    free = format_size(free_bytes(checkpoint.absolute()))
    return (
        f"Disk: {format_size(disk.result)} for the tuned weights and, during training, "
        f"{format_size(disk.checkpoints)} for checkpoints ({free} free)."
    )


def format_memory_question(expected: Json) -> str | None:
    """Return the question to ask if there is too little memory; None if there is enough."""
    if not _lacks_memory(expected):
        return None
    return (
        f"This training needs about {format_size(expected['memory'])} of memory before its first step, and "
        f"{format_size(expected['available_memory'])} is available. Continue?"
    )


def _lacks_memory(expected: Json) -> bool:
    # 0 bytes mean that the memory of the device is unknown.
    return bool(expected["memory"] > expected["available_memory"] > 0)


def format_remedy(expected: Json, budget: float | None, config: TrainConfig) -> str:
    """Return what to set so that `format_question` asks nothing."""
    from etude.training.memory.usage import suggest_less_memory

    remedies = [suggest_less_memory(config)] if _lacks_memory(expected) else []
    if not remedies or format_question({**expected, "memory": 0}, budget):
        remedies.append("Set train: {max_rows: ...} or a smaller model in the task file.")
    return " ".join(remedies)


def format_question(expected: Json, budget: float | None) -> str | None:
    """Return the question to ask before the first step; None if no limit is exceeded."""
    reasons = []
    seconds, limit = expected["seconds"], ASK_SECONDS if budget is None else budget
    if seconds > limit:
        name = (
            f"limit of {format_time(limit)} without a budget"
            if budget is None
            else f"budget of {format_time(limit)}"
        )
        reasons.append(f"takes {format_rough_time(seconds)}, more than the {name}")
    if _lacks_memory(expected):
        memory, available = format_size(expected["memory"]), format_size(expected["available_memory"])
        reasons.append(f"needs about {memory} of memory, and {available} is available")
    return f"This training {' and '.join(reasons)}. Continue?" if reasons else None
