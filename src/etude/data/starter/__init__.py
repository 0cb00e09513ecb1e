"""The first task file, guessed from a file of examples.

The reason for every guess is in the file and is returned to the caller. At least 95% of the rows
keep the guessed contract; the guess reports which do not. The answers of rows that the split will
put into the test are not read.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from etude.base.files import write_text
from etude.base.formatting import format_command
from etude.base.issues import raise_issues
from etude.data.formats import peek_rows, read_rows, survey_rows
from etude.data.starter.draft import TaskDraft, infer_fields, infer_schema
from etude.data.starter.guess_columns import Choose, guess_roles
from etude.data.starter.guess_notes import list_guesses
from etude.data.starter.local_models import ModelProposal, find_local_models
from etude.data.starter.task_text import render_task_file
from etude.errors import InputError
from etude.task import RowSource
from etude.task.definition import is_row_file

NUM_MAIN = 5  # guesses on input, output, kind, test and metric
MAX_ROWS = 100_000  # rows from which columns are guessed
# Kinds of error whose rows are left out, because the other rows are enough to guess the task.
SKIPPED_KINDS = frozenset(("empty", "empty_turn", "roles", "tools", "repeated_input"))


@dataclass(frozen=True)
class StarterResult:
    """A task file that was written."""

    task_file: Path
    text: str
    guesses: tuple[str, ...]
    """What was guessed and why, one sentence each; the first NUM_MAIN are on input, output, kind,
    test and metric.
    """
    proposals: tuple[str, ...] = ()
    """What was not set, but could be, one sentence each."""


def write_starter(
    path: Path | RowSource,
    target: Path | str | None = None,
    test: Path | None = None,
    *,
    choose: Choose | None = None,
    local_models: Sequence[ModelProposal] = (),
) -> StarterResult:
    """Writes a task file for the rows in `path`: to `target`, else to task.yaml next to them.

    `path` may be a RowSource with the columns that are known. If `target` is a folder, or a text
    that ends in a slash, the file is task.yaml in that folder. A folder that does not exist is
    created. `test` is the user's own test file, with the same columns. `choose` asks the user which
    of several columns is the input or the output. `local_models` are proposed as `prompt_model:` in
    a comment.

    Rows with empty cells, chats that cannot be trained on, and copies of a row that also have its
    id are left out. They are listed among the guesses, so that `etude check` can repair them.

    Raises InputError if the target exists, if rows cannot be read for other reasons (with every
    error of the file), and if the columns of the input and the output are unclear and there is no
    `choose`.
    """
    source = path if isinstance(path, RowSource) else RowSource(path)
    cells = peek_rows(source.file, MAX_ROWS)
    target = _choose_target(source.file, target)
    if not cells:  # raises the error of a file without rows
        read_rows(source)
    roles = guess_roles(source, cells, choose)
    rows = survey_rows(roles.source)
    if not len(rows.examples) or not {issue.kind for issue in rows.issues} <= SKIPPED_KINDS:
        raise_issues(rows.issues, source.file)
    num_test_rows = len(read_rows(replace(roles.source, file=test)).examples) if test else 0
    # Kind, contract and texts are guessed when the template asks for them.
    draft = TaskDraft(rows, target, roles, test, num_test_rows)
    text = render_task_file(draft, local_models)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)
    proposals = tuple(
        f"{model.server} on this machine has {model.name}. To also compare prompts on it, remove "
        f"the # before its prompt_model: in {target.name}."
        for model in local_models
    )
    return StarterResult(target, text, tuple(list_guesses(draft)), proposals)


def open_task_file(
    path: Path, choose: Choose | None = None, budget: str = ""
) -> tuple[Path, list[str]]:
    """The task file for a file of rows, and lines about it: the one beside it whose examples are
    these rows, or a new one with this budget. Any other path is returned as it is. Raises
    InputError as `write_starter`.
    """
    if not is_row_file(path):
        return path, []
    if task_file := find_task_file(path):
        return task_file, [f"{task_file.name} is used, the task file beside {path.name}"]
    result = write_starter(
        RowSource(path, skip_empty=True), choose=choose, local_models=find_local_models()
    )
    lines = [f"  {guess}" for guess in result.guesses[:NUM_MAIN]]
    if budget:  # the same command without --budget then continues the run
        text = result.task_file.read_text(encoding="utf-8")
        result.task_file.write_text(
            text.replace("budget: 15m", f"budget: {budget}"), encoding="utf-8"
        )
    return result.task_file, [
        f"Guessed from {path.name}, and written to {result.task_file.name} with comments:",
        *lines,
        *result.proposals,
    ]


def find_task_file(rows: Path) -> Path | None:
    """Find the task file beside a file of rows whose examples are these rows."""
    files = (rows.with_name("task.yaml"), *sorted(rows.parent.glob("*.yaml")))
    return next((file for file in files if _read_examples(file) == rows.resolve()), None)


def _read_examples(task_file: Path) -> Path | None:
    try:
        examples = yaml.safe_load(task_file.read_text(encoding="utf-8"))["examples"]
        name = examples["file"] if isinstance(examples, dict) else examples
        return Path(task_file.parent, name).resolve()
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None


def _choose_target(rows: Path, target: Path | str | None) -> Path:
    file = Path(rows.parent if target is None else target)
    if target is None or str(target).endswith(("/", os.sep)) or file.is_dir():
        file = file / "task.yaml"
    if file.exists():
        command = f"{format_command('init', rows)} --output FILE"
        remedy = (
            f"write another one with {command}, or continue with {format_command('compare', file)}"
        )
        raise InputError.of(str(file), "the task file already exists", "", remedy)
    return file
