"""Files that are whole after a kill at any moment: written aside and renamed, or append-only lines."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from etude.errors import RunError

Json = dict[str, Any]


def parse_json(text: str, **options: Any) -> Any:
    """The value of a JSON text by RFC 8259, which knows no NaN and no Infinity.

    Raises ValueError, also for what is nested too deep to read. `options` go to `json.loads`.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, **options)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def read_json(file: Path) -> Json:
    """A JSON object. Raises RunError naming the file when it cannot be read."""
    try:
        body: Json = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{file} cannot be read ({error}). Delete the run's folder and compare again."
        ) from error
    return body


def write_json(file: Path, body: object) -> None:
    """Writes JSON aside and renames it, so that the old or the new file is there, never half of one."""
    write_text(file, json.dumps(body, ensure_ascii=False, indent=1) + "\n")


def write_text(file: Path, text: str) -> None:
    """Writes text aside, flushes it to the disk and renames it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(file.name + ".part")
    with aside.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(file)


def write_lines(file: Path, lines: Iterable[Mapping[str, object]]) -> None:
    """Writes JSON lines aside and renames the file."""
    write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def append_line(file: Path, line: Mapping[str, object]) -> None:
    """Adds one JSON line, on disk before it returns, after taking away one that a kill has cut."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as out:
        _drop_cut_line(out)
        out.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())


def read_lines(file: Path) -> Iterator[Json]:
    """JSON lines; a last line without its line break was cut by a kill and is left out."""
    whole = file.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1].decode("utf-8")
    for number, line in enumerate(kept.split("\n")[:-1], start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise RunError(
                f"{file}:{number} is not JSON ({error}). Delete the run and compare again."
            ) from error


def _drop_cut_line(file: BinaryIO) -> None:
    """Takes away a last line without its line break; a whole file costs one byte read."""
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which then takes the place of `folder`, flushed to the disk and renamed.

    A kill leaves the old folder, none or the new one, never half of one; an error leaves the old one.
    """
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        for file in aside.rglob("*"):
            if file.is_file():
                _flush(file)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _flush(file: Path) -> None:
    with file.open("rb") as written:
        os.fsync(written.fileno())
