"""Where a report goes: a file, or through a device, a pipe or a link."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from etude.base.files import write_text
from etude.errors import InputError, Issue, quote_value
from etude.task import Task

_OPEN_FILE = re.compile(r"/dev/(?:stdout|stderr|fd/\d+)|/proc/(?:self|\d+)/fd/\d+")
"""Paths that name an open file of a process."""


def check_output(task: Task, output: Path | None) -> None:
    """Raises InputError if a report would overwrite a file of the task, or if the path is a folder."""
    if output is None or not output.exists():
        return
    if fault := _fault(task, output):
        raise InputError([Issue("--output", *fault)])


def _fault(task: Task, output: Path) -> tuple[str, str, str] | None:
    """(what is wrong, the value, what to do)."""
    sources = (task.examples, task.test)
    own = [task.file, *(source.file for source in sources if source), task.check and task.check.file]
    name = quote_value(str(output))
    if output.is_dir():
        return "a folder, not a file", name, "name a file in it, such as check.html"
    if output.resolve() in {path.resolve() for path in own if path}:
        remedy = "name another file, such as check.html"
        return "the report would overwrite a file of the task", name, remedy
    return None


def is_written_through(output: Path) -> bool:
    """Whether the path is written to rather than replaced: a device, a pipe, an open file."""
    if not output.exists():
        return False
    return bool(_OPEN_FILE.fullmatch(str(output.absolute()))) or not stat.S_ISREG(output.stat().st_mode)


def write_output(output: Path, text: str) -> None:
    """Writes a report; for a symbolic link, to its target. Raises OSError."""
    if is_written_through(output):
        with output.open("ab") as stream:
            stream.write(text.encode())
    else:
        write_text(output.resolve(), text)
