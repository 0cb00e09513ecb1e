"""Writing examples so that they read back the same."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from etude.data.formats.columns import named
from etude.errors import Fault, InputError
from etude.task import JSON_SUFFIXES, TABLE_SUFFIXES, RowSource
from etude.types import Example


def write_rows(file: Path, examples: Iterable[Example], system: str | None = None) -> RowSource:
    """Writes examples as .jsonl, .csv or .tsv and returns the columns by which they read back the same.

    In a table a row holds one user turn; a longer chat raises InputError. Replaces the file.
    """
    rows = list(examples)
    write = _write_json if file.suffix.lower() in JSON_SUFFIXES else _write_table
    return write(file, rows, system)


def _write_json(file: Path, rows: Sequence[Example], system: str | None) -> RowSource:
    with file.open("w", encoding="utf-8", newline="") as stream:
        for row in rows:
            stream.write(json.dumps(_json_row(row, system), ensure_ascii=False) + "\n")
    columns = RowSource(file, ("input",), "output", id="id", system="system" if system else None)
    return replace(
        columns,
        references=("references",) if any(row.references for row in rows) else (),
        group="group" if any(row.group for row in rows) else None,
        tags=("tags",) if any(row.tags for row in rows) else (),
    )


def _json_row(row: Example, system: str | None) -> dict[str, Any]:
    turns = [
        {"role": turn.role, "content": turn.content} | ({} if turn.trained else {"weight": 0})
        for turn in row.input
    ]
    cells = {
        "id": row.id,
        "system": system,
        "input": row.text if len(turns) == 1 else turns,
        "output": row.output,
        "references": list(row.references),
        "group": row.group,
        "tags": dict(row.tags),
    }
    return {name: value for name, value in cells.items() if value}


def _write_table(file: Path, rows: Sequence[Example], system: str | None) -> RowSource:
    chats = [row for row in rows if len(row.input) > 1]
    if chats:
        what = f"the row {chats[0].id} holds {len(chats[0].input)} turns, and a table holds one"
        raise InputError([Fault(file.name, what, "", "write a .jsonl file")])
    references = tuple(
        f"reference {number + 1}" for number in range(max((len(r.references) for r in rows), default=0))
    )
    tags = tuple(sorted({name for row in rows for name in row.tags}))
    group = "group" if any(row.group for row in rows) else None
    columns = RowSource(
        file, ("input",), "output", "system" if system else None, None, "id", references, group, tags
    )
    with file.open("w", encoding="utf-8", newline="") as stream:
        # Everything quoted: csv leaves a lone carriage return bare otherwise, and reads it as a line end.
        writer = csv.writer(
            stream, delimiter=TABLE_SUFFIXES[file.suffix.lower()], quoting=csv.QUOTE_ALL, lineterminator="\n"
        )
        writer.writerow(named(columns))
        writer.writerows([_table_row(row, system, columns) for row in rows])
    return columns


def _table_row(row: Example, system: str | None, columns: RowSource) -> list[str]:
    cells = {
        "input": row.text,
        "output": row.output,
        "id": row.id,
        "group": row.group,
        "system": system,
        **row.tags,
    }
    cells.update(zip(columns.references, row.references, strict=False))
    return [cells.get(name) or "" for name in named(columns)]
