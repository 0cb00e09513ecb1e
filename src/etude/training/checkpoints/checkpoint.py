"""The file of a checkpoint, which survives a kill at any moment.

It is one safetensors file: tensors, and facts as JSON in its header. One file means one rename, so there is always a
whole checkpoint: the new one or the last good one.
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
        raise RunError(f"{path} is not a readable checkpoint ({error}). Remove it to train anew.") from error
