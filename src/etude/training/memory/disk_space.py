"""The disk that a training run takes: known by arithmetic before its first step, and the result's share kept free."""

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
from etude.training.checkpoints.checkpoint import FILE
from etude.training.config import TrainConfig
from etude.training.layers.lora import targeted
from etude.training.step import settings_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEPT = "room_for_the_result"
"""A file beside the checkpoint that takes the result's room until it is written."""
AROUND = 2**18
"""Bytes of what stands around the weights: headers and settings."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes that a run takes on the disk."""

    result: int
    checkpoints: int
    """One, and the next while it is written."""


def learned_numbers(module: PreTrainedModel, config: TrainConfig) -> tuple[int, set[torch.dtype]]:
    """How many numbers `train` learns, and their types. Raises what `train` does for layers that cannot be adapted."""
    if config.weights == "full":
        learned = [each for each in module.parameters() if each.is_floating_point()]
        return sum(each.numel() for each in learned), {each.dtype for each in learned}
    linear = [base for _, base in targeted(module, settings_of(config), config.targets)]
    numel = config.rank * sum(base.in_features + base.out_features for base in linear)
    return numel, {torch.promote_types(base.weight.dtype, torch.float32) for base in linear}


def disk_of(module: PreTrainedModel, config: TrainConfig) -> Disk:
    """What `train` will take on the disk. By arithmetic: nothing of it is taken. Raises as `learned_numbers` does."""
    numel, types = learned_numbers(module, config)
    wide = {torch.promote_types(each, torch.float32) for each in types}
    width = max(each.itemsize for each in wide)
    # The best epoch is kept as the model computes; weights and the optimizer's two states of each are wide.
    best = width if types & wide else max(each.itemsize for each in types)
    # Adapters are written in 32 bits, a model as it computes.
    result = numel * 4 if config.weights == "lora" else sum(each.nbytes for each in module.parameters())
    return Disk(result + AROUND, 2 * numel * (3 * width + best))


def check_room(disk: Disk, checkpoint: Path) -> str | None:
    """What to tell where checkpoints find no room beside the result; None where they do.

    `checkpoint` is their folder, and what stands there already is counted. Raises RunError where not even the result
    finds room.
    """
    there = {name: _size(checkpoint / name) for name in (FILE, KEPT)}
    free, folder = free_bytes(checkpoint.absolute()), checkpoint.parent
    result = max(0, disk.result - there[KEPT])
    # The checkpoint gives its room to the result in the end.
    if free < result:
        raise RunError(
            f"The tuned weights need {size_in_words(result)} of disk in {folder}, and {size_in_words(free)} are free. "
            "Nothing is trained that could not be written: make room, or move the task to another disk."
        )
    needed = result + max(0, disk.checkpoints - there[FILE])
    if free >= needed:
        return None
    return (
        f"The tuned weights and checkpoints need {size_in_words(needed)} of disk in {folder}, and "
        f"{size_in_words(free)} are free. Make room: what no checkpoint holds is trained again after a stop."
    )


@contextmanager
def room_kept(disk: Disk, checkpoint: Path) -> Iterator[None]:
    """Within it a file takes the result's room on the disk, so that no checkpoint and no other program does; behind it
    that room is free. Where the system cannot take room without writing, none is kept."""
    file = checkpoint / KEPT
    if hasattr(os, "posix_fallocate"):
        # The room was there a moment ago; a disk that is full by now is told by what is written to it.
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
