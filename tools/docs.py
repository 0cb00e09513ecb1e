"""Writes the generated pages of the documentation: the help of every command, the methods and the model backends.

`python tools/docs.py --check` writes nothing and fails when a page is not as it would be written.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from etude.methods import LADDER, Method
from etude.models.backend import CAPABILITIES
from etude.models.registry import BACKENDS

DOCS = Path(__file__).parents[1] / "docs"
COMMANDS = (
    *("", "init", "check", "compare", "train", "chat"),
    *("runs", "runs list", "runs show", "runs compare"),
)
INTRODUCTION = """# Commands

Written by `make docs` from the commands' own help. Exit codes: 0 good, 1 the target was missed under
`--gate`, something was found under `--fail-on`, or you said no, 2 the input is wrong, 3 a bug of ours, 130
stopped by Ctrl-C (torchrun's own code is then 1).
"""


METHODS = """# Methods and models

Written by `make docs` from what methods and model backends say about themselves.

## Methods

Lowest step first. Every method takes the rows, the contract, `kind`, `instructions`, `max_tokens` and `seed`; the
last column names the other keys of the [task file](task-file.md) that it takes. How to write one:
[a method of your own](python.md).

"""
BACKENDS_HEAD = """
## Model backends

The name under `model:` decides which backend answers. What each can do:

"""


def main() -> None:
    """Writes the pages, or compares them."""
    for name, text in {"commands.md": commands(), "methods.md": methods()}.items():
        page = DOCS / name
        if "--check" not in sys.argv:
            page.write_text(text, encoding="utf-8")
        elif not page.exists() or page.read_text(encoding="utf-8") != text:
            sys.exit(f"{page} is not what the code says. Run: make docs")


def commands() -> str:
    """The page of commands."""
    parts = [INTRODUCTION]
    for command in COMMANDS:
        name = f"etude {command}".strip()
        parts.append(f"## {name}\n\n```text\n{help_of(command)}\n```\n")
    return "\n".join(parts)


def methods() -> str:
    """The page of methods and backends."""
    steps = [
        (f"`{each.name}`", each.label, summary(each), yes(each.asks_model), yes(each.tuned), keys(each))
        for each in LADDER
    ]
    titles = ("method", "in reports", "what it does", "asks a language model", "changes weights", "keys")
    backends = [
        (each.name, each.names, *(yes(capability in each.can) for capability in CAPABILITIES))
        for each in BACKENDS
    ]
    tables = table(titles, steps), table(("backend", "names", *CAPABILITIES.values()), backends)
    return f"{METHODS}{tables[0]}{BACKENDS_HEAD}{tables[1]}"


def summary(method: Method) -> str:
    """The first paragraph of a method's docstring, on one line."""
    return " ".join((method.__doc__ or "").partition("\n\n")[0].split())


def keys(method: Method) -> str:
    """Keys of the task file, as code."""
    return ", ".join(f"`{key}`" for key in method.keys)


def yes(flag: bool) -> str:
    """A cell of a table."""
    return "yes" if flag else ""


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def help_of(command: str) -> str:
    """The help of a command at a width of 90, without trailing white space."""
    words = [sys.executable, "-m", "etude.cli", *command.split(), "--help"]
    environment = {**os.environ, "COLUMNS": "90", "NO_COLOR": "1"}
    text = subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


if __name__ == "__main__":
    main()
