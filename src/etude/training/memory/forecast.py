"""What a training run will take in time and memory, from a few steps, before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from etude.base.processes import ONE, World
from etude.errors import ModelError
from etude.training.config import TrainConfig
from etude.training.memory.buffer import bytes_to_be
from etude.training.memory.disk_space import learned_numbers
from etude.training.memory.speed import estimate_speed, for_each, micro_batches
from etude.training.memory.usage import give_back_freed_memory, memory_in_use, peak_memory, reset_peak_memory
from etude.training.rows.batches import TokenRow, make_batches, work_of
from etude.training.step import Run, dev_loss, started_run, train_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAMED = 3
"""Damaged weights that a message names."""
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
    numel, types = learned_numbers(module, config)
    parts = world.size if config.data_parallel == "fsdp" else 1
    return bytes_to_be(-(-numel // parts), types)


def foresee(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    config: TrainConfig,
    world: World = ONE,
) -> Foreseen:
    """What `train` on these rows will take, all its epochs at their own pace. All processes call it together.

    Raises ModelError where a weight of the model is no number.
    """
    check_weights(module)
    memory = _memory(module, rows, dev_rows, config, world)
    pace = estimate_speed(module, rows, config, dev_rows, world)
    return Foreseen(pace.seconds(config.epochs), memory and max(memory, peak_memory(module.device)))


def check_weights(module: PreTrainedModel) -> None:
    """Raises ModelError naming the weights that hold what is no number: no row and no setting is at fault then."""
    bad = [name for name, each in module.named_parameters() if each.is_floating_point() and not _whole(each)]
    if bad:
        more = f" and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
        raise ModelError(
            f"The weights of {module.config.name_or_path or type(module).__name__} are damaged: what is no number "
            f"stands in {', '.join(bad[:NAMED])}{more}. Get them again or set another model."
        )


def _whole(weight: torch.Tensor) -> bool:
    # A copy that says of each number whether it is one would take memory as large as the weight.
    return not weight.numel() or all(torch.isfinite(end) for end in torch.aminmax(weight.detach()))


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
        work = partial(work_of, packed=run.placement.packed)
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
        dev_loss(run.placement, for_each(largest_dev, world), config.micro_tokens)
        peak_dev = peak_memory(run.module.device)
    slope = (peak - stays) / work(half)
    return max(round(peak + slope * (most - work(half))), peak_dev)


def _settled(run: Run) -> int:
    """Bytes in use once what was freed is given back; the highest point is counted from here on."""
    device = run.module.device
    give_back_freed_memory()
    reset_peak_memory(device)
    return memory_in_use(device)
