"""The log of a fix: every change with the row before and after it, from which the fixed file is written.

The fixed file is a function of the file of examples and of the log, so that a change is taken back by marking it
and writing the file anew. The log is written first and knows the hash of the file before and after: a kill in
between leaves the old file, which still counts as ours.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from etude.errors import Fault, InputError, RunError
from etude.files import Json, read_lines, write_bytes, write_lines
from etude.repair.changes import Change

FORMAT = 1
REMEDY = "Delete it and the fixed file beside it, and run `etude check TASK --fix` again."


@dataclass(frozen=True)
class Files:
    """Where a fix of a file of examples stands: beside it, and never over it."""

    source: Path

    @property
    def fixed(self) -> Path:
        """The rows as they were fixed."""
        return self._beside(self.source.suffix)

    @property
    def log(self) -> Path:
        """Every change."""
        return self._beside(".log.jsonl")

    @property
    def key(self) -> Path:
        """What stands for what, for the owner only."""
        return self._beside(".key.json")

    def _beside(self, suffix: str) -> Path:
        return self.source.with_name(f"{self.source.stem}.fixed{suffix}")


@dataclass(frozen=True)
class Logged:
    """A change, and whether it was taken back."""

    change: Change
    undone: bool = False


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
    entries: tuple[Logged, ...] = ()

    def fixed(self, content: bytes) -> bytes:
        """The bytes of the fixed file from those of the file of examples."""
        return b"".join(_pieces(content, self.entries))


def _pieces(content: bytes, entries: Sequence[Logged]) -> Iterator[bytes]:
    lines = io.BytesIO(content).readlines()
    at = 0
    for entry in entries:
        change = entry.change
        yield from lines[at : change.line - 1]
        kept = change.before if entry.undone else change.after
        yield (kept or "").encode()
        at = change.last
    yield from lines[at:]


def read_log(file: Path) -> FixLog | None:
    """The log of a fix; None where there is none. Raises RunError where it cannot be read."""
    if not file.exists():
        return None
    head, *lines = list(read_lines(file, REMEDY)) or [{}]
    try:
        return _log_of(head, lines)
    except (KeyError, TypeError) as error:
        raise RunError(f"{file} is no log of a fix ({error}). {REMEDY}") from error


def _log_of(head: Json, lines: Sequence[Json]) -> FixLog:
    if head["format"] != FORMAT:
        raise KeyError(f"format {head['format']}")
    entries = tuple(
        Logged(Change(**{**line["change"], "kinds": tuple(line["change"]["kinds"])}), line["undone"])
        for line in lines
    )
    return FixLog(
        head["source"],
        head["source_hash"],
        head["fixed_hash"],
        head["earlier_hash"],
        tuple(head["stand_ins"]),
        entries,
    )


def write_fix(files: Files, log: FixLog, content: bytes) -> FixLog:
    """Writes log and fixed file; `content` is that of the file of examples. Raises OSError.

    The log holds rows as they were, with whatever is personal in them: it is its owner's only.
    """
    fixed = log.fixed(content)
    log = replace(log, fixed_hash=hash_of(fixed), earlier_hash=_hash_now(files.fixed))
    head = {"format": FORMAT, **{key: value for key, value in asdict(log).items() if key != "entries"}}
    lines = [{"undone": entry.undone, "change": asdict(entry.change)} for entry in log.entries]
    write_lines(files.log, [head, *lines], private=True)
    write_bytes(files.fixed, fixed)
    return log


def check_ours(files: Files, log: FixLog | None) -> None:
    """Raises InputError where the fixed file was not written by a fix, or was changed since."""
    now = _hash_now(files.fixed)
    if not now or (log is not None and now in (log.fixed_hash, log.earlier_hash)):
        return
    what = "was changed since it was written" if log else "is there, and no fix has written it"
    remedy = "rename or delete it; nothing is written over it"
    raise InputError([Fault(files.fixed.name, what, "", remedy)])


def hash_of(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _hash_now(file: Path) -> str:
    return hash_of(file.read_bytes()) if file.exists() else ""


def stand_ins(examples: Path) -> frozenset[str]:
    """The surrogates in a file that a fix has written, by the log beside it; none for any other file."""
    log = (
        read_log(examples.with_name(f"{examples.stem}.log.jsonl"))
        if examples.stem.endswith(".fixed")
        else None
    )
    return frozenset(log.stand_ins) if log else frozenset()
