"""How long training takes, from a few timed steps, before anything is spent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from etude.base.processes import ONE, World
from etude.training.config import TrainConfig
from etude.training.memory.hidden import hidden_cache
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

Batches = Sequence[Sequence[TokenRow]]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of one pass over the rows of training, and over those of dev."""

    first: float
    """The first epoch's steps."""
    later: float
    """The steps of each further epoch: fewer seconds where hidden states are kept (hidden.py)."""
    dev_first: float
    """The loss on dev before training."""
    dev_later: float
    """The loss on dev after an epoch."""

    def seconds(self, epochs: int, rows: float = 1.0, dev_rows: float = 1.0) -> float:
        """Of `epochs` epochs, the loss on dev before and after each included; `rows` and `dev_rows` say how many
        times as many rows there are as were timed."""
        training = self.first + (epochs - 1) * self.later
        return rows * training + dev_rows * (self.dev_first + epochs * self.dev_later)


def estimate_speed(
    module: PreTrainedModel,
    rows: Sequence[TokenRow],
    config: TrainConfig,
    dev_rows: Sequence[TokenRow] = (),
    world: World = ONE,
) -> Pace:
    """The pace of `train` on these rows.

    Times two steps (after one that is not timed) and a micro-batch of dev rows on an adapter that is
    thrown away, and where hidden states will be kept the same once more from kept ones; weights, modes and
    random state of `module` are afterwards as they were. Good to about 15% on a quiet machine. Whether the disk
    will hold the states of all rows is not looked at. All processes of a `world` call it together.
    """
    batches = make_batches(rows, config.rows_per_step, config.seed, epoch=1)
    timed = (batches * (TIMED_STEPS + 1))[1 : TIMED_STEPS + 1]
    with started_run(module, config, len(rows), world) as run:
        middle = _middle(run, dev_rows)
        train_step(run, batches[0])
        first = _drawn_out(run, timed, batches, middle, dev_rows)
        with _kept_states(run, [*timed, middle]) as kept:
            later = _drawn_out(run, timed, batches, middle, dev_rows) if kept else first
    return Pace(first[0], later[0], first[1], later[1])


@contextmanager
def _kept_states(run: Run, batches: Sequence[Sequence[TokenRow]]) -> Iterator[bool]:
    """Within it the hidden states of these rows are known, as in epochs behind the first; says whether they are."""
    rows = [row for batch in batches for row in batch]
    with (
        TemporaryDirectory() as folder,
        hidden_cache(run, rows, (), Path(folder), "", lambda news: None) as cache,
    ):
        if cache is not None:
            cache.fill(run.module, filter(None, batches), run.config.micro_tokens)
        yield cache is not None and not cache.failed


def micro_batches(run: Run, batches: Iterable[Sequence[TokenRow]]) -> list[tuple[TokenRow, ...]]:
    """All micro-batches of the batches that process 0 computes."""
    mine = (share_of(batch, 0, run.world.size) for batch in batches)
    return [part for rows in mine for part in split_micro(rows, run.config.micro_tokens, run.packed)]


def for_each(part: Sequence[TokenRow], world: World) -> list[TokenRow]:
    """A batch of which every process computes `part`."""
    return [row for row in part for _ in range(world.size)]


def _middle(run: Run, rows: Sequence[TokenRow]) -> list[TokenRow]:
    """A batch of which every process computes the middle micro-batch of `rows`; empty where there are none."""
    parts = micro_batches(run, [rows])
    return for_each(parts[len(parts) // 2], run.world) if parts else []


def _drawn_out(
    run: Run, timed: Batches, batches: Batches, middle: Sequence[TokenRow], dev_rows: Sequence[TokenRow]
) -> tuple[float, float]:
    """Seconds of all batches, and of the loss on dev, by the work in them beside that in those that are timed."""
    steps, dev = _timed(run, timed, middle)
    dev_times = _work(run, [dev_rows]) / _work(run, [middle]) if middle else 0.0
    return steps * _work(run, batches) / _work(run, timed), dev * dev_times


def _timed(run: Run, batches: Batches, dev_rows: Sequence[TokenRow]) -> tuple[float, float]:
    """Seconds of a step for each of the batches, and of the loss on dev."""
    started = time.perf_counter()
    for batch in batches:
        train_step(run, batch)
    stepped = time.perf_counter()
    if dev_rows:
        dev_loss(run.module, dev_rows, run.config.micro_tokens, run.body, run.placement)
    return stepped - started, time.perf_counter() - stepped


def _work(run: Run, batches: Batches) -> float:
    """Work of the batches for process 0, in tokens."""
    return sum(work_of(part, run.packed) + MICRO_BATCH_COST for part in micro_batches(run, batches))
