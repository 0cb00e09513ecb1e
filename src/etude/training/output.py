"""Where a training run writes, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Log = Callable[[Mapping[str, Any]], None]
"""Takes one line of training news, as JSON-ready values."""
OnEval = Callable[[], Mapping[str, Any]]
"""Called after each dev loss, the adapter in place and the module in eval mode; its values join the
epoch's line of news. The best epoch is the one of the highest `score` where there is one, and of equal scores that
of the lowest dev loss; else the one of the lowest dev loss; of equal ones the earliest."""


@dataclass(frozen=True, slots=True)
class Output:
    """The folders of a run, and the functions that it calls."""

    checkpoint: Path
    """Folder of the run under way; the caller removes it once the result is safe."""
    adapter: Path
    """Folder of what was learned: in PEFT's format, or for all weights config.json and model.safetensors."""
    log: Log = lambda news: None
    on_eval: OnEval = dict
    base_model: str = ""
    """Noted in the adapter as the base's name; nothing is looked up by it."""
    every_step: bool = False
    """Whether a checkpoint is written after every step, whatever that takes; else keeper.py says when."""
