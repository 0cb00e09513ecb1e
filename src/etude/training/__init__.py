"""Fine-tuning on token rows: adapters, batches, the loop and its checkpoints.

Needs the extra `train`. It does not depend on tasks, methods or run folders; see loop.py.
"""

# ruff: noqa: E402 - torch reads its settings when it is first imported
from importlib.util import find_spec

from etude.base.torch_settings import configure_torch
from etude.errors import MissingExtraError

if find_spec("torch") is None:
    raise MissingExtraError("Training", "train")
configure_torch()

from etude.training.config import Output, TrainConfig, auto_config
from etude.training.loop import train
from etude.training.losses import Loss
from etude.training.rows.batches import TokenRow, make_batches
from etude.training.step import TrainResult
