"""Files that survive a kill at any moment. They are written under another name and renamed, or only
appended to.
"""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from etude.base.locks import lock_file
from etude.errors import RUN_REMEDY, RunError

Json = dict[str, Any]
HALF_CHARACTER = re.compile(
    r"\\u[dD][89a-fA-F]"
)  # as JSON escapes it; two of them may be a whole one


def parse_json(text: str, **options: Any) -> Any:
    """Parse JSON by RFC 8259, which has no NaN and no Infinity. `options` go to `json.JSONDecoder`.

    Raises ValueError, also for text that is nested too deeply and for numbers outside the range of
    a float.
    """
    try:
        # json.loads makes a new decoder for every text, but only it reports a byte order mark.
        return (
            json.loads(text) if text.startswith("\ufeff") else _get_decoder(**options).decode(text)
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_storable_json(text: str) -> Any:
    """Parse JSON with `parse_json`. Raises ValueError also for a lone surrogate, which no file can
    contain.
    """
    value = parse_json(text)
    if HALF_CHARACTER.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("it contains half of a character (a lone surrogate)") from error
    return value


@lru_cache
def _get_decoder(**options: Any) -> json.JSONDecoder:
    def reject_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    def parse_float(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            raise ValueError(f"{digits} is too large for a number")
        return value

    def parse_int(digits: str) -> int:
        try:
            return int(digits)
        except ValueError as error:  # Python converts at most a few thousand digits
            raise ValueError(f"a number of {len(digits):,} digits is too long to read") from error

    return json.JSONDecoder(
        parse_constant=reject_constant, parse_float=parse_float, parse_int=parse_int, **options
    )


def read_json(file: Path, default: Json | None = None) -> Json:
    """Read the JSON object in a run's file, or return the `default` without a file. Raises RunError
    with its name.
    """
    if default is not None and not file.exists():
        return default
    try:
        return _parse_object(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({_format_reason(error)}). {RUN_REMEDY}") from error


def write_json(file: Path, body: object) -> None:
    """Write JSON with `write_bytes`."""
    write_text(file, json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """Write text in UTF-8 with `write_bytes`."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes, private: bool = False) -> None:
    """Write a file with `atomic_file`; a `private` one is readable by its owner only (mode 600)."""
    with (
        atomic_file(file) as temporary,
        open(temporary, "wb", opener=_open_private if private else None) as out,
    ):
        out.write(content)


def hash_text(text: str, digits: int = 16) -> str:
    """Return the first hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def write_lines(file: Path, lines: Iterable[Mapping[str, object]], private: bool = False) -> None:
    """Write JSON lines with `atomic_file`; a `private` file is readable by its owner only."""
    with (
        atomic_file(file) as temporary,
        open(temporary, "wb", opener=_open_private if private else None) as out,
    ):
        for line in lines:
            out.write(_encode_line(line))


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """Yield a path to write to; at the end that file is flushed to disk and replaces `file`.

    Creates the folder. A kill or an error leaves `file` as it was, and an error leaves no temporary
    file. Raises OSError, always with a file name (a full disk gives none).
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(file.name + ".part")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(file)
    except BaseException as error:  # only then: after it has moved, the name is another writer's
        temporary.unlink(missing_ok=True)
        # An OSError without a number has only a message, which a file name would hide.
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = error.filename or str(file)
        raise
    _flush(file.parent)


def _open_private(name: str, flags: int) -> int:
    Path(name).unlink(missing_ok=True)  # the mode of an existing file would not change
    return os.open(name, flags, 0o600)


def append_line(file: Path, line: Mapping[str, object]) -> None:
    """Append one JSON line and flush it to disk. Before that, remove a last line that a kill left
    incomplete.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as out:
        if out.seek(0, os.SEEK_END):
            out.seek(-1, os.SEEK_END)  # for a complete file, only this one byte is read
            if out.read(1) != b"\n":
                out.seek(0)
                out.truncate(out.read().rfind(b"\n") + 1)
        out.write(_encode_line(line))
        out.flush()
        os.fsync(out.fileno())


def _encode_line(line: Mapping[str, object]) -> bytes:
    return json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n"


@contextmanager
def hold_lock(file: Path) -> Iterator[None]:
    """Lock a file, created if absent, for this process and thread; waits while another holds the
    lock.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:
        lock_file(lock, wait=True)
        yield


class LineLog:
    """A log of JSON lines that survives a full disk: lines wait in memory and are written later."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.pending: list[Mapping[str, object]] = []
        """Lines that are not on disk yet."""

    def append(self, line: Mapping[str, object]) -> OSError | None:
        """Write the pending lines and this one. Returns the error if a write fails."""
        self.pending.append(line)
        try:
            while self.pending:
                append_line(self.file, self.pending[0])
                del self.pending[0]
        except OSError as error:
            return error
        return None


def read_lines(file: Path, remedy: str = RUN_REMEDY) -> Iterator[Json]:
    """Read JSON objects, one per line. Skips a last line without a line break, which a kill left
    incomplete.

    Raises RunError with the file, the line and the `remedy`.
    """
    number = 0
    try:
        with file.open("rb") as stream:
            for line in stream:
                number += 1
                if line.endswith(b"\n"):
                    yield _parse_object(line.decode("utf-8"))
    except OSError as error:
        raise RunError(f"{file} cannot be read ({_format_reason(error)}). {remedy}") from error
    except ValueError as error:
        raise RunError(f"{file}:{number} cannot be read ({error}). {remedy}") from error


def list_lines(file: Path) -> list[Json]:
    """Read all lines of a file with `read_lines`; none without a file."""
    return list(read_lines(file)) if file.exists() else []


def _parse_object(text: str) -> Json:
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _format_reason(error: Exception) -> str:
    # str() of an OSError repeats the file's name
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


@contextmanager
def atomic_folder(
    folder: Path,
    name: str | None = None,
    is_complete: Callable[[Path], bool] = lambda folder: False,
) -> Iterator[Path]:
    """Yield an empty folder to fill; at the end it is flushed to disk and replaces `folder`.

    After a kill there is the old folder, no folder or the new one, never a mixture. After an error
    there is the old one. If several processes may do this at once, each must use a different `name`
    for its temporary folder; `is_complete` returns whether a folder that another process has put
    there in the meantime may stay. Raises OSError.
    """
    temporary = folder.with_name(name or folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        _replace_folder(folder, temporary, is_complete)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _flush(folder.parent)


def _replace_folder(folder: Path, temporary: Path, is_complete: Callable[[Path], bool]) -> None:
    # Another process may create the folder between the removal and the renaming: try again.
    for _ in range(3):
        try:
            temporary.rename(folder)
            return
        except OSError as error:
            failure = error
            if is_complete(folder):
                return
            shutil.rmtree(folder, ignore_errors=True)
    raise failure


def remove_folder(folder: Path) -> None:
    """Remove a folder that another thread may be writing to: it is renamed first, so that nothing
    of it stays.
    """
    aside = folder.with_name(f".deleted-{folder.name}")
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def link_or_copy(source: str, target: str) -> None:
    """Create a hard link to a file, which uses no disk space; copy the file if the file system has
    no hard links.

    Only for files that are replaced and never written to in place. Raises OSError.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _flush(path: Path) -> None:
    if os.name == "nt":  # Windows flushes no file that is open for reading, and opens no folder
        return
    # With fsync on its folder, a rename survives a power cut.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
