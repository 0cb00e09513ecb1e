"""Texts and examples kept in a temporary file, so that a set may be larger than memory.

The file has no name where the system allows it, so that nothing of it is left behind. Kept in memory: eight bytes a
text.
"""

from __future__ import annotations

import json
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, overload

from etude.types import Example, Message

BLOCK = 2**20
"""Bytes that are written, and read in order, at once."""


class Texts(Sequence[str]):
    """A list of texts that only grows."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the list
        weakref.finalize(self, self._file.close)
        self._ends = array("Q", [0])
        self._waiting = bytearray()
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Adds a text at the end; half characters are kept as they are."""
        written = text.encode("utf-8", "surrogatepass")
        self._waiting += written
        self._ends.append(self._ends[-1] + len(written))
        if len(self._waiting) >= BLOCK:
            self._write()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, position: int) -> str: ...

    @overload
    def __getitem__(self, position: slice) -> list[str]: ...

    def __getitem__(self, position: int | slice) -> str | list[str]:
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(len(self)))]
        if not 0 <= position < len(self):
            raise IndexError(position)
        self._write()
        return self._read(position, position + 1).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        self._write()
        first = 0
        while first < len(self):
            last = first + 1
            while last < len(self) and self._ends[last + 1] - self._ends[first] <= BLOCK:
                last += 1
            read, begin = self._read(first, last), self._ends[first]
            for position in range(first, last):
                part = read[self._ends[position] - begin : self._ends[position + 1] - begin]
                yield part.decode("utf-8", "surrogatepass")
            first = last

    def _write(self) -> None:
        if self._waiting:
            self._file.seek(self._ends[-1] - len(self._waiting))
            waiting = memoryview(self._waiting)
            try:
                while len(waiting):
                    waiting = waiting[self._file.write(waiting) :]
            except OSError as error:  # a full disk, whose file has no name
                error.filename = tempfile.gettempdir()
                raise
            self._waiting = bytearray()

    def _read(self, first: int, last: int) -> bytes:
        """The bytes of the texts from `first` up to `last`."""
        self._file.seek(self._ends[first])
        left = self._ends[last] - self._ends[first]
        parts = []
        while left:
            parts.append(self._file.read(left))
            left -= len(parts[-1])
        return b"".join(parts)


class Examples(Protocol):
    """Rows in their order: a Dataset, or rows kept in a file."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Example: ...
    def __iter__(self) -> Iterator[Example]: ...


class Spool:
    """A list of examples that only grows."""

    def __init__(self) -> None:
        self._rows = Texts()

    def append(self, row: Example) -> None:
        """Adds a row at the end."""
        turns = [[turn.role, turn.content, turn.trained] for turn in row.input]
        parts = [
            row.id,
            turns,
            row.output,
            row.references,
            row.group,
            dict(row.tags),
            row.location,
            row.source,
        ]
        self._rows.append(json.dumps(parts))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int, /) -> Example:
        return _example(self._rows[index])

    def __iter__(self) -> Iterator[Example]:
        return map(_example, self._rows)


def _example(line: str) -> Example:
    name, turns, output, references, group, tags, where, source = json.loads(line)
    return Example(
        name, tuple(Message(*turn) for turn in turns), output, tuple(references), group, tags, where, source
    )
