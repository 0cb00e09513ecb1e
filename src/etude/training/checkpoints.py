"""The checkpoints of a run: the file, which survives a kill at any moment, when it is written, and how a run resumes.

It is one safetensors file: tensors, and facts as JSON in its header. One file means one rename, so there is always a
whole checkpoint: the new one or the last good one. It is written after every epoch, and within an epoch so rarely that
this takes a twentieth of the time at most. Nothing random carries over from step to step, so weights, optimizer state
and counters are the whole state.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from etude.base.files import file_aside
from etude.errors import RunError
from etude.task.settings import NO_WEIGHT
from etude.training.config import TrainConfig
from etude.training.output import Output
from etude.training.rows.batches import TokenRow
from etude.training.step import Run, TrainResult

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FILE = "checkpoint.safetensors"
SAMPLE = 1024
"""Numbers of each tensor that go into a fingerprint."""
MOST_TIME = 0.05
"""Share of the time that checkpoints within an epoch may take."""
LEAST_SECONDS = 1.0
"""Between two of them."""


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write the checkpoint of `folder` (created if absent); `facts` must be JSON. Raises OSError, and then the last
    good checkpoint is still there. Tensors in the processor's memory are not copied."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"facts": json.dumps(facts, sort_keys=True)}
    with file_aside(folder / FILE) as aside:
        try:
            save_file(on_cpu, aside, metadata=metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open checkpoint, of which only the parts asked for are read."""

    facts: dict[str, Any]
    file: Any

    def copy(self, name: str, into: Tensor, slices: Iterable[tuple[int, int]]) -> None:
        """Copy slices of a flat tensor, each (start, stop), one after the other into another; a scalar as it is."""
        if not into.ndim:
            into.copy_(self.file.get_tensor(name))
            return
        at, whole = 0, self.file.get_slice(name)
        for start, stop in slices:
            if stop > start:
                into[at : at + stop - start].copy_(whole[start:stop])
            at += stop - start


@contextmanager
def opened_checkpoint(folder: Path) -> Iterator[Checkpoint | None]:
    """The last good checkpoint, open for the length of a `with`; None if there is none.

    Raises RunError, also within the `with`, if the file cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        yield None
        return
    try:
        with safe_open(path, framework="pt") as file:
            yield Checkpoint(json.loads(file.metadata()["facts"]), file)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} is not a readable checkpoint ({error}). Remove it to start again from scratch."
        ) from error


@dataclass(slots=True)
class Checkpointer:
    """Writes and reads the checkpoint of a run."""

    run: Run
    output: Output
    fingerprint: str
    saved_at: float = field(default_factory=time.monotonic)
    cost: float = 0.0
    """Seconds that the last save took; 0 before the first."""
    failed: bool = False
    """Whether the last save failed."""

    def save_when_due(self) -> None:
        """Save after a step, if the last checkpoint is old enough by the clock of process 0."""
        wait = 0.0 if self.output.every_step else max(LEAST_SECONDS, self.cost / MOST_TIME)
        if self.run.world.total(self.run.world.leads and time.monotonic() - self.saved_at >= wait):
            self.save()

    def save(self) -> None:
        """Write in process 0 what all processes hold. If that fails, log it and go on: the last good one is kept."""
        started = time.monotonic()
        tensors = {name: self.run.placement.gathered(tensor) for name, tensor in _tensors(self.run).items()}
        if self.run.world.leads:
            self._write(tensors)
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - started

    def restore(self) -> None:
        """Resume from the folder's checkpoint, if there is one, all processes from the same."""
        with opened_checkpoint(self.output.checkpoint) as found:
            if found is not None:
                self._read(found)
        world, place = self.run.world, [found is not None, self.run.progress.steps]
        if world.total(place != world.broadcast(place)):
            raise RunError(
                f"Not all processes see the same checkpoint in {self.output.checkpoint}. Put the run on a disk that "
                "all machines share."
            )
        if found is not None:
            self.output.log({"resumed_at_step": self.run.progress.steps})

    def _write(self, tensors: Mapping[str, Tensor]) -> None:
        facts = {"fingerprint": self.fingerprint, "progress": asdict(self.run.progress)}
        try:
            save_checkpoint(self.output.checkpoint, tensors, facts)
        except OSError as error:
            if not self.failed:
                step = self.run.progress.steps
                failed = f"The checkpoint of step {step} was not written: {error}. Training goes on and tries again"
                self.output.log({"warning": f"{failed}; further failures in a row are not reported."})
            self.failed = True
        else:
            self.failed = False

    def _read(self, found: Checkpoint) -> None:
        """Take over weights, optimizer and counters; each process reads only its own part of large tensors."""
        placement, buffer = self.run.placement, self.run.buffer
        if found.facts["fingerprint"] != self.fingerprint:
            raise RunError(
                f"{self.output.checkpoint} holds a checkpoint of other rows, settings or weights. "
                "Remove the folder to start again from scratch, or choose another."
            )
        progress, slices = TrainResult(**found.facts["progress"]), placement.slices(buffer)
        for name, tensor in _tensors(self.run).items():
            found.copy(name, tensor, slices)
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
        digest.update(weight.detach().flatten()[:SAMPLE].double().cpu().numpy().tobytes())
    return digest.hexdigest()
