"""What a training run will take, in time and memory, from a few steps, before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from etude.train.batches import TokenRow, make_batches, work_of
from etude.train.buffer import bytes_to_be
from etude.train.config import TrainConfig
from etude.train.lora import targeted
from etude.train.memory import give_back_freed_memory, memory_in_use, peak_memory, reset_peak_memory
from etude.train.speed import estimate_speed, for_each, micro_batches
from etude.train.step import Run, dev_loss, settings_of, started_run, train_step
from etude.world import ONE, World

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NEAR = 0.9
"""Share of the most tokens from which a micro-batch may be the one that needs the most memory: attention of long
rows keeps more for each token."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a run is expected to take."""

    seconds: float
    """All epochs, and the loss on dev before and after each."""
    memory: int
    """Bytes at the highest point; 0 where the system does not tell."""


def at_rest(module: PreTrainedModel, config: TrainConfig, world: World = ONE) -> int:
    """Bytes that `train` holds in this process before its first step, beside the model: the learned weights, their
    gradients, the optimizer's states and the best epoch. By arithmetic: nothing of it is taken.

    Raises what `train` does for layers that cannot be adapted.
    """
    if config.weights == "full":
        learned = [each for each in module.parameters() if each.is_floating_point()]
        numel, types = sum(each.numel() for each in learned), {each.dtype for each in learned}
    else:
        linear = [base for _, base in targeted(module, settings_of(config), config.targets)]
        numel = config.rank * sum(base.in_features + base.out_features for base in linear)
        types = {torch.promote_types(base.weight.dtype, torch.float32) for base in linear}
    parts = world.size if config.data_parallel == "fsdp" else 1
    return bytes_to_be(-(-numel // parts), types)


def foresee(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    config: TrainConfig,
    world: World = ONE,
) -> Foreseen:
    """What `train` on these rows will take, all its epochs at their own pace. All processes call it together."""
    memory = _memory(module, rows, dev_rows, config, world)
    pace = estimate_speed(module, rows, config, dev_rows, world)
    return Foreseen(pace.seconds(config.epochs), memory and max(memory, peak_memory(module.device)))


def _memory(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    config: TrainConfig,
    world: World,
) -> int:
    """Bytes at the highest point.

    Rows of one length take memory in proportion to their number: it is measured on half the rows of the micro-batch
    that needs the most, and drawn out in a straight line. Dev rows are measured as they are: without gradients
    little is held.
    """
    with started_run(module, config, len(rows), world) as run:
        parts = micro_batches(run, make_batches(rows, config.rows_per_step, config.seed, epoch=1))
        work = partial(work_of, packed=run.packed)
        most = max(map(work, parts))
        largest = max(
            (part for part in parts if work(part) >= NEAR * most), key=lambda part: len(part[0].ids)
        )
        half = largest[: -(-len(largest) // 2)]
        train_step(run, for_each(largest[:1], world))  # touches all that stays
        stays = _settled(run)
        train_step(run, for_each(half, world))
        peak = peak_memory(run.module.device)
        _settled(run)
        largest_dev = max(micro_batches(run, [dev_rows]), key=work)
        dev_loss(run.module, for_each(largest_dev, world), config.micro_tokens, run.body, run.placement)
        peak_dev = peak_memory(run.module.device)
    slope = (peak - stays) / work(half)
    return max(round(peak + slope * (most - work(half))), peak_dev)


def _settled(run: Run) -> int:
    """Bytes in use once what was freed is given back; the highest point is counted from here on."""
    device = run.module.device
    give_back_freed_memory()
    reset_peak_memory(device)
    return memory_in_use(device)
