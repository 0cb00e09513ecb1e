"""`etude test --init`: a suite file with comments, to be filled in by whoever knows what a good answer is."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from etude.base.files import write_text
from etude.data.dataset import load_dataset
from etude.errors import InputError, Issue
from etude.task import load_task

NAME = "suite.yaml"
_PAGE = Path(__file__).with_name("suite_page.yaml.j2")


def start_suite(task_file: Path) -> Path:
    """Writes suite.yaml beside a task file, with one of its rows as an example. Raises InputError if it is there."""
    task, rows = load_dataset(load_task(task_file, needs_model=False))
    file = task.folder / NAME
    if file.exists():
        fault = Issue(str(file), "the file exists", "", "edit it, or move it away first")
        raise InputError([fault])
    example = rows[0]
    page = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    page.filters["quoted"] = partial(json.dumps, ensure_ascii=False)  # which YAML reads too
    text = page.from_string(_PAGE.read_text(encoding="utf-8")).render(
        task=task, example=example, file=task.file.name
    )
    write_text(file, text)
    return file
