"""The user's examples with more rows, in a new file next to them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from etude.base.files import write_lines
from etude.errors import InputError, Issue
from etude.task.definition import JSON_SUFFIXES, RowSource


def write_extended_examples(source: RowSource, rows: Iterable[Mapping[str, object]], suffix: str) -> Path:
    """Write `NAME.SUFFIX.jsonl` with the rows of the source and more rows, which get only columns of the source.
    Raises InputError unless the source is JSON lines with columns `input` and `output`."""
    file = source.file
    lines = []
    if file.suffix.lower() in JSON_SUFFIXES:
        texts = file.read_text(encoding="utf-8-sig").splitlines()
        lines = [json.loads(text) for text in texts if text.strip()]
    if not lines or not {"input", "output"} <= lines[0].keys():
        message = "only JSON lines with input and output can be extended"
        raise InputError([Issue(file.name, message, "", "convert the file, or add the rows by hand")])
    target = file.with_name(f"{file.stem}.{suffix}{file.suffix}")
    columns = lines[0].keys()
    write_lines(target, [*lines, *({key: row[key] for key in row if key in columns} for row in rows)])
    return target
