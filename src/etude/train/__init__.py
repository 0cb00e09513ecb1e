"""Fine-tuning on token rows: adapters, batches, the loop and its checkpoints.

Needs the extra `train`. Knows no task, method or run folder: see loop.py.
"""

from __future__ import annotations

from importlib.util import find_spec

from etude.errors import MissingExtraError

if find_spec("torch") is None:
    raise MissingExtraError("Training", "train")

from etude.train.batches import TokenRow, make_batches
from etude.train.config import TrainConfig, auto_config
from etude.train.loop import TrainResult, train
from etude.train.output import Output
from etude.train.speed import estimate_speed

__all__ = [
    "Output",
    "TokenRow",
    "TrainConfig",
    "TrainResult",
    "auto_config",
    "estimate_speed",
    "make_batches",
    "train",
]
