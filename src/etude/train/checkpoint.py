"""Files that survive a kill at any moment: written aside, flushed to disk, then renamed.

A checkpoint is one safetensors file: tensors, and the facts beside them as JSON in its header. One
file means one rename, so there is always a whole checkpoint: the new one or the last good one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from etude.errors import RunError

FILE = "checkpoint.safetensors"


def write_aside(path: Path, content: bytes) -> None:
    """Replaces `path` by `content` in one step. Raises OSError, and then `path` is as it was."""
    aside = path.with_name(path.name + ".new")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes the checkpoint of `folder` (made when absent); `facts` must be JSON. Raises OSError, and then
    the last good checkpoint still stands."""
    folder.mkdir(parents=True, exist_ok=True)
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_aside(folder / FILE, save(on_cpu, metadata={"facts": json.dumps(facts, sort_keys=True)}))


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


def _flush_folder(folder: Path) -> None:
    """Makes the rename itself last through a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
