"""Fine-tuning on token rows: adapters, batches, the loop and its checkpoints.

Needs the extra `train`. Knows no task, method or run folder: see loop.py.
"""

from __future__ import annotations

from importlib.util import find_spec

from etude.errors import MissingExtraError

if find_spec("torch") is None:
    raise MissingExtraError("Training", "train")

from etude.training.config import TrainConfig, auto_config
from etude.training.loop import train
from etude.training.losses import Loss, supervised
from etude.training.memory.forecast import estimate_speed
from etude.training.output import Output
from etude.training.rows.batches import TokenRow, make_batches
from etude.training.step import TrainResult

__all__ = [
    "Loss",
    "Output",
    "TokenRow",
    "TrainConfig",
    "TrainResult",
    "auto_config",
    "estimate_speed",
    "make_batches",
    "supervised",
    "train",
]
