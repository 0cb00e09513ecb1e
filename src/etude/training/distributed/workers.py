"""How process 0 has the others take part: it sends them what to do, they load the same weights and do it.

Rows, settings and paths are sent, so that no other process reads the task, splits it or writes to its run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from etude.base.processes import World
from etude.errors import InputError, ModelError
from etude.models.registry import Models
from etude.training.config import TrainConfig
from etude.training.loop import train
from etude.training.memory.forecast import foresee
from etude.training.output import Output
from etude.training.rows.batches import TokenRow
from etude.types import ModelRef


@dataclass(frozen=True, slots=True)
class Job:
    """What all processes do together."""

    work: Literal["foresee", "train"]
    model: str
    """The base's name, by which every process loads it."""
    rows: Sequence[TokenRow]
    dev_rows: Sequence[TokenRow]
    config: TrainConfig
    checkpoint: Path = Path()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "work": self.work,
            "model": self.model,
            "rows": [_packed(row) for row in self.rows],
            "dev_rows": [_packed(row) for row in self.dev_rows],
            "config": self.config.values(),
            "checkpoint": str(self.checkpoint.absolute()),
        }


def job_from(sent: Mapping[str, Any]) -> Job:
    """The job that `to_dict` made."""
    # JSON knows no tuples.
    config: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in sent["config"].items()
    }
    rows, dev_rows = ([_unpacked(row) for row in sent[side]] for side in ("rows", "dev_rows"))
    return Job(sent["work"], sent["model"], rows, dev_rows, TrainConfig(**config), Path(sent["checkpoint"]))


def call(world: World, job: Job) -> None:
    """Process 0 has the others begin the job, and begins it too."""
    if world.size > 1:
        world.broadcast(job.to_dict())


def follow(world: World) -> Any:
    """What the other processes do: job after job, until process 0 sends {"over": VALUE}; returns the value.

    A fault of a row or a loss is met by all at the same step, and process 0 tells it. Raises ModelError where
    the weights cannot be loaded, and Parted once process 0 has ended by a fault.
    """
    models = Models()
    while "over" not in (message := world.broadcast()):
        job = job_from(message)
        module = models.trainable(ModelRef(job.model)).module
        with suppress(InputError, ModelError):
            _take_part(world, job, module)
    return message["over"]


def _take_part(world: World, job: Job, module: Any) -> None:
    if job.work == "foresee":
        foresee(module, job.rows, job.dev_rows, job.config, world)
        return
    output = Output(job.checkpoint, adapter=Path())
    train(module, job.rows, job.dev_rows, job.config, output, world)


def _packed(row: TokenRow) -> tuple[str, Sequence[int], str]:
    return row.id, row.ids, "".join("01"[trained] for trained in row.trained)


def _unpacked(row: tuple[str, Sequence[int], str]) -> TokenRow:
    where, ids, marks = row
    return TokenRow(where, tuple(ids), tuple(mark == "1" for mark in marks))
