"""The checkpoint of a run under way: when it is due, what it holds, and how a run goes on from it.

One is written after every epoch, and within an epoch so seldom that those take a twentieth of the time at most.
Nothing random carries over from step to step, so weights, optimizer state and counters are all of it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from etude.errors import RunError
from etude.task.settings import NO_WEIGHT
from etude.training.checkpoints.checkpoint import Checkpoint, opened_checkpoint, save_checkpoint
from etude.training.config import TrainConfig
from etude.training.memory.disk_space import Disk, check_room, disk_of
from etude.training.output import Output
from etude.training.rows.batches import TokenRow
from etude.training.step import Progress, Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MARK = 1024
"""Numbers of a tensor by which it is told from another."""
SAVING = 0.05
"""Share of the time that checkpoints within an epoch may take."""
OFTEN = 1.0
"""Seconds between two of them at least."""


@dataclass(slots=True)
class Keeper:
    """Keeps a run's checkpoint."""

    run: Run
    output: Output
    fingerprint: str
    saved_at: float = field(default_factory=time.monotonic)
    cost: float = 0.0
    """Seconds that the last save took; 0 before the first."""
    failed: bool = False
    """Whether the last save was not written."""

    def save_when_due(self) -> None:
        """After a step."""
        # Process 0's clock is that of all.
        if self.run.world.total(self.run.world.leads and time.monotonic() - self.saved_at >= self._due()):
            self.save()

    def save(self) -> None:
        """Process 0 writes what all of them hold. A checkpoint that cannot be written is told and training goes
        on: the last good one stands."""
        started = time.monotonic()
        tensors = {name: self.run.placement.gathered(tensor) for name, tensor in _tensors(self.run).items()}
        if self.run.world.leads:
            self._write(tensors)
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - started

    def restore(self) -> None:
        """Goes on from the folder's checkpoint, when there is one, all processes from the same."""
        with opened_checkpoint(self.output.checkpoint) as found:
            if found is not None:
                self._take(found)
        world, place = self.run.world, [found is not None, self.run.progress.step]
        if world.total(place != world.broadcast(place)):
            raise RunError(
                f"Not all processes see the same checkpoint in {self.output.checkpoint}. Keep the run on a disk that "
                "all of the machines see."
            )
        if found is not None:
            self.output.log({"resumed_at_step": self.run.progress.step})

    def check_room(self, module: PreTrainedModel) -> Disk:
        """What the run takes on the disk; tells before the first step where that has no room for checkpoints. Raises
        RunError where it has none for the result."""
        disk = disk_of(module, self.run.config)
        if self.run.world.leads and (lack := check_room(disk, self.output.checkpoint)):
            self.output.log({"warning": lack})
        return disk

    def _due(self) -> float:
        """Seconds from one checkpoint to the next."""
        return 0.0 if self.output.every_step else max(OFTEN, self.cost / SAVING)

    def _write(self, tensors: Mapping[str, Tensor]) -> None:
        facts = {"fingerprint": self.fingerprint, "progress": asdict(self.run.progress)}
        try:
            save_checkpoint(self.output.checkpoint, tensors, facts)
        except OSError as error:
            if not self.failed:
                step = self.run.progress.step
                failed = f"The checkpoint of step {step} was not written: {error}. Training goes on and tries again"
                self.output.log({"warning": f"{failed}; the next failures in a row are not told."})
            self.failed = True
        else:
            self.failed = False

    def _take(self, found: Checkpoint) -> None:
        """Of large tensors each process reads its own part alone."""
        placement, buffer = self.run.placement, self.run.buffer
        if found.facts["fingerprint"] != self.fingerprint:
            raise RunError(
                f"{self.output.checkpoint} holds a checkpoint of other rows, settings or weights. "
                "Remove the folder to train anew, or give another."
            )
        progress, stretches = Progress(**found.facts["progress"]), placement.slices(buffer)
        for name, tensor in _tensors(self.run).items():
            found.copy(name, tensor, stretches)
        placement.update_model(buffer)
        self.run.progress = progress


def _tensors(run: Run) -> dict[str, Tensor]:
    return {"weights": run.buffer.weights.data, "best": run.best, **run.optimizer.tensors()}


def fingerprint(
    module: PreTrainedModel,
    config: TrainConfig,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    loss: str,
) -> str:
    """A digest of what makes a run: the loss, settings, rows, and the beginning of every tensor of the model.

    `stop_on_spike` is left out: it changes no weight, so a run that a spike has stopped can go on without it.
    """
    settings = {name: value for name, value in config.values().items() if name not in NO_WEIGHT}
    digest = hashlib.sha256(json.dumps([loss, settings], sort_keys=True).encode())
    for part in (rows, dev_rows):
        digest.update(f"{len(part)} rows".encode())
        for row in part:
            digest.update(repr((row.id, row.ids, row.trained)).encode())
    for name, weight in module.named_parameters():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().flatten()[:MARK].double().cpu().numpy().tobytes())
    return digest.hexdigest()
