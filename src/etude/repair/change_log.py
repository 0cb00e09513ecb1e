"""The log of a fix: every change with the row before and after it, from which the fixed file is
written.

The fixed file is computed from the file of examples and the log. To undo a change, it is marked in
the log and the file is written again. No file is completely in memory at any time.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from etude.base.disk_texts import DiskTexts
from etude.base.files import Json, atomic_file, write_lines
from etude.errors import InputError, RunError
from etude.privacy.mask.surrogate_log import LOG_FORMAT, REMEDY, log_path, open_log

_HEADER_KEYS = ("source", "source_hash", "fixed_hash", "earlier_hash", "surrogates")


@dataclass(frozen=True)
class Change:
    """A change of one row."""

    row: str
    """Its id before the change; "" if the row could not be read."""
    line: int
    """Its first line in the file of examples, from 1."""
    last_line: int
    kinds: tuple[str, ...]
    """Kinds of the findings that were fixed."""
    before: str
    """The row as it is in the file, with its line end."""
    after: str | None
    """The fixed row; None if it is left out."""
    note: str = ""
    """Who accepted the change and when, if a person did."""


class ChangeList:
    """Changes in the order of their rows, kept in a temporary file."""

    def __init__(self) -> None:
        self._lines = DiskTexts()

    def append(self, change: Change) -> None:
        """Add a change at the end."""
        self._lines.append(json.dumps(asdict(change)))

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, position: int) -> Change:
        return _to_change(json.loads(self._lines[position]))

    def __iter__(self) -> Iterator[Change]:
        return (_to_change(json.loads(line)) for line in self._lines)


def _to_change(values: Mapping[str, Any]) -> Change:
    return Change(**{**values, "kinds": tuple(values["kinds"])})


@dataclass(frozen=True)
class FixFiles:
    """The paths of a fix: new files next to the examples. The file of examples is never
    overwritten.
    """

    source: Path
    """The file of examples."""
    stem: str = ""
    """Name of the fixed file without its suffix; "" for the source's name with `.fixed`."""

    @property
    def fixed_file(self) -> Path:
        stem = self.stem or f"{self.source.stem}.fixed"
        return self.source.with_name(stem + self.source.suffix)

    @property
    def log(self) -> Path:
        return log_path(self.fixed_file)

    @property
    def key(self) -> Path:
        """The map from surrogate to original, readable by the owner only."""
        return self.fixed_file.with_name(f"{self.fixed_file.name}.key.json")


@dataclass(frozen=True)
class FixLog:
    """The changes of a file of examples."""

    source: str
    """Name of the file of examples."""
    source_hash: str
    """SHA-256 of its bytes."""
    fixed_hash: str = ""
    """SHA-256 of the fixed file."""
    earlier_hash: str = ""
    """SHA-256 of the fixed file that this one replaces; "" if there was none."""
    surrogates: tuple[str, ...] = ()
    """Surrogates in the fixed file; they are not personal data."""
    changes: ChangeList = field(default_factory=ChangeList)
    undone: frozenset[int] = frozenset()
    """Positions of the changes that were undone."""

    @property
    def active(self) -> Iterator[Change]:
        return (change for number, change in enumerate(self.changes) if number not in self.undone)

    def to_lines(self) -> Iterator[Json]:
        """Yield the lines of the log file: the header, then one line for each change."""
        yield {"format": LOG_FORMAT, **{key: getattr(self, key) for key in _HEADER_KEYS}}
        for number, change in enumerate(self.changes):
            yield {"undone": number in self.undone, "change": asdict(change)}

    def apply_to(self, source: BinaryIO) -> Iterator[bytes]:
        """Yield the bytes of the fixed file, given the open file of examples."""
        position = 0  # lines read so far
        first_lines = {
            n: change.line for n, change in enumerate(self.changes) if n not in self.undone
        }
        # Sorted by line, because changes from an earlier log are at the end of the list.
        for number in sorted(first_lines, key=first_lines.__getitem__):
            change = self.changes[number]
            yield from islice(source, change.line - 1 - position)
            yield (change.after or "").encode()
            position = change.last_line
            num_replaced = change.last_line - change.line + 1
            next(islice(source, num_replaced, num_replaced), None)
        yield from source


def read_log(file: Path) -> FixLog | None:
    """Read the log of a fix; None if there is none. Raises RunError if it cannot be read."""
    if not file.exists():
        return None
    header, lines = open_log(file)
    changes = ChangeList()
    undone = list[int]()
    try:
        for number, line in enumerate(lines):
            changes.append(_to_change(line["change"]))
            if line["undone"]:
                undone.append(number)
        values = {
            **{key: header[key] for key in _HEADER_KEYS},
            "surrogates": tuple(header["surrogates"]),
        }
    except (KeyError, TypeError) as error:
        raise RunError(f"{file} is not a log of a fix ({error}). {REMEDY}") from error
    return FixLog(**values, changes=changes, undone=frozenset(undone))


def write_fix(files: FixFiles, log: FixLog) -> FixLog:
    """Write log and fixed file, and return the log with the new hashes. Raises OSError.

    Only the owner can read the log, which has the original rows. The fixed file has the examples'
    permissions.
    """
    with atomic_file(files.fixed_file) as temporary:
        # A file that a killed process left behind would keep its permissions.
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        with files.source.open("rb") as source, temporary.open("wb") as out:
            out.writelines(log.apply_to(source))
        shutil.copymode(files.source, temporary)
        # The log is written first and has both hashes, so after a kill in between the old file
        # still counts as ours.
        log = replace(
            log, fixed_hash=hash_file(temporary), earlier_hash=hash_file(files.fixed_file)
        )
        write_lines(files.log, log.to_lines(), private=True)
    return log


def check_unchanged(files: FixFiles, log: FixLog | None) -> None:
    """Raise InputError if the fixed file is not from a fix of this source, or was changed after
    it.
    """
    remedy = "rename or delete it; it is not overwritten"
    if log is not None and log.source != files.source.name:
        message = f"this is the log of another file, {log.source}, not of {files.source.name}"
        raise InputError.of(files.log.name, message, "", remedy)
    current = hash_file(files.fixed_file)
    if current and not (log is not None and current in (log.fixed_hash, log.earlier_hash)):
        message = (
            "the file was changed after it was written"
            if log
            else "the file exists, but Étude did not write it"
        )
        raise InputError.of(files.fixed_file.name, message, "", remedy)


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, "" if there is no such file."""
    if not file.exists():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
