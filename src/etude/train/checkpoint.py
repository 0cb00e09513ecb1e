"""Checkpoints that survive a kill at any moment.

A checkpoint is one safetensors file: tensors, and the facts beside them as JSON in its header. One
file means one rename, so there is always a whole checkpoint: the new one or the last good one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from etude.errors import RunError
from etude.files import file_aside

FILE = "checkpoint.safetensors"


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes the checkpoint of `folder` (made when absent); `facts` must be JSON. Raises OSError, and then
    the last good checkpoint still stands. Tensors on the CPU are written from where they are, without a copy."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"facts": json.dumps(facts, sort_keys=True)}
    with file_aside(folder / FILE) as aside:
        try:
            save_file(on_cpu, aside, metadata=metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors (on the CPU) and facts of the last good checkpoint; None when there is none.

    Raises RunError when the file is there and cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()["facts"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is no readable checkpoint ({error}). Remove it to train anew.") from error
