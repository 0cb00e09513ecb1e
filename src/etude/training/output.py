"""Where a training run writes, and the functions it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Log = Callable[[Mapping[str, Any]], None]
"""Takes one event of the training, as JSON values."""
OnEval = Callable[[], Mapping[str, Any]]
"""Called after each dev loss, with the adapter in place and the module in eval mode; what it returns is added to the
epoch's event. The best epoch is the one with the highest `score`, if it returns one, and among equal scores the lowest
dev loss; else the one with the lowest dev loss; of equal ones the first."""


@dataclass(frozen=True, slots=True)
class Output:
    """The folders of a run, and the functions that it calls."""

    checkpoint: Path
    """Folder of the checkpoint; the caller removes it once the result is safe."""
    adapter: Path
    """Folder of the result: an adapter in PEFT's format, or for all weights config.json and model.safetensors."""
    log: Log = lambda event: None
    on_eval: OnEval = dict
    more: Callable[[float], bool] = lambda seconds: True
    """Whether there is time for one more epoch, which will take so many seconds; asked after each but the last. Only
    for a single process."""
    base_model: str = ""
    """Written into the adapter as the base's name; it is not used to find anything."""
    every_step: bool = False
    """Write a checkpoint after every step, whatever that costs; else checkpoints.py decides."""
