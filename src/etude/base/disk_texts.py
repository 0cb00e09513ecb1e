"""Texts in a temporary file, for sets larger than memory: only eight bytes per text are in memory.

Where the system allows it, the file has no name, so it disappears with the process.
"""

import tempfile
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

BLOCK = 2**20  # Bytes of one write, and of one read when texts are read in order


class DiskTexts(Sequence[str]):
    """A list of texts to which texts can be appended."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the list
        weakref.finalize(self, self._file.close)
        self._ends = array("Q", [0])
        self._buffer = bytearray()
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text at the end; lone surrogates survive."""
        encoded = text.encode("utf-8", "surrogatepass")
        self._buffer += encoded
        self._ends.append(self._ends[-1] + len(encoded))
        if len(self._buffer) >= BLOCK:
            self._write()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, position: int) -> str: ...

    @overload
    def __getitem__(self, position: slice) -> list[str]: ...

    def __getitem__(self, position: int | slice) -> str | list[str]:
        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(len(self)))]
        if not 0 <= position < len(self):
            raise IndexError(position)
        self._write()
        return self._read(position, position + 1).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        self._write()
        first = 0
        while first < len(self):
            begin = self._ends[first]
            # as many whole texts as fit into a block, at least one
            last = max(first + 1, bisect_right(self._ends, begin + BLOCK, first) - 1)
            block = self._read(first, last)
            for position in range(first, last):
                encoded = block[self._ends[position] - begin : self._ends[position + 1] - begin]
                yield encoded.decode("utf-8", "surrogatepass")
            first = last

    def _write(self) -> None:
        if self._buffer:
            self._file.seek(self._ends[-1] - len(self._buffer))
            unwritten = memoryview(self._buffer)
            try:
                while len(unwritten):  # an unbuffered write may write only a part
                    unwritten = unwritten[self._file.write(unwritten) :]
            except OSError as error:  # a full disk; the file itself has no name
                error.filename = tempfile.gettempdir()
                raise
            self._buffer = bytearray()

    def _read(self, first: int, last: int) -> bytes:
        self._file.seek(self._ends[first])
        num_unread = self._ends[last] - self._ends[first]
        blocks = []
        while num_unread:
            blocks.append(self._file.read(num_unread))
            num_unread -= len(blocks[-1])
        return b"".join(blocks)
