"""Rows with a better and a worse answer: a note that only the better one is learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from etude.checks.material import Material, rows_that
from etude.checks.record import FindingKind, finds
from etude.data.formats import guess_columns, peek_rows, preference_columns, read_values
from etude.data.formats.columns import is_thumbs_down, thumbs_column
from etude.data.formats.turns import TEXT_KEYS, key_of
from etude.errors import parse_location
from etude.types import Finding


@finds(FindingKind("preference", "note", "worse answers (`rejected`, `label: false`) beside those to learn"))
def preferences(material: Material) -> Iterator[Finding]:
    """That there are worse answers. Nothing of rows that were made without their file."""
    file = material.task.examples.file
    head = peek_rows(file) if file.is_file() else []
    pair = preference_columns(chain.from_iterable(head))
    columns = guess_columns(head, material.task.examples).source if head else material.task.examples
    if column := thumbs_column(head, columns):
        yield from _thumbs_down(material, column)
    if not pair or pair[1] in (columns.output, columns.messages):
        return
    column, taught = pair[1], columns.messages or columns.output
    number = sum(map(bool, _worse(material, column)))
    if number:
        yield material.finding(
            "preference",
            "note",
            [],
            f"{rows_that('have', number, len(material.rows))} a worse answer in the column {column}. Étude trains "
            f"on {taught}, not {column}, which is not checked.",
            "Nothing to do to train on the better answers. To train on both, name the file under preferences: and "
            "add prefer to methods:.",
            numbers={"rows": number, "of": len(material.rows)},
        )


def _thumbs_down(material: Material, column: str) -> Iterator[Finding]:
    """The rows whose answer somebody called bad, which are not among the examples."""
    file = material.task.examples.file
    values = read_values(file, column)
    where = tuple(f"{file.name}:{line}" for line, value in values if is_thumbs_down(value))
    if where:
        total = len(where) + len(material.rows)
        told = material.finding(
            "preference",
            "note",
            [],
            f"{rows_that('have', len(where), total)} {column}: false, a thumbs-down: their answers are used "
            "neither for training nor for the test.",
            f"Nothing to do. If {column} means something else, name it under examples: as output: or in tags:.",
            numbers={"rows": len(where), "of": total},
        )
        yield replace(told, locations=where)


def _worse(material: Material, column: str) -> Iterator[str]:
    """The column's answer of each row, "" where it has none; of a chat the last turn."""
    values = read_values(material.task.examples.file, column)
    line, value = 0, None
    for row in material.rows:
        wanted = parse_location(row.location)[1]
        while line < wanted:
            line, value = next(values, (wanted, None))
        yield _text_of(value)


def _text_of(value: Any) -> str:
    turn = value[-1] if isinstance(value, list) and value else value
    text = turn.get(key_of(turn, TEXT_KEYS)) if isinstance(turn, dict) else turn
    return text.strip() if isinstance(text, str) else ""
