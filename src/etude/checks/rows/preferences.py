"""Rows with a better and a worse answer: the worse one is not taught, and must not be taught elsewhere in the set.

It is looked at for nothing else: what it holds that is wrong or somebody's is not told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.base.spool import Texts
from etude.checks.material import Hashes, Material, hashed, rows_that
from etude.checks.record import FindingKind, finds
from etude.data.formats import guess_columns, peek_rows, preference_columns, read_values
from etude.data.formats.columns import is_thumbs_down, thumbs_column
from etude.data.formats.turns import TEXT_KEYS, key_of
from etude.errors import place_of
from etude.types import Finding

Chosen = NDArray[np.bool_]
"""Of each row, whether it is meant."""


@finds(
    FindingKind("preference", "note", "worse answers (`rejected`, `label: false`) beside those to learn"),
    FindingKind("preference_same", "warning", "rows whose better and worse answer are the same"),
    FindingKind(
        "preference_swapped", "warning", "answers to learn in one row that are the worse ones in another"
    ),
)
def preferences(material: Material) -> Iterator[Finding]:
    """That there are worse answers, rows whose two answers are the same, and answers that stand on both sides of one
    input. Nothing of rows that were made without their file."""
    file = material.task.examples.file
    head = peek_rows(file) if file.is_file() else []
    pair = preference_columns(chain.from_iterable(head))
    columns = guess_columns(head, material.task.examples).source if head else material.task.examples
    if column := thumbs_column(head, columns):
        yield from _thumbs_down(material, column)
    if not pair or pair[1] in (columns.output, columns.messages):
        return
    column, taught = pair[1], columns.messages or columns.output
    worse = _texts_of(material, column)
    rows = np.array([bool(text) for text in worse], bool)
    if not rows.any():
        return
    given = material.answer_hashes(worse)
    same = rows & (given == material.output_hashes)
    yield _told(material, column, str(taught), int(rows.sum()))
    if same.any():
        yield _same(material, column, np.flatnonzero(same).tolist())
    yield from _swapped(material, column, rows & ~same, given)


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
        yield replace(told, where=where)


def _texts_of(material: Material, column: str) -> Texts:
    """The column's answer of each row, "" where it has none; of a chat the last turn."""
    values = read_values(material.task.examples.file, column)
    found = Texts()
    line, value = 0, None
    for row in material.rows:
        wanted = place_of(row.where)[1]
        while line < wanted:
            line, value = next(values, (wanted, None))
        found.append(_text_of(value))
    return found


def _text_of(value: Any) -> str:
    turn = value[-1] if isinstance(value, list) and value else value
    text = turn.get(key_of(turn, TEXT_KEYS)) if isinstance(turn, dict) else turn
    return text.strip() if isinstance(text, str) else ""


def _told(material: Material, column: str, taught: str, number: int) -> Finding:
    return material.finding(
        "preference",
        "note",
        [],
        f"{rows_that('have', number, len(material.rows))} a worse answer in the column {column}. Étude trains "
        f"on {taught}, not {column}, which is compared with those answers and not checked otherwise.",
        "Nothing to do to train on the better answers. To train on both, use a preference trainer (DPO).",
        numbers={"rows": number, "of": len(material.rows)},
    )


def _same(material: Material, column: str, rows: list[int]) -> Finding:
    return material.finding(
        "preference_same",
        "warning",
        rows,
        f"{rows_that('have', len(rows), len(material.rows))} the same answer as the better and as the worse one "
        f"({column}): either the answer to learn is the worse one, or the pair says nothing.",
        "Correct one of the two answers, or delete the rows.",
        evidence=material.both(rows),
    )


def _swapped(material: Material, column: str, rows: Chosen, given: Hashes) -> Iterator[Finding]:
    """Rows whose worse answer is what another row teaches for the same input, together with those."""
    asked = material.input_hashes.tolist()
    taught = _joined(asked, material.output_hashes.tolist())
    worse = _joined(asked, given.tolist())
    calling = np.flatnonzero(rows & np.isin(worse, taught)).tolist()
    if not calling:
        return
    teaching = np.flatnonzero(np.isin(taught, worse[calling])).tolist()
    first = dict(zip(reversed(taught[teaching].tolist()), reversed(teaching), strict=True))
    concerned = sorted({*calling, *teaching})
    yield material.finding(
        "preference_swapped",
        "warning",
        concerned,
        f"{rows_that('contradict', len(concerned), len(material.rows))} each other: the answer to learn in one is the "
        f"worse one ({column}) of another with the same input.",
        "Read them side by side; swap or delete those that are the wrong way round.",
        evidence=material.both(chain.from_iterable((row, first[int(worse[row])]) for row in calling)),
    )


def _joined(asked: Iterable[int], given: Iterable[int]) -> Hashes:
    """A hash of each input with an answer."""
    return hashed(f"{one} {other}" for one, other in zip(asked, given, strict=True))
