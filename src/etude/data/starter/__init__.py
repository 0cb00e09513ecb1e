"""The first task file, guessed from a file of examples.

The reason for every guess is in the file and is returned to the caller. At least 95% of the rows keep the guessed
contract; the guess reports which do not. The answers of rows that the split will put into the test are not read.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etude.base.files import write_text
from etude.base.issues import raise_issues
from etude.data.formats import check_encoding, peek_rows, read_rows, survey_rows
from etude.data.formats.columns import list_names
from etude.data.starter.draft import TaskDraft, infer_fields, infer_schema
from etude.data.starter.guess_columns import guess_roles
from etude.data.starter.guess_notes import list_guesses
from etude.data.starter.match_columns import match_columns
from etude.data.starter.task_text import render_task_file
from etude.errors import InputError, Issue, quote_value
from etude.task import RowSource

__all__ = ["StarterResult", "infer_fields", "infer_schema", "write_starter"]

MAX_ROWS = 100_000  # rows from which columns are guessed
# Kinds of error whose rows are left out, because the other rows are enough to guess the task.
SKIPPED_KINDS = frozenset(("empty", "empty_turn", "roles", "tools", "repeated_input"))


@dataclass(frozen=True)
class StarterResult:
    """A task file that was written."""

    task_file: Path
    text: str
    guesses: tuple[str, ...]  # what was guessed and why, one sentence each


def write_starter(path: Path, target: Path | str | None = None, test: Path | None = None) -> StarterResult:
    """Writes a task file for the rows in `path`: to `target`, else to task.yaml next to them.

    If `target` is a folder, or a text that ends in a slash, the file is task.yaml in that folder, which is created if
    it does not exist.

    `test` is the user's own test file; if its columns have other names, they are guessed too.

    Rows with empty cells, chats that cannot be trained on, and copies of a row that also have its id are left out. They
    are listed among the guesses, so that `etude check` can repair them.

    Raises InputError if the target exists, if rows cannot be read for other reasons (with every error of the file), and
    if the columns of the input and the output are unknown.
    """
    # Refuse early: another encoding would make every guess wrong, and nothing is overwritten.
    check_encoding(path)
    cells = peek_rows(path, MAX_ROWS)
    target, makes_folder = _choose_target(path, target)
    if not cells:  # raises the error of a file without rows
        read_rows(RowSource(path))
    roles = guess_roles(path, cells)
    rows = survey_rows(roles.source)
    if not len(rows.examples) or not {issue.kind for issue in rows.issues} <= SKIPPED_KINDS:
        raise_issues(rows.issues, path)
    # Kind, contract and texts are guessed when the template asks for them.
    draft = TaskDraft(rows, target, roles, _read_test_columns(test, roles.source, cells) if test else None)
    text = render_task_file(draft)
    if makes_folder:
        target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)
    return StarterResult(target, text, tuple(list_guesses(draft)))


def _read_test_columns(
    test: Path, examples: RowSource, example_cells: Sequence[Mapping[str, Any]]
) -> RowSource:
    """The columns of the test: the same as in the examples if it has them, else columns with the same content, else
    guesses. Raises InputError if the test cannot be read."""
    check_encoding(test)
    cells = peek_rows(test, MAX_ROWS)
    has_same = {*list_names(cells)} >= {*examples.input, examples.output, examples.messages} - {None}
    has_same = has_same or bool(examples.questions)
    source = replace(examples, file=test) if has_same else match_columns(examples, example_cells, test, cells)
    source = source or guess_roles(test, cells).source
    read_rows(source)
    return source


def _choose_target(rows: Path, target: Path | str | None) -> tuple[Path, bool]:
    """The file to write, and whether its folder is to be created. Raises InputError if it cannot be written there."""
    makes_folder = target is not None and str(target).endswith(("/", os.sep))
    file = rows.with_name("task.yaml") if target is None else Path(target)
    if target is not None and (makes_folder or file.is_dir()):
        file = file / "task.yaml"
    if file.exists():
        remedy = "delete it, write to another file with --output FILE, or continue with etude compare"
        raise InputError([Issue(str(file), "the task file already exists", "", remedy)])
    if not (makes_folder or file.parent.is_dir()):
        remedy = "create the folder first, choose another one, or end the path with a slash to create it"
        raise InputError([Issue(str(file), "no such folder", quote_value(str(file.parent)), remedy)])
    return file, makes_folder
