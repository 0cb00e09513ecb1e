"""How long training takes, estimated from a few timed steps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.base.processes import ONE, World
from etude.training.config import TrainConfig
from etude.training.rows.batches import (
    MICRO_BATCH_COST,
    TokenRow,
    make_batches,
    share_of,
    split_micro,
    work_of,
)
from etude.training.step import Run, dev_loss, started_run, train_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TIMED_STEPS = 2


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
        timed_dev = for_each(parts[len(parts) // 2], world) if parts else []
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
    mine = (share_of(batch, 0, run.world.size) for batch in batches)
    return [
        part for rows in mine for part in split_micro(rows, run.config.micro_tokens, run.placement.packed)
    ]


def for_each(part: Sequence[TokenRow], world: World) -> list[TokenRow]:
    """A batch of which every process computes `part`."""
    return [row for row in part for _ in range(world.size)]


def _work(run: Run, batches: Iterable[Sequence[TokenRow]]) -> float:
    """Work of the batches for process 0, in tokens."""
    return sum(work_of(part, run.placement.packed) + MICRO_BATCH_COST for part in micro_batches(run, batches))
