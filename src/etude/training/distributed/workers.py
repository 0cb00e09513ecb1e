"""The training processes other than process 0, which sends them jobs. They run the jobs on the same weights.

A job contains rows, settings and paths, so the other processes do not read the task, split rows or write to the run.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from etude.base.processes import World
from etude.errors import InputError, ModelError
from etude.models.registry import Models
from etude.training.config import Output, TrainConfig
from etude.training.loop import train
from etude.training.memory.forecast import measure_training_memory
from etude.training.rows.batches import TokenRow
from etude.types import ModelRef


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """Work that all processes do together."""

    work: Literal["measure", "train"]
    model: str
    """The name with which every process loads the base."""
    rows: Sequence[TokenRow]
    dev_rows: Sequence[TokenRow]
    config: TrainConfig
    checkpoint: Path = Path()

    def to_dict(self) -> dict[str, Any]:
        """Return the job as JSON values."""
        return {
            "work": self.work,
            "model": self.model,
            "rows": _encode_rows(self.rows),
            "dev_rows": _encode_rows(self.dev_rows),
            "config": self.config.to_dict(),
            "checkpoint": str(self.checkpoint.absolute()),
        }


def parse_job(message: Mapping[str, Any]) -> WorkerJob:
    """Parse a job that `to_dict` returned."""
    rows, dev_rows = (
        [TokenRow(row, tuple(ids), tuple(mark == "1" for mark in marks)) for row, ids, marks in message[side]]
        for side in ("rows", "dev_rows")
    )
    config, checkpoint = TrainConfig(**message["config"]), Path(message["checkpoint"])
    return WorkerJob(message["work"], message["model"], rows, dev_rows, config, checkpoint)


def send_job(world: World, job: WorkerJob) -> None:
    """Send the job from process 0 to the others. Process 0 then runs it too."""
    if world.size > 1:
        world.broadcast(job.to_dict())


def run_jobs(world: World) -> Any:
    """Run jobs, in a process other than 0, until process 0 sends {"over": VALUE}; return the value.

    An error in a row or a loss occurs in all processes at the same step, and process 0 reports it. Raises ModelError if
    the weights cannot be loaded, WorkerExited if process 0 has exited with an error.
    """
    # Weights stay loaded between jobs.
    models = Models()
    while "over" not in (message := world.broadcast()):
        job = parse_job(message)
        module = models.get_trainable(ModelRef(job.model)).module
        with suppress(InputError, ModelError):
            if job.work == "measure":
                measure_training_memory(module, job.rows, job.dev_rows, job.config, world)
            else:
                output = Output(job.checkpoint, adapter=Path())
                train(module, job.rows, job.dev_rows, job.config, output, world)
    return message["over"]


def _encode_rows(rows: Sequence[TokenRow]) -> list[tuple[str, Sequence[int], str]]:
    return [(row.id, row.ids, "".join("01"[trained] for trained in row.trained)) for row in rows]
