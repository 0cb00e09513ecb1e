"""How long training will take and how much memory, from a few timed steps, before anything is spent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.train.batches import MICRO_BATCH_COST, TokenRow, make_batches, share_of, split_micro
from etude.train.config import TrainConfig
from etude.train.memory import memory_in_use, peak_memory, reset_peak_memory
from etude.train.step import Run, dev_loss, started_run, train_step
from etude.world import ONE, World

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TIMED_STEPS = 2


def estimate_speed(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    config: TrainConfig,
    dev_rows: Sequence[TokenRow] = (),
    world: World = ONE,
) -> float:
    """Seconds that one epoch of `train` on these rows takes, its dev loss included.

    Times two steps (after one that is not timed) and a micro-batch of dev rows on an adapter that is
    thrown away; weights, modes and random state of `module` are afterwards as they were. Good to about
    15% on a quiet machine. All processes of a `world` call it together.
    """
    batches = make_batches(rows, config.rows_per_step, config.seed, epoch=1)
    timed = (batches * (TIMED_STEPS + 1))[: TIMED_STEPS + 1]
    with started_run(module, config, len(rows), world) as run:
        train_step(run, timed[0])
        started = time.perf_counter()
        for batch in timed[1:]:
            train_step(run, batch)
        seconds = time.perf_counter() - started
        training = seconds * _cost(batches, config, world) / _cost(timed[1:], config, world)
        return training + _dev_seconds(run, dev_rows)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a run is expected to take."""

    seconds: float
    """All epochs, and the loss on dev before and after each."""
    memory: int
    """Bytes at the highest point; 0 where the system does not tell."""


def foresee(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    config: TrainConfig,
    world: World = ONE,
) -> Foreseen:
    """What `train` on these rows will take: `estimate_speed` for all epochs, and memory as two steps show it.

    Memory grows with the tokens computed at once. It is measured on the smallest micro-batch, which
    also touches all that stays, and on one in the middle, and drawn out in a straight line to the
    largest; so a machine that is too small is not filled by the estimate. Dev rows, of which more are
    computed at once, are measured as they are: without gradients little is held.
    """
    seconds = config.epochs * estimate_speed(module, rows, config, dev_rows, world)
    batches = make_batches(rows, config.rows_per_step, config.seed, epoch=1)
    parts = sorted(_parts(batches, config, world), key=_cells)
    with started_run(module, config, len(rows), world) as run:
        for part in (parts[0], parts[len(parts) // 2]):
            stays = memory_in_use(run.module.device)
            reset_peak_memory(run.module.device)
            train_step(run, _for_each(part, world))
        peak = peak_memory(run.module.device)
        reset_peak_memory(run.module.device)
        largest = max(_parts([dev_rows], config, world), key=_cells)
        dev_loss(run.module, _for_each(largest, world), config.micro_tokens, placement=run.placement)
        peak_dev = peak_memory(run.module.device)
        seconds += _dev_seconds(run, dev_rows)
    slope = max(0, peak - stays) / _cells(part)
    drawn_out = round(peak + slope * (_cells(parts[-1]) - _cells(part)))
    return Foreseen(seconds, max(drawn_out, peak_dev) if peak else 0)


def _parts(
    batches: Iterable[Sequence[TokenRow]], config: TrainConfig, world: World
) -> list[tuple[TokenRow, ...]]:
    """All micro-batches of the batches that process 0 computes."""
    return [
        part for batch in batches for part in split_micro(share_of(batch, 0, world.size), config.micro_tokens)
    ]


def _for_each(part: Sequence[TokenRow], world: World) -> list[TokenRow]:
    """A batch of which every process computes `part`."""
    return [row for row in part for _ in range(world.size)]


def _cells(part: Sequence[TokenRow]) -> int:
    """Tokens of a micro-batch, padding included."""
    return len(part) * max(len(row.ids) for row in part)


def _dev_seconds(run: Run, rows: Sequence[TokenRow]) -> float:
    if not rows:
        return 0.0
    config, world = run.config, run.world
    parts = _parts([rows], config, world)
    middle = parts[len(parts) // 2]
    started = time.perf_counter()
    dev_loss(run.module, _for_each(middle, world), config.micro_tokens, placement=run.placement)
    seconds = time.perf_counter() - started
    return seconds * _cost([rows], config, world) / _cost([middle], config, ONE)


def _cost(batches: Iterable[Sequence[TokenRow]], config: TrainConfig, world: World) -> int:
    """Work of the batches for process 0, in tokens."""
    return sum(_cells(part) + MICRO_BATCH_COST for part in _parts(batches, config, world))
