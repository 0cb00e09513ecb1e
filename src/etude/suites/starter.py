"""`etude test --init`: write a suite file with comments, for anybody who knows what a good answer is."""

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


def write_suite_file(task_file: Path) -> Path:
    """Write suite.yaml next to a task file, with one of its rows as an example. Raises InputError if it exists."""
    task, rows = load_dataset(load_task(task_file, needs_model=False))
    file = task.folder / NAME
    if file.exists():
        raise InputError([Issue(str(file), "the file already exists", "", "edit it, or move it away first")])
    page = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    page.filters["quoted"] = partial(json.dumps, ensure_ascii=False)  # JSON strings are valid YAML
    template = page.from_string(_PAGE.read_text(encoding="utf-8"))
    write_text(file, template.render(task=task, example=rows[0], file=task.file.name))
    return file
