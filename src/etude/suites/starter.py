"""`etude test --init`: write a suite file with comments, for anybody who knows what a good answer
is.
"""

import json
from functools import partial
from pathlib import Path

from etude.base.files import write_text
from etude.base.issues import refuse_existing
from etude.base.pages import create_environment
from etude.data.dataset import load_dataset
from etude.task import load_task

NAME = "suite.yaml"


def write_suite_file(task_file: Path) -> Path:
    """Write suite.yaml next to a task file, with one of its rows as an example. Raises InputError
    if it exists.
    """
    task, rows = load_dataset(load_task(task_file, needs_model=False))
    file = task.folder / NAME
    refuse_existing(file, "edit it, or move it away first")
    templates = create_environment(Path(__file__).parent, autoescape=False)
    templates.filters["quoted"] = partial(
        json.dumps, ensure_ascii=False
    )  # JSON strings are valid YAML
    template = templates.get_template("suite_page.yaml.j2")
    write_text(file, template.render(task=task, example=rows[0], file=task.file.name))
    return file
