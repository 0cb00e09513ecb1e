"""Checkpoints that survive a kill at any moment.

A checkpoint is one safetensors file: tensors, and the facts beside them as JSON in its header. One
file means one rename, so there is always a whole checkpoint: the new one or the last good one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from etude.base.files import file_aside
from etude.errors import RunError

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


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open checkpoint, of which only what is asked for is read."""

    facts: dict[str, Any]
    file: Any

    def copy(self, name: str, into: Tensor, stretches: Iterable[tuple[int, int]]) -> None:
        """Copies stretches of a flat tensor, each from a first number to the one behind its last, one behind the other
        into another; a single number as it is."""
        if not into.ndim:
            into.copy_(self.file.get_tensor(name))
            return
        at, whole = 0, self.file.get_slice(name)
        for start, stop in stretches:
            if stop > start:
                into[at : at + stop - start].copy_(whole[start:stop])
            at += stop - start


@contextmanager
def opened_checkpoint(folder: Path) -> Iterator[Checkpoint | None]:
    """The last good checkpoint for the length of a `with`; None when there is none.

    Raises RunError when the file is there and cannot be read, also within the `with`.
    """
    path = folder / FILE
    if not path.exists():
        yield None
        return
    try:
        with safe_open(path, framework="pt") as file:
            yield Checkpoint(json.loads(file.metadata()["facts"]), file)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is no readable checkpoint ({error}). Remove it to train anew.") from error


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """All tensors (on the CPU) and the facts of the last good checkpoint; None when there is none.

    Raises RunError when the file is there and cannot be read.
    """
    with opened_checkpoint(folder) as found:
        if found is None:
            return None
        return {name: found.file.get_tensor(name) for name in found.file.keys()}, found.facts  # noqa: SIM118
