"""The first task file, guessed from a file of examples.

Every guess says what it was guessed from, in the file itself and to the caller. The contract is one
that the rows themselves keep; where up to 5% do not, the guess says which. Answers of rows that the split
will put into the test are not read for it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from etude.base.files import write_text
from etude.base.remedies import raise_faults
from etude.data.formats import Rows, check_encoding, peek_rows, read_rows, survey_rows
from etude.data.starter.draft import Draft, infer_fields
from etude.data.starter.guess_columns import Roles, guess_roles
from etude.data.starter.guesses_in_words import guesses
from etude.data.starter.schema import infer_schema
from etude.data.starter.task_page import page
from etude.errors import InputError, Issue, quote_value
from etude.task import RowSource

__all__ = ["StarterResult", "infer_fields", "infer_schema", "start"]

MOST_ROWS = 100_000
"""Rows looked at to guess columns."""
PASSED_OVER = frozenset(("empty", "empty_turn", "roles", "tools", "repeated_input"))
"""Kinds of fault of rows beside which the others tell what the task is."""


@dataclass(frozen=True)
class StarterResult:
    """A task file that was written."""

    task_file: Path
    text: str
    guesses: tuple[str, ...]
    """What was guessed and from what, a sentence each."""


def start(path: Path, target: Path | str | None = None, test: Path | None = None) -> StarterResult:
    """Writes a task file for the rows in `path`: to `target`, else to task.yaml beside them.

    Where `target` is a folder, or a text that ends in a slash, the file is task.yaml in that folder, which is
    made if it is not there.

    `test` is a file of the user's own for the test; if its columns have other names, theirs are guessed.

    Rows with empty cells, chats that cannot be learned and copies of a row with its id are left out, and named among
    the guesses.

    Raises InputError when the target is there already, when the rows cannot be read for other reasons (every fault
    of the file) and when it stays unknown which columns are the input and the output.
    """
    check_encoding(path)
    cells = peek_rows(path, MOST_ROWS)
    target, makes_folder = _task_file(path, target)
    _refuse_to_overwrite(target, makes_folder)
    if not cells:
        read_rows(RowSource(path))
    roles = guess_roles(path, cells)
    draft = Draft(_read(roles), target, roles, _of_test(test, roles.source) if test else None)
    text = page(draft)
    if makes_folder:
        target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)
    return StarterResult(target, text, tuple(guesses(draft)))


def _read(roles: Roles) -> Rows:
    """The rows that can be read. Rows with empty cells, chats that cannot be learned and copies with their id are left
    out, for `etude check` to find; any other fault of a row stops."""
    rows = survey_rows(roles.source)
    if not len(rows.examples) or not {fault.kind for fault in rows.faults} <= PASSED_OVER:
        raise_faults(rows.faults, roles.source.file)
    return rows


def _of_test(test: Path, examples: RowSource) -> RowSource:
    """How the test is read: by the columns of the examples if it has them, else by guesses. Raises InputError if it
    cannot be read."""
    check_encoding(test)
    cells = peek_rows(test, MOST_ROWS)
    names = {name for row in cells for name in row}
    same = names.issuperset({*examples.input, examples.output, examples.messages} - {None})
    source = replace(examples, file=test) if same else guess_roles(test, cells).source
    read_rows(source)
    return source


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
        raise InputError([Issue(str(target), "the task file is there already", "", remedy)])
    if not (makes_folder or target.parent.is_dir()):
        remedy = "make the folder first, name another, or end the name in a slash to have a folder made"
        raise InputError([Issue(str(target), "no such folder", quote_value(str(target.parent)), remedy)])
