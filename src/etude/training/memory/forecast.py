"""The time and memory of a training run, estimated from a few steps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from etude.base.processes import ONE, World
from etude.errors import ModelError
from etude.training.config import TrainConfig
from etude.training.memory.buffer import buffer_bytes
from etude.training.memory.disk_space import learned_numbers
from etude.training.memory.usage import give_back_freed_memory, memory_in_use, peak_memory, reset_peak_memory
from etude.training.rows.batches import MICRO_BATCH_COST, TokenRow, make_batches, work_of
from etude.training.step import Run, dev_loss, started_run, train_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TIMED_STEPS = 2
NAMED = 3
"""Damaged weights that a message lists."""
NEAR = 0.9
"""A micro-batch with this share of the most tokens may need the most memory: attention keeps more for each token of a
long row."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a run is expected to take."""

    seconds: float
    """All epochs, and the dev loss before and after each."""
    memory: int
    """Peak bytes; 0 if the system does not report them."""


def at_rest(module: PreTrainedModel, config: TrainConfig, world: World = ONE) -> int:
    """Calculate the bytes that `train` holds in this process before its first step, beside the model: the learned
    weights, their gradients, the optimizer's states and the best epoch.

    Raises what `train` does if layers cannot be adapted.
    """
    numel, types = learned_numbers(module, config)
    parts = world.size if config.data_parallel == "fsdp" else 1
    return buffer_bytes(-(-numel // parts), types)


def foresee(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    config: TrainConfig,
    world: World = ONE,
) -> Foreseen:
    """Estimate what `train` on these rows will take. All processes call it together.

    Raises ModelError if a weight of the model is NaN or infinite.
    """
    check_weights(module)
    memory = _memory(module, rows, dev_rows, config, world)
    pace = estimate_speed(module, rows, config, dev_rows, world)
    return Foreseen(pace.seconds(config.epochs), memory and max(memory, peak_memory(module.device)))


def check_weights(module: PreTrainedModel) -> None:
    """Raise ModelError naming the weights that hold a NaN or an infinity, which no row and no setting can cause."""
    bad = [name for name, each in module.named_parameters() if each.is_floating_point() and not _finite(each)]
    if bad:
        more = f" and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
        raise ModelError(
            f"The weights of {module.config.name_or_path or type(module).__name__} are damaged: NaN or infinity "
            f"in {', '.join(bad[:NAMED])}{more}. Download them again or use another model."
        )


def _finite(weight: torch.Tensor) -> bool:
    # torch.isfinite of the whole weight would take as much memory again.
    return not weight.numel() or all(torch.isfinite(end) for end in torch.aminmax(weight.detach()))


def _memory(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    config: TrainConfig,
    world: World,
) -> int:
    """Peak bytes.

    Rows of one length take memory in proportion to their number, so half the rows of the micro-batch that needs the
    most are measured, and the rest is extrapolated. Dev rows, which need little without gradients, are all measured.
    """
    with started_run(module, config, len(rows), world) as run:
        parts = micro_batches(run, make_batches(rows, config.rows_per_step, config.seed, epoch=1))
        work = partial(work_of, packed=run.placement.packed)
        most = max(map(work, parts))
        largest = max(
            (part for part in parts if work(part) >= NEAR * most), key=lambda part: len(part[0].ids)
        )
        half = largest[: -(-len(largest) // 2)]
        train_step(run, for_every_process(largest[:1], world))  # allocates all that stays
        stays = _settled(run)
        train_step(run, for_every_process(half, world))
        peak = peak_memory(run.module.device)
        _settled(run)
        largest_dev = max(micro_batches(run, [dev_rows]), key=work)
        dev_loss(run.placement, for_every_process(largest_dev, world), config.micro_tokens)
        peak_dev = peak_memory(run.module.device)
    slope = (peak - stays) / work(half)
    return max(round(peak + slope * (most - work(half))), peak_dev)


def _settled(run: Run) -> int:
    """Return freed memory, count the peak from here on, and return the bytes in use."""
    device = run.module.device
    give_back_freed_memory()
    reset_peak_memory(device)
    return memory_in_use(device)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of one pass over the training rows and one over the dev rows."""

    epoch: float
    dev: float

    def seconds(self, epochs: int, rows: float = 1.0, dev_rows: float = 1.0) -> float:
        """Seconds of `epochs` epochs, with the dev loss before the first and after each; `rows` and `dev_rows` say how
        many times as many rows there are as were timed."""
        return rows * epochs * self.epoch + dev_rows * (epochs + 1) * self.dev


def estimate_speed(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    config: TrainConfig,
    dev_rows: Sequence[TokenRow] = (),
    world: World = ONE,
) -> Pace:
    """Estimate the pace of `train` on these rows, to about 15% on a quiet machine.

    Times two steps (after one that is not timed) and a micro-batch of dev rows on an adapter that is thrown away.
    `module` and the random state are unchanged afterwards. All processes of a `world` call it together.
    """
    batches = make_batches(rows, config.rows_per_step, config.seed, epoch=1)
    timed = (batches * (TIMED_STEPS + 1))[1 : TIMED_STEPS + 1]
    with started_run(module, config, len(rows), world) as run:
        parts = micro_batches(run, [dev_rows])
        timed_dev = for_every_process(parts[len(parts) // 2], world) if parts else []
        train_step(run, batches[0])
        started = time.perf_counter()
        for batch in timed:
            train_step(run, batch)
        stepped = time.perf_counter()
        if timed_dev:
            dev_loss(run.placement, timed_dev, config.micro_tokens)
        measured = time.perf_counter()
        dev = _work(run, [dev_rows]) / _work(run, [timed_dev]) if timed_dev else 0.0
        epoch = _work(run, batches) / _work(run, timed)
    return Pace((stepped - started) * epoch, (measured - stepped) * dev)


def micro_batches(run: Run, batches: Iterable[Sequence[TokenRow]]) -> list[tuple[TokenRow, ...]]:
    """The micro-batches of these batches that process 0 computes."""
    limit = run.config.micro_tokens
    return [part for batch in batches for part in run.placement.micro_batches(batch, limit, rank=0)]


def for_every_process(part: Sequence[TokenRow], world: World) -> list[TokenRow]:
    """A batch of which every process computes `part`."""
    return [row for row in part for _ in range(world.size)]


def _work(run: Run, batches: Iterable[Sequence[TokenRow]]) -> float:
    """Work of the batches for process 0, in tokens."""
    return sum(work_of(part, run.placement.packed) + MICRO_BATCH_COST for part in micro_batches(run, batches))
