"""Hidden states of many rows in one file.

Read and written by offset and not mapped: then a full disk is an error in place of a signal, and pages of
the file do not count as memory of the run.

T = tokens of a row, D = width of the hidden states.
"""

from __future__ import annotations

import errno
import hashlib
import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from etude.base.files import free_bytes
from etude.errors import RunError
from etude.training.rows.batches import TokenRow

SPARE = 2**30
"""Bytes of the disk that stay free beside the file."""


def key_of(row: TokenRow) -> bytes:
    """What a row's states are found by: a digest of its tokens."""
    return hashlib.blake2b(array("q", row.ids).tobytes(), digest_size=16).digest()


class StatesFile:
    """The states of many rows in one file: (T, D) numbers each, found by the row's key."""

    def __init__(self, path: Path, rows: Iterable[TokenRow], width: int, dtype: torch.dtype) -> None:
        self.path, self.width, self.dtype = path, width, dtype
        self.known: set[bytes] = set()
        self.offsets: dict[bytes, int] = {}
        self.size = 0
        """Bytes of the whole file."""
        for row in rows:
            key = key_of(row)
            if key not in self.offsets:
                self.offsets[key] = self.size
                self.size += len(row.ids) * width * dtype.itemsize
        self._file: BinaryIO | None = None

    def stands(self) -> bool:
        """Whether the disk holds a file of this size, whatever is in it."""
        return self.path.exists() and self.path.stat().st_size == self.size

    def open(self) -> None:
        """Makes the file in its full size, or opens the one that is there. Raises OSError when the disk is
        too small, or would keep less than SPARE; then nothing is left of it."""
        if not self.stands() and free_bytes(self.path.parent) < self.size + SPARE:
            raise OSError(errno.ENOSPC, "too little room is left on the disk")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("r+b" if self.stands() else "w+b", buffering=0)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, self.size)
            else:
                self._file.truncate(self.size)
        except OSError:
            self.remove()
            raise

    def read(self, key: bytes, states_TD: Tensor) -> None:
        """Fills `states_TD`, contiguous and on the CPU, with the states kept under `key`. Raises OSError, and RunError
        where the file ends too early."""
        assert self._file is not None
        self._file.seek(self.offsets[key])
        buffer = _bytes(states_TD)
        while buffer:
            count = self._file.readinto(buffer)  # type: ignore[attr-defined]
            if not count:
                raise RunError(f"{self.path} ends too early. Remove it and go on.")
            buffer = buffer[count:]

    def write(self, key: bytes, states_TD: Tensor) -> None:
        """Keeps the states of a row. Raises OSError."""
        assert self._file is not None
        self._file.seek(self.offsets[key])
        buffer = _bytes(states_TD.contiguous())
        while buffer:
            buffer = buffer[self._file.write(buffer) :]
        self.known.add(key)

    def flush(self) -> None:
        """On the disk before it returns."""
        assert self._file is not None
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Gives the file back; it stays on the disk."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Closes and deletes the file."""
        self.close()
        self.path.unlink(missing_ok=True)


def _bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    return tensor.view(torch.uint8).numpy().data.cast("B")
