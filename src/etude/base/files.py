"""Files that are whole after a kill at any moment: written aside and renamed, or append-only lines."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from etude.errors import RunError

Json = dict[str, Any]
REMEDY = (
    "Delete the run's folder and run the same command again, or add --fresh to it: `etude compare TASK --fresh`, "
    "`etude train TASK --fresh`."
)
"""What to do about a file of a run that cannot be read."""


def parse_json(text: str, **options: Any) -> Any:
    """The value of a JSON text by RFC 8259, which knows no NaN and no Infinity.

    Raises ValueError, also for what is nested too deep to read and for numbers beyond a float.
    `options` go to `json.JSONDecoder`.
    """
    try:
        # json.loads makes a decoder for every text; it alone says what a byte order mark is.
        return json.loads(text) if text.startswith("\ufeff") else _decoder(**options).decode(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


@lru_cache
def _decoder(**options: Any) -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, parse_int=_whole, **options)


def read_json(file: Path) -> Json:
    """The JSON object of a run's file. Raises RunError naming the file when it cannot be read."""
    try:
        return _object(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({_reason(error)}). {REMEDY}") from error


def write_json(file: Path, body: object) -> None:
    """Writes JSON aside and renames it, so that the old or the new file is there, never half of one."""
    write_text(file, json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """`write_bytes` of the text in UTF-8."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes, private: bool = False) -> None:
    """Writes aside, flushes to the disk and renames; makes the folder when it is absent.

    A `private` file is its owner's only (mode 600).

    Raises OSError, and then `file` is as it was and nothing is left beside it.
    """
    with file_aside(file) as aside, open(aside, "wb", opener=_private if private else None) as out:
        out.write(content)


@contextmanager
def file_aside(file: Path) -> Iterator[Path]:
    """A name beside `file` to write under; what stands there in the end takes the place of `file`, flushed to the
    disk and renamed. Makes the folder when it is absent.

    A kill or an error leaves `file` as it was, an error also nothing beside it. Raises OSError, which names `file`
    where it names none: a full disk's does not.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(file.name + ".part")
    try:
        yield aside
        _flush(aside)
        aside.replace(file)
    except OSError as error:
        if error.errno is not None:  # a library's own holds a message alone, which a name would hide
            error.filename = error.filename or str(file)
        raise
    finally:
        aside.unlink(missing_ok=True)
    _flush(file.parent)


def _private(name: str, flags: int) -> int:
    Path(name).unlink(missing_ok=True)  # one that is there keeps the rights it has
    return os.open(name, flags, 0o600)


def write_lines(file: Path, lines: Iterable[Mapping[str, object]], private: bool = False) -> None:
    """Writes JSON lines aside and renames the file; a `private` one is its owner's only."""
    with file_aside(file) as aside, open(aside, "wb", opener=_private if private else None) as out:
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def append_line(file: Path, line: Mapping[str, object]) -> None:
    """Adds one JSON line, on disk before it returns, after taking away one that a kill has cut."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as out:
        _drop_cut_line(out)
        out.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Holds a file, made if absent, for this process and thread alone; waits while another holds it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class LineLog:
    """A log of JSON lines that a full disk does not stop: what it does not take is held and written later."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.held: list[Mapping[str, object]] = []
        """Lines that the disk did not take yet."""

    def append(self, line: Mapping[str, object]) -> OSError | None:
        """Writes the line after those that are held; returns the error where the disk does not take it."""
        self.held.append(line)
        try:
            while self.held:
                append_line(self.file, self.held[0])
                del self.held[0]
        except OSError as error:
            return error
        return None


def read_lines(file: Path, remedy: str = REMEDY) -> Iterator[Json]:
    """JSON objects, one a line; a last line without its line break was cut by a kill and is left out.

    Raises RunError naming the file, the line and the `remedy`.
    """
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.endswith(b"\n"):
                    yield _line(line, f"{file}:{number}", remedy)
    except OSError as error:
        raise RunError(f"{file} cannot be read ({_reason(error)}). {remedy}") from error


def _line(line: bytes, where: str, remedy: str) -> Json:
    try:
        return _object(line.decode("utf-8"))
    except ValueError as error:
        raise RunError(f"{where} cannot be read ({error}). {remedy}") from error


def _drop_cut_line(file: BinaryIO) -> None:
    """Takes away a last line without its line break; a whole file costs one byte read."""
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _object(text: str) -> Json:
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without its name a second time."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@contextmanager
def folder_aside(
    folder: Path, name: str | None = None, whole: Callable[[Path], bool] = lambda folder: False
) -> Iterator[Path]:
    """An empty folder to fill, which then takes the place of `folder`, flushed to the disk and renamed.

    A kill leaves the old folder, none or the new one, never half of one; an error leaves the old one. Where
    several processes may do this at once, each gives a `name` of its own for its folder aside, and `whole`,
    which says that what another has put in place meanwhile is to stay. Raises OSError.
    """
    aside = folder.with_name(name or folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        for file in aside.rglob("*"):
            if file.is_file():
                _flush(file)
        _replace(folder, aside, whole)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _flush(folder.parent)


def _replace(folder: Path, aside: Path, whole: Callable[[Path], bool]) -> None:
    """Renames `aside`, also where another process puts a folder in place at this moment."""
    for _ in range(3):
        try:
            aside.rename(folder)
            return
        except OSError as error:
            failure = error
            if whole(folder):
                return
            shutil.rmtree(folder, ignore_errors=True)
    raise failure


def link_or_copy(source: str, target: str) -> None:
    """Gives a file a second name, which takes no room on the disk; a copy where the file system has no such names.

    For files that are replaced and never written to in place. Raises OSError.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def free_bytes(folder: Path) -> int:
    """Bytes that the disk of a folder has free; the folder need not be there yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _flush(path: Path) -> None:
    """A file to the disk; or a folder, so that a rename in it lasts through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits} is beyond the range of a number")
    return value


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:  # Python reads no more than some thousand digits
        raise ValueError(f"a number of {len(digits):,} digits is too long to read") from error
