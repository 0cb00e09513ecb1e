"""The first task file, guessed from a file of examples.

Every guess says what it was guessed from, in the file itself and to the caller. The contract is one
that the rows themselves keep; where up to 5% do not, the guess says which. Answers of rows that the split
will put into the test are not read for it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from etude.errors import Fault, InputError, shown
from etude.files import write_text
from etude.formats import Rows, peek_rows, read_rows
from etude.starter.columns import Roles, guess_roles
from etude.starter.draft import Draft, infer_fields, infer_schema
from etude.starter.page import guesses, page
from etude.task import RowSource

__all__ = ["StarterResult", "infer_fields", "infer_schema", "start"]

MOST_ROWS = 100_000
"""Rows looked at to guess columns."""


@dataclass(frozen=True)
class StarterResult:
    """A task file that was written."""

    task_file: Path
    text: str
    guesses: tuple[str, ...]
    """What was guessed and from what, a sentence each."""


def start(path: Path, target: Path | str | None = None) -> StarterResult:
    """Writes a task file for the rows in `path`: to `target`, else to task.yaml beside them.

    Where `target` is a folder, or a text that ends in a slash, the file is task.yaml in that folder, which is
    made if it is not there.

    Raises InputError when the target is there already, when the rows cannot be read (every fault
    of the file) and when it stays unknown which columns are the input and the output.
    """
    cells = peek_rows(path, MOST_ROWS)
    target, makes_folder = _task_file(path, target)
    _refuse_to_overwrite(target, makes_folder)
    if not cells:
        read_rows(RowSource(path))
    roles = guess_roles(path, cells)
    draft = Draft(_read(roles), target, roles)
    text = page(draft)
    if makes_folder:
        target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)
    return StarterResult(target, text, tuple(guesses(draft)))


def _read(roles: Roles) -> Rows:
    """All rows. Where the output was guessed by what it holds, the fault of its empty cells comes first: the guess
    may be wrong."""
    try:
        return read_rows(roles.source)
    except InputError as error:
        if roles.by_name or not roles.num_empty:
            raise
        raise InputError([_empty_fault(roles), *error.faults], error.count + 1) from error


def _empty_fault(roles: Roles) -> Fault:
    rows = f"{roles.num_empty:,} row{'s' if roles.num_empty > 1 else ''}"
    what = f"{roles.source.output} is taken as the output and empty in {rows}"
    if roles.rivals:
        what += f"; the output could also be {' or '.join(roles.rivals)}"
    remedy = "fill in or delete these rows, or name the column that is meant 'label'"
    return Fault(roles.source.file.name, what, "", remedy)


def _task_file(rows: Path, target: Path | str | None) -> tuple[Path, bool]:
    """The file to write, and whether its folder is to be made where it is absent."""
    if target is None:
        return rows.with_name("task.yaml"), False
    names_folder = str(target).endswith(("/", os.sep))
    file = Path(target)
    return (file / "task.yaml" if names_folder or file.is_dir() else file), names_folder


def _refuse_to_overwrite(target: Path, makes_folder: bool) -> None:
    if target.exists():
        remedy = "delete it, write elsewhere with --output FILE, or go on with etude compare"
        raise InputError([Fault(str(target), "the task file is there already", "", remedy)])
    if not (makes_folder or target.parent.is_dir()):
        remedy = "make the folder first, name another, or end the name in a slash to have a folder made"
        raise InputError([Fault(str(target), "no such folder", shown(str(target.parent)), remedy)])
