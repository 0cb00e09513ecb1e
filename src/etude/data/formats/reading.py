"""A file of rows being read: its lines, and what was found wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from etude.base.remedies import FEW_LINES, NOT_UTF8, decoding_fault, nearest_path, raise_faults
from etude.base.spool import Spool
from etude.data.formats.signatures import HEAD_BYTES, foreign_file
from etude.errors import InputError, Issue
from etude.task.definition import TABLE_SUFFIXES, is_row_file
from etude.types import Example, Kind


@dataclass(frozen=True)
class Row:
    """One row as the file has it."""

    line: int
    """On which it begins, from 1."""
    last: int
    """On which it ends: more than `line` where a table's value holds a line break."""
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """How a table is written."""

    delimiter: str
    quoting: Literal[0, 3]
    """csv.QUOTE_MINIMAL, or csv.QUOTE_NONE where quotes are no marks."""
    header: tuple[str, ...]


@dataclass
class Reading:
    """A file being read: what was found wrong, and what should be said about it."""

    file: Path
    kind: Kind | None = None
    faults: list[tuple[int, Issue]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    examples: list[Example] | Spool = field(default_factory=list)
    systems: list[str | None] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """Columns that occurred in any row."""
    broken: set[int] = field(default_factory=set)
    """Lines with bytes that are not text."""
    num_decoded: int = 0
    """Lines with characters beyond ASCII that are UTF-8."""
    counts: Counter[str] = field(default_factory=Counter)
    """What was done to lines and rows, how often."""
    repeats: Counter[str] = field(default_factory=Counter)
    """Hash of input and output, how often."""
    table: Table | None = None
    """How the rows stand in the file, once the names of a table's columns were read."""
    is_list: bool = False
    """Whether the file is one list of objects."""
    tools: str = ""
    """The functions that the rows offer, in words."""
    offering: int = 0
    """Rows that do."""
    ids: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Id -> line of its row, and a hash of all that stands in it."""

    def fault(self, line: int, what: str, got: str, remedy: str, kind: str = "unreadable") -> None:
        """Adds a fault of a line."""
        self.faults.append((line, Issue(self.where(line), what, got, remedy, kind)))

    def where(self, line: int) -> str:
        """`file:line`, as messages and examples name a row."""
        return f"{self.file.name}:{line}"

    def foreign(self) -> Issue | None:
        """The fault of a file that is no text by its first bytes."""
        with _opened(self.file) as stream:
            return foreign_file(self.file.name, stream.read(HEAD_BYTES))

    def lines(self) -> Iterator[str]:
        """The lines of the file with their ends; bytes that are not UTF-8 are a fault and stand replaced."""
        with _opened(self.file) as stream:
            for number, raw in enumerate(stream, 1):
                yield self._decoded(number, raw)

    def _decoded(self, number: int, raw: bytes) -> str:
        if b"\0" in raw:
            self.broken.add(number)
            position = raw.index(b"\0") + 1
            self.fault(
                number,
                "a NUL byte",
                f"byte 0x00 at position {position}",
                "delete it; the file may be binary",
                "encoding",
            )
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            return self._undecoded(number, raw)
        self.num_decoded += not raw.isascii()
        return text

    def refuse_encoding(self) -> None:
        """Raises InputError, of one fault, where the file as it was read so far is in another encoding: what else is
        found in it comes of that."""
        faults = [fault for _, fault in self.faults if fault.message == NOT_UTF8]
        if len(faults) > max(FEW_LINES, self.num_decoded):
            raise_faults(faults, self.file)

    def _undecoded(self, number: int, raw: bytes) -> str:
        self.broken.add(number)
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as error:
            table = self.file.suffix.lower() in TABLE_SUFFIXES
            fault = decoding_fault(self.where(number), raw, error, table)
            self.faults.append((number, fault))
        return raw.decode("utf-8", errors="replace")


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        stream = file.open("rb")
    except OSError as error:
        close = nearest_path(file, is_row_file)
        meant = f"did you mean {close}? Else " if close and close != file else ""
        what, remedy = "cannot read the file of rows", f"{meant}check the name and the rights"
        raise InputError([Issue(str(file), what, error.strerror or "", remedy)]) from error
    with stream:
        yield stream
