"""The disk space of a training run, calculated before its first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from etude.base.files import free_bytes
from etude.base.wording import size_in_words
from etude.errors import RunError
from etude.training.checkpoints import FILE
from etude.training.config import TrainConfig
from etude.training.layers.lora import targeted

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AROUND = 2**18
"""Bytes for headers and settings."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes that a run takes on the disk."""

    result: int
    checkpoints: int
    """One, and the next while it is written."""


def learned_numbers(module: PreTrainedModel, config: TrainConfig) -> tuple[int, set[torch.dtype]]:
    """How many numbers `train` learns, and their types. Raises what `train` does if layers cannot be adapted."""
    if config.weights == "full":
        learned = [each for each in module.parameters() if each.is_floating_point()]
        return sum(each.numel() for each in learned), {each.dtype for each in learned}
    linear = [base for _, base in targeted(module, config)]
    numel = config.rank * sum(base.in_features + base.out_features for base in linear)
    return numel, {torch.promote_types(base.weight.dtype, torch.float32) for base in linear}


def disk_of(module: PreTrainedModel, config: TrainConfig) -> Disk:
    """What `train` will take on the disk, calculated. Raises as `learned_numbers` does."""
    numel, types = learned_numbers(module, config)
    wide = {torch.promote_types(each, torch.float32) for each in types}
    width = max(each.itemsize for each in wide)
    # The best epoch is kept in the model's type; weights and the optimizer's two states of each are wide.
    best = width if types & wide else max(each.itemsize for each in types)
    # Adapters are written in 32 bits, a model in its own type.
    result = numel * 4 if config.weights == "lora" else sum(each.nbytes for each in module.parameters())
    return Disk(result + AROUND, 2 * numel * (3 * width + best))


def check_space(disk: Disk, checkpoint: Path) -> str | None:
    """Return a warning if the disk has no space for checkpoints beside the result, else None.

    `checkpoint` is their folder; a checkpoint that is already in it is counted. Raises RunError if not even the
    result fits.
    """
    free, folder = free_bytes(checkpoint.absolute()), checkpoint.parent
    if free < disk.result:
        raise RunError(
            f"The tuned weights need {size_in_words(disk.result)} of disk in {folder}, and {size_in_words(free)} are "
            "free. Training was not started: free some space, or move the task to another disk."
        )
    needed = disk.result + max(0, disk.checkpoints - _size(checkpoint / FILE))
    if free >= needed:
        return None
    return (
        f"The tuned weights and checkpoints need {size_in_words(needed)} of disk in {folder}, and "
        f"{size_in_words(free)} are free. Free some space: steps without a checkpoint are trained again after a stop."
    )


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
