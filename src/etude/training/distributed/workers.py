"""The other training processes: process 0 sends them jobs, they load the same weights and run them.

Rows, settings and paths are sent, so no other process reads the task, splits it or writes to its run.
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
    """Work that all processes do together."""

    work: Literal["foresee", "train"]
    model: str
    """The base's name, by which every process loads it."""
    rows: Sequence[TokenRow]
    dev_rows: Sequence[TokenRow]
    config: TrainConfig
    checkpoint: Path = Path()

    def to_dict(self) -> dict[str, Any]:
        """The job as JSON values."""
        return {
            "work": self.work,
            "model": self.model,
            "rows": [_encoded(row) for row in self.rows],
            "dev_rows": [_encoded(row) for row in self.dev_rows],
            "config": self.config.values(),
            "checkpoint": str(self.checkpoint.absolute()),
        }


def job_from(sent: Mapping[str, Any]) -> Job:
    """The job that `to_dict` made."""
    rows, dev_rows = ([_decoded(row) for row in sent[side]] for side in ("rows", "dev_rows"))
    return Job(
        sent["work"], sent["model"], rows, dev_rows, TrainConfig(**sent["config"]), Path(sent["checkpoint"])
    )


def send_job(world: World, job: Job) -> None:
    """Send the job from process 0, which then starts it itself, to the others."""
    if world.size > 1:
        world.broadcast(job.to_dict())


def run_jobs(world: World) -> Any:
    """Run jobs, in a process other than 0, until process 0 sends {"over": VALUE}; return the value.

    An error in a row or a loss reaches all processes at the same step, and process 0 reports it. Raises ModelError if
    the weights cannot be loaded, and Parted once process 0 has exited with an error.
    """
    models = Models()
    while "over" not in (message := world.broadcast()):
        job = job_from(message)
        module = models.trainable(ModelRef(job.model)).module
        with suppress(InputError, ModelError):
            _run(world, job, module)
    return message["over"]


def _run(world: World, job: Job, module: Any) -> None:
    if job.work == "foresee":
        foresee(module, job.rows, job.dev_rows, job.config, world)
        return
    output = Output(job.checkpoint, adapter=Path())
    train(module, job.rows, job.dev_rows, job.config, output, world)


def _encoded(row: TokenRow) -> tuple[str, Sequence[int], str]:
    return row.id, row.ids, "".join("01"[trained] for trained in row.trained)


def _decoded(row: tuple[str, Sequence[int], str]) -> TokenRow:
    where, ids, marks = row
    return TokenRow(where, tuple(ids), tuple(mark == "1" for mark in marks))
