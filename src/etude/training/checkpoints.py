"""Checkpoints: when they are written, how they survive a kill, and how a run resumes.

A checkpoint is one safetensors file: tensors, and facts as JSON in its header. One file needs only
one rename, so there is always a complete checkpoint, either the new one or the last good one. A
checkpoint is written after every epoch, and within an epoch so rarely that this takes at most a
twentieth of the time. No random state is carried from step to step, so weights, optimizer state and
counters are the whole state.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from etude.base.files import atomic_file
from etude.errors import RunError
from etude.task.settings import SETTINGS_WITHOUT_EFFECT
from etude.training.config import Output, TrainConfig
from etude.training.rows.batches import TokenRow
from etude.training.step import TrainingState, TrainResult

CHECKPOINT_FILE = "checkpoint.safetensors"
SAMPLE_SIZE = 1024
"""How many numbers of each tensor go into a fingerprint."""
MAX_TIME_SHARE = 0.05
"""Maximum share of the time for checkpoints within an epoch."""
MIN_SECONDS = 1.0
"""Minimum of seconds between two checkpoints within an epoch."""


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write the checkpoint of `folder` (created if absent); `facts` must be JSON. After an OSError,
    the last good checkpoint still exists. Tensors in the processor's memory are not copied.
    """
    # Tensors of a GPU are copied; tensors in the processor's memory are written without a copy.
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"facts": json.dumps(facts, sort_keys=True)}
    with atomic_file(folder / CHECKPOINT_FILE) as file:
        try:
            save_file(on_cpu, file, metadata=metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open checkpoint; tensors are read from the file on request."""

    facts: dict[str, Any]
    file: Any

    def read_into(self, name: str, target: Tensor) -> None:
        """Read the tensor `name` into `target`."""
        target.copy_(self.file.get_tensor(name))


@contextmanager
def open_checkpoint(folder: Path) -> Iterator[Checkpoint | None]:
    """Context manager: open the last good checkpoint; None if there is none. Raises RunError, also
    within the `with`, if the file cannot be read.
    """
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        yield None
        return
    try:
        with safe_open(path, framework="pt") as file:
            yield Checkpoint(json.loads(file.metadata()["facts"]), file)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} is not a readable checkpoint ({error}). Remove it to start again from the "
            "beginning."
        ) from error


@dataclass(slots=True)
class Checkpointer:
    """Writes and reads the checkpoint of a run."""

    state: TrainingState
    output: Output
    fingerprint: str
    saved_at: float = field(default_factory=time.monotonic)
    save_seconds: float = 0.0
    """Seconds of the last save; 0 before the first."""
    has_failed: bool = False

    def save_when_due(self) -> None:
        """Save after a step, if the last checkpoint is old enough."""
        # If a save takes 1 s, it may be repeated every 20 s.
        wait = (
            0.0 if self.output.every_step else max(MIN_SECONDS, self.save_seconds / MAX_TIME_SHARE)
        )
        if time.monotonic() - self.saved_at >= wait:
            self.save()

    def save(self) -> None:
        """Write the state. If that fails, log the error and keep the last checkpoint."""
        started = time.monotonic()
        self._write()
        self.saved_at = time.monotonic()
        self.save_seconds = self.saved_at - started

    def restore(self) -> None:
        """Resume from the folder's checkpoint, if there is one."""
        with open_checkpoint(self.output.checkpoint) as checkpoint:
            if checkpoint is not None:
                self._load(checkpoint)
        if checkpoint is not None:
            self.output.log({"resumed_at_step": self.state.progress.steps})

    def _write(self) -> None:
        facts = {"fingerprint": self.fingerprint, "progress": asdict(self.state.progress)}
        try:
            save_checkpoint(self.output.checkpoint, _list_tensors(self.state), facts)
        except OSError as error:
            if not self.has_failed:
                step = self.state.progress.steps
                message = f"The checkpoint of step {step} was not written: {error}. Free disk space"
                remedy = (
                    "without a checkpoint, a stopped run repeats its steps. Training continues "
                    "and tries again"
                )
                self.output.log(
                    {"warning": f"{message}: {remedy}; further failures are not reported."}
                )
            self.has_failed = True
        else:
            self.has_failed = False

    def _load(self, checkpoint: Checkpoint) -> None:
        if checkpoint.facts["fingerprint"] != self.fingerprint:
            raise RunError(
                f"{self.output.checkpoint} has a checkpoint of a run with other rows, settings or "
                "weights. Remove the folder to start again from the beginning, or choose another "
                "folder."
            )
        # The progress is set last, so an unreadable tensor does not change a counter.
        progress = TrainResult(**checkpoint.facts["progress"])
        for name, tensor in _list_tensors(self.state).items():
            checkpoint.read_into(name, tensor)
        self.state.progress = progress


def _list_tensors(state: TrainingState) -> dict[str, Tensor]:
    return {"weights": state.weights.data, "best": state.best, **state.optimizer.states}


def compute_fingerprint(
    module: PreTrainedModel,
    config: TrainConfig,
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    loss: str,
) -> str:
    """Hash what identifies a run: the loss, settings, rows, and the beginning of every tensor of
    the model.

    `stop_on_spike` is left out: it does not change the weights, so a run that it stopped can resume
    without it.
    """
    settings = {
        key: value for key, value in config.to_dict().items() if key not in SETTINGS_WITHOUT_EFFECT
    }
    digest = hashlib.sha256(json.dumps([loss, settings], sort_keys=True).encode())
    for side in (rows, dev_rows):
        digest.update(f"{len(side)} rows".encode())
        for row in side:
            digest.update(repr((row.id, row.ids, row.trained)).encode())
    # The beginning of each tensor is enough to distinguish models; hashing whole tensors would take
    # long.
    for name, weight in module.named_parameters():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().flatten()[:SAMPLE_SIZE].double().cpu().numpy().tobytes())
    return digest.hexdigest()
