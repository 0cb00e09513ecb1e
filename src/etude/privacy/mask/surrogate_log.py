"""The log next to a corrected file; its first line lists the surrogates in the file."""

from collections.abc import Iterator
from pathlib import Path

from etude.base.files import Json, read_lines
from etude.errors import RunError

LOG_FORMAT = 1
REMEDY = "Delete it and the fixed file next to it, and run `etude check TASK --fix` again."


def log_path(fixed: Path) -> Path:
    """Return the path of a fixed file's log. Its name keeps the suffix: rows.csv and rows.jsonl
    have separate logs.
    """
    return fixed.with_name(f"{fixed.name}.log.jsonl")


def open_log(file: Path) -> tuple[Json, Iterator[Json]]:
    """Return the header of a log and an iterator over its other lines. Raises RunError for any
    other file.
    """
    lines = read_lines(file, REMEDY)
    header = next(lines, {})
    if header.get("format") != LOG_FORMAT or not isinstance(header.get("surrogates"), list):
        raise RunError(f"{file} is not a log of a fix. {REMEDY}")
    return header, lines


def read_surrogates(examples: Path) -> frozenset[str]:
    """Return the surrogates in a corrected file; empty if it has no log. Raises RunError if the log
    is unreadable.
    """
    log = log_path(examples)
    return frozenset(open_log(log)[0]["surrogates"]) if log.exists() else frozenset()
