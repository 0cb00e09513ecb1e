"""Memory and disk space that a training run will need, and the question to ask if there is too little memory."""

from __future__ import annotations

from pathlib import Path

from etude.base.files import Json, free_bytes
from etude.base.formatting import format_size
from etude.methods.shared.training_run import TrainingRun


def measure_memory(training: TrainingRun) -> Json:
    """Measure the peak bytes of a few steps; return them with the available bytes."""
    from etude.training.memory.forecast import measure_training_memory
    from etude.training.memory.usage import available_memory

    module = training.model.module
    memory = measure_training_memory(module, training.rows, training.dev_rows, training.config)
    return {"memory": memory, "available_memory": available_memory(module.device)}


def compute_memory_at_rest(training: TrainingRun) -> Json:
    """Compute the bytes needed before the first step, including those in use now, and the available bytes."""
    from etude.training.memory.forecast import compute_base_memory
    from etude.training.memory.usage import available_memory, memory_in_use

    module = training.model.module
    memory = memory_in_use(module.device) + compute_base_memory(module, training.config)
    return {"memory": memory, "available_memory": available_memory(module.device)}


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


def format_memory_question(needs: Json, moment: str = "") -> str | None:
    """Return the question to ask if there is too little memory; None if there is enough."""
    # 0 bytes mean that the memory of the device is unknown.
    if not needs["memory"] > needs["available_memory"] > 0:
        return None
    return (
        f"This training needs about {format_size(needs['memory'])} of memory{moment}, and "
        f"{format_size(needs['available_memory'])} is available. Continue?"
    )
