"""A look at what training would learn, row by row; nothing is trained and nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from etude.data.dataset import SHOWN
from etude.methods.fit_context import FitContext
from etude.methods.tuned.training_rows import training_rows
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.runs.split import drawn_split
from etude.tuning.task_run import NAME, checked_student, opened, sizes, training


@dataclass(frozen=True)
class Piece:
    """A stretch of a row's text."""

    text: str
    learned: bool
    """Whether training learns it; else it is only read."""
    special: bool
    """Whether it is special tokens, such as the end of turn."""


@dataclass(frozen=True)
class ShownRow:
    """One row as it is learned."""

    where: str
    """`file:line`."""
    why: str
    """What it shows that others may not."""
    pieces: Sequence[Piece]


@dataclass(frozen=True)
class Preview:
    """What is learned, the settings, and single rows in pieces."""

    learned: Sequence[str]
    settings: Sequence[tuple[str, object, str]]
    defaults: Mapping[str, object]
    rows: Sequence[ShownRow]
    """Rows that differ, from the shortest to the longest."""


def preview(task_file: Path | str, number: int) -> Preview:
    """`number` rows as `train` would learn them. Raises as that does for the task, its rows and weights, but for
    rows that are too few."""
    from etude.training.rows.supervision import pieces

    task_run = opened(task_file, least=SHOWN)
    task, run = task_run.task, task_run.run
    parts = drawn_split(run, task, task_run.dataset, task_run.test, (*sizes(task_run), SHOWN))
    if not len(parts.dev):  # too few rows to train on, and nothing is measured here
        parts = replace(parts, dev=parts.train)
    models = Models()
    student = checked_student(task, parts, models)
    context = FitContext(models, choose_metric(task, parts.train), run.method(NAME) / "work")
    found = training(task, student, parts, training_rows(task, parts.train, context), models)
    decoder = found.model.tokenizer
    special = frozenset(decoder.all_special_ids)
    rows = [
        ShownRow(row.id, why, [Piece(*piece) for piece in pieces(decoder, row, special)])
        for row, why in found.telling(number)
    ]
    return Preview(found.supervision, found.settings, found.config.defaults, rows)
