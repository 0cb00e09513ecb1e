"""Rows written in the shapes that other tools read; each is read again to the same examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from etude.base.files import file_aside, write_lines
from etude.base.remedies import instead
from etude.data.formats.columns import guess_columns, preference_columns, thumbs_column
from etude.data.formats.packed import write_parquet
from etude.data.formats.pairs import (
    PAIR_SHAPES,
    Judged,
    Pair,
    asking,
    judged_row,
    prompt,
    read_judged,
    read_pairs,
    said,
    sharegpt_turn,
    turn,
)
from etude.data.formats.read import Rows, peek_rows, read_rows
from etude.data.formats.tools import functions_in, structured
from etude.errors import InputError, Issue, quote_value
from etude.task import RowSource
from etude.types import Example

Made = Callable[[str | None, Example], dict[str, Any]]


def _openai(system: str | None, example: Example) -> dict[str, Any]:
    """A chat as OpenAI's fine-tuning, Axolotl and LLaMA-Factory read it."""
    turns = [*prompt(system, example), turn(said(example.output))]
    return {"messages": structured(turns, as_json=True)}


def _sharegpt(system: str | None, example: Example) -> dict[str, Any]:
    """A chat as ShareGPT has it."""
    return {
        "conversations": [sharegpt_turn(each) for each in (*asking(system, example), said(example.output))]
    }


def _alpaca(system: str | None, example: Example) -> dict[str, Any]:
    """One instruction and its answer, as in Stanford Alpaca."""
    asked = {"instruction": example.input[0].content, "input": "", "output": example.output}
    return asked | ({"system": system} if system else {})


def _trl(system: str | None, example: Example) -> dict[str, Any]:
    """Prompt and completion as TRL's conversational datasets have them."""
    *asked, answer = structured([*prompt(system, example), turn(said(example.output))], as_json=False)
    return {"prompt": asked, "completion": [answer]}


def _kto(system: str | None, example: Example) -> dict[str, Any]:
    """An answer that is taken for a good one, as TRL's KTO reads it."""
    return judged_row(Judged(system, example, good=True))


SHAPES: Mapping[str, tuple[Made, str]] = {
    "openai": (_openai, ".jsonl"),
    "sharegpt": (_sharegpt, ".jsonl"),
    "alpaca": (_alpaca, ".jsonl"),
    "trl": (_trl, ".jsonl"),
    "kto": (_kto, ".jsonl"),
    "parquet": (_openai, ".parquet"),
}
"""Name -> what makes a row, and the suffix of the file."""
WITHOUT_TOOLS = ("alpaca", "kto")
"""Shapes without a column of the functions on offer, which are named in the system message there."""


def convert(file: Path, shape: str, output: Path | None = None) -> tuple[int, Sequence[str], Path]:
    """Reads a file and writes its rows in a shape, by default beside it; returns how many were written, notes on what
    was read, and the new file. Preferences stay preferences: a pair is one row, or two of KTO's.

    Raises InputError for the shape, the file and its rows, and where the new file is there already.
    """
    if shape not in SHAPES:
        raise InputError([Issue("--to", "an unknown shape", quote_value(shape), instead(shape, SHAPES))])
    ending = "" if SHAPES[shape][1] == f".{shape}" else f".{shape}"
    output = output or file.with_name(f"{file.stem}{ending}{SHAPES[shape][1]}")
    if output.exists():
        raise InputError([Issue(str(output), "the file is there already", "", "name another with --output")])
    head = peek_rows(file)
    if preference_columns(name for row in head for name in row):
        return write_pairs(read_pairs(file), shape, output), (), output
    if shape == "kto" and thumbs_column(head, guess_columns(head, RowSource(file)).source):
        judged = read_judged(file)
        write_lines(output, map(judged_row, judged))
        return len(judged), (), output
    rows = read_rows(RowSource(file))
    write_rows(rows, shape, output)
    return len(rows.examples), rows.notes, output


def write_pairs(pairs: Sequence[Pair], shape: str, file: Path) -> int:
    """Writes preferences in a shape, and returns the number of rows. Raises InputError where it holds none."""
    if shape not in PAIR_SHAPES:
        remedy = f"convert to {', '.join(PAIR_SHAPES)}"
        raise InputError(
            [Issue("--to", "no shape for a better and a worse answer", quote_value(shape), remedy)]
        )
    rows = [row for pair in pairs for row in PAIR_SHAPES[shape](pair)]
    write_lines(file, rows)
    return len(rows)


def write_rows(rows: Rows, shape: str, file: Path) -> None:
    """Writes examples with their references, groups, tags and own ids, whole or not at all.

    Raises InputError where the shape cannot hold a row: alpaca has one question and no history.
    """
    make, suffix = SHAPES[shape]
    if shape == "alpaca":
        _refuse_several_turns(rows)
    named = rows.tools if shape in WITHOUT_TOOLS else ""
    tools: Any = functions_in(rows.tools)
    if shape in ("sharegpt", "parquet"):  # as LLaMA-Factory reads them, and as a column of one type
        tools = json.dumps(tools, ensure_ascii=False)
    functions = {"tools": tools} if rows.tools and not named else {}
    made = (
        make("\n\n".join(filter(None, (system, named))), example)
        | functions
        | _beside(example, rows.source.id is not None)
        for system, example in zip(rows.systems, rows.examples, strict=True)
    )
    if suffix != ".parquet":
        write_lines(file, made)
        return
    with file_aside(file) as aside:
        write_parquet(made, aside)


def _refuse_several_turns(rows: Rows) -> None:
    long = [each.location for each in rows.examples if len(each.input) > 1]
    if long:
        what = f"{len(long):,} rows have several turns, and alpaca holds one question each"
        fault = Issue(long[0], what, "", "convert to openai, sharegpt or trl")
        raise InputError([fault])


def _beside(example: Example, own_id: bool) -> dict[str, Any]:
    """What is known of a row beside the chat, under the names that are read."""
    known = {
        "id": example.id if own_id else None,
        "references": list(example.references),
        "group": example.group,
        "tags": dict(example.tags),
        "source": example.source,
    }
    return {name: value for name, value in known.items() if value}
