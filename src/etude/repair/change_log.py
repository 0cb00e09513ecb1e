"""The log of a fix: every change with the row before and after it, from which the fixed file is written.

The fixed file is a function of the file of examples and of the log, so that a change is taken back by marking it
and writing the file anew. The log is put in place first and knows the hash of the file before and after: a kill in
between leaves the old file, which still counts as ours. Neither file is ever in memory as a whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from etude.base.files import Json, file_aside, read_lines, write_lines
from etude.base.spool import Texts
from etude.errors import InputError, Issue, RunError

FORMAT = 1
REMEDY = "Delete it and the fixed file beside it, and run `etude check TASK --fix` again."


@dataclass(frozen=True)
class Change:
    """What was done to one row."""

    row: str
    """Its id before the change; "" where the row could not be read."""
    line: int
    """On which it begins in the file of examples, from 1."""
    last: int
    kinds: tuple[str, ...]
    """The findings put right."""
    before: str
    """The row as it stands in the file, its line end included."""
    after: str | None
    """What stands in its place; None where it is left out."""
    note: str = ""
    """Who asked for it, and when, where a person has."""


class Changes:
    """Changes in the order of their rows, kept in a temporary file."""

    def __init__(self) -> None:
        self._lines = Texts()

    def append(self, change: Change) -> None:
        """Adds a change at the end."""
        self._lines.append(json.dumps(asdict(change)))

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, position: int) -> Change:
        return _change(json.loads(self._lines[position]))

    def __iter__(self) -> Iterator[Change]:
        return (_change(json.loads(line)) for line in self._lines)


def _change(values: Mapping[str, Any]) -> Change:
    return Change(**{**values, "kinds": tuple(values["kinds"])})


@dataclass(frozen=True)
class Files:
    """Where a fix of a file of examples stands: beside it, and never over it."""

    source: Path
    stem: str = ""
    """Name of the new file without its suffix; "" for that of a fix."""

    @property
    def fixed(self) -> Path:
        """The rows as they were fixed."""
        stem = self.stem or f"{self.source.stem}.fixed"
        return self.source.with_name(stem + self.source.suffix)

    @property
    def log(self) -> Path:
        """Every change."""
        return log_of(self.fixed)

    @property
    def key(self) -> Path:
        """What stands for what, for the owner only."""
        return self.fixed.with_name(f"{self.fixed.name}.key.json")


def log_of(fixed: Path) -> Path:
    """The log beside a fixed file. Its name holds the whole name of the file: rows.csv and rows.jsonl have one each."""
    return fixed.with_name(f"{fixed.name}.log.jsonl")


@dataclass(frozen=True)
class FixLog:
    """What was done to a file of examples."""

    source: str
    """Name of the file of examples."""
    source_hash: str
    """SHA-256 of its bytes."""
    fixed_hash: str = ""
    """The same of the fixed file that belongs to this log."""
    earlier_hash: str = ""
    """The same of the fixed file that it takes the place of; "" where there was none."""
    stand_ins: tuple[str, ...] = ()
    """Surrogates in the fixed file, which are nobody's data."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Row id -> label that a worklist has corrected."""
    changes: Changes = field(default_factory=Changes)
    undone: frozenset[int] = frozenset()
    """Positions of the changes that were taken back."""

    @property
    def standing(self) -> Iterator[Change]:
        """The changes that are not taken back."""
        return (change for number, change in enumerate(self.changes) if number not in self.undone)

    @property
    def lines(self) -> Iterator[Json]:
        """What stands in the file: everything else, then the changes one by one."""
        named = ("source", "source_hash", "fixed_hash", "earlier_hash", "stand_ins", "labels")
        yield {"format": FORMAT, **{name: getattr(self, name) for name in named}}
        for number, change in enumerate(self.changes):
            yield {"undone": number in self.undone, "change": asdict(change)}

    def fixed(self, source: BinaryIO) -> Iterator[bytes]:
        """The bytes of the fixed file, piece by piece, from the file of examples."""
        at = 0
        lines = {n: change.line for n, change in enumerate(self.changes) if n not in self.undone}
        for number in sorted(lines, key=lines.__getitem__):  # a change that was carried on stands last
            change = self.changes[number]
            yield from islice(source, change.line - 1 - at)
            yield (change.after or "").encode()
            at = change.last
            next(islice(source, change.last - change.line + 1, change.last - change.line + 1), None)
        yield from source


def read_log(file: Path) -> FixLog | None:
    """The log of a fix; None where there is none. Raises RunError where it cannot be read."""
    return _read(file, _log_of) if file.exists() else None


def _read(file: Path, take: Callable[[Iterator[Json]], FixLog]) -> FixLog:
    """What `take` makes of the lines of a log. Raises RunError where they are none."""
    try:
        return take(read_lines(file, REMEDY))
    except (KeyError, TypeError) as error:
        raise RunError(f"{file} is no log of a fix ({error}). {REMEDY}") from error


def _log_of(lines: Iterator[Json]) -> FixLog:
    head = _head(lines)
    changes, undone = Changes(), list[int]()
    for number, line in enumerate(lines):
        changes.append(_change(line["change"]))
        if line["undone"]:
            undone.append(number)
    return replace(head, changes=changes, undone=frozenset(undone))


def _head(lines: Iterator[Json]) -> FixLog:
    """What the first line says."""
    head = next(lines, {})
    if head["format"] != FORMAT:
        raise KeyError(f"format {head['format']}")
    stand_ins = tuple(head["stand_ins"])
    hashes = head["source_hash"], head["fixed_hash"], head["earlier_hash"]
    return FixLog(head["source"], *hashes, stand_ins, head.get("labels", {}))


def write_fix(files: Files, log: FixLog) -> FixLog:
    """Writes log and fixed file. Raises OSError.

    The log holds rows as they were, with whatever is personal in them: it is its owner's only. The fixed file is
    readable by those who can read the file of examples.
    """
    with file_aside(files.fixed) as aside:
        aside.unlink(missing_ok=True)  # one that a kill has left keeps the rights it has
        aside.touch(mode=0o600)
        with files.source.open("rb") as source, aside.open("wb") as out:
            out.writelines(log.fixed(source))
        shutil.copymode(files.source, aside)
        log = replace(log, fixed_hash=hash_of(aside), earlier_hash=hash_of(files.fixed))
        write_lines(files.log, log.lines, private=True)
    return log


def check_ours(files: Files, log: FixLog | None) -> None:
    """Raises InputError where the fixed file was not written by a fix of this source, or was changed since."""
    if log is not None and log.source != files.source.name:
        what = f"is the log of another file, {log.source}, not of {files.source.name}"
        raise InputError([Issue(files.log.name, what, "", "rename or delete it; nothing is written over it")])
    now = hash_of(files.fixed)
    if not now or (log is not None and now in (log.fixed_hash, log.earlier_hash)):
        return
    what = "was changed since it was written" if log else "is there, and Étude has not written it"
    remedy = "rename or delete it; nothing is written over it"
    raise InputError([Issue(files.fixed.name, what, "", remedy)])


def hash_of(file: Path) -> str:
    """SHA-256 of a file in hexadecimal, "" where there is none."""
    if not file.exists():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stand_ins(examples: Path) -> frozenset[str]:
    """The surrogates in a file that a fix has written, by the log beside it; none for any other file.

    Raises RunError where the log cannot be read.
    """
    log = log_of(examples)
    if not log.exists():
        return frozenset()
    return frozenset(_read(log, _head).stand_ins)
