"""The disk space of a training run: calculated before its first step, and the result's share reserved."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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

RESERVED = "reserved_for_the_result"
"""A file beside the checkpoint, as large as the result, that is removed when that is written."""
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

    `checkpoint` is their folder; what is already in it is counted. Raises RunError if not even the result fits.
    """
    there = {name: _size(checkpoint / name) for name in (FILE, RESERVED)}
    free, folder = free_bytes(checkpoint.absolute()), checkpoint.parent
    result = max(0, disk.result - there[RESERVED])
    if free < result:
        raise RunError(
            f"The tuned weights need {size_in_words(result)} of disk in {folder}, and {size_in_words(free)} are free. "
            "Training was not started: free some space, or move the task to another disk."
        )
    needed = result + max(0, disk.checkpoints - there[FILE])
    if free >= needed:
        return None
    return (
        f"The tuned weights and checkpoints need {size_in_words(needed)} of disk in {folder}, and "
        f"{size_in_words(free)} are free. Free some space: steps without a checkpoint are trained again after a stop."
    )


@contextmanager
def space_reserved(disk: Disk, checkpoint: Path) -> Iterator[None]:
    """Reserve the result's disk space with a file for the length of a `with`, so that no checkpoint and no other
    program takes it. Does nothing on a system that cannot reserve space without writing."""
    file = checkpoint / RESERVED
    if hasattr(os, "posix_fallocate"):
        # If the disk is full by now, writing to it will report it.
        with suppress(OSError):
            checkpoint.mkdir(parents=True, exist_ok=True)
            with file.open("ab") as out:
                os.posix_fallocate(out.fileno(), 0, disk.result)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
