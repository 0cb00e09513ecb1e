"""The user's examples with further rows, in a new file beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from etude.base.files import write_lines
from etude.errors import InputError, Issue
from etude.task.definition import JSON_SUFFIXES, RowSource


def with_rows(source: RowSource, rows: Iterable[Mapping[str, object]], word: str) -> Path:
    """Writes `NAME.word.jsonl` with the rows of the source and those given, of which the columns are kept that the
    source has. Raises InputError unless the source is JSON lines with columns `input` and `output`."""
    file = source.file
    lines = []
    if file.suffix.lower() in JSON_SUFFIXES:
        lines = [
            json.loads(line) for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()
        ]
    if not lines or not {"input", "output"} <= lines[0].keys():
        what = "only JSON lines with input and output can be extended"
        raise InputError([Issue(file.name, what, "", "write such a file, or add the rows by hand")])
    target = file.with_name(f"{file.stem}.{word}{file.suffix}")
    known = lines[0].keys()
    write_lines(target, [*lines, *({key: row[key] for key in row if key in known} for row in rows)])
    return target
