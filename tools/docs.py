"""Writes the generated parts of the documentation: the help of every command, and the kinds of finding.

`python tools/docs.py --check` writes nothing and fails if a page is not what it would write.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from etude.checks import CHECKS
from etude.checks.record import ALL, SEVERITIES, FindingKind

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


def commands(_: str) -> str:
    """The page of commands."""
    parts = [INTRODUCTION]
    for command in COMMANDS:
        name = f"etude {command}".strip()
        parts.append(f"## {name}\n\n```text\n{help_of(command)}\n```\n")
    return "\n".join(parts)


def help_of(command: str) -> str:
    """The help of a command at a width of 90, without trailing white space."""
    words = [sys.executable, "-m", "etude.cli", *command.split(), "--help"]
    environment = {**os.environ, "COLUMNS": "90", "NO_COLOR": "1"}
    text = subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def checks(page: str) -> str:
    """The page of checks with its table of kinds: a row for kinds of one name, or of one description and family."""
    rows: dict[str, list[tuple[FindingKind, tuple[str, ...]]]] = {}
    for check in CHECKS:
        for kind in check.kinds:
            alike = sum(kind.what == other.what for other in check.kinds) > 1
            name = f"{kind.name.partition('_')[0]}_*" if alike else kind.name
            rows.setdefault(name, []).append((kind, check.tasks))
    head = ("kind", "severity", "what it names", "tasks", "`--fix`")
    return with_table(page, "kinds", head, [_kind_row(name, found) for name, found in rows.items()])


def _kind_row(name: str, found: list[tuple[FindingKind, tuple[str, ...]]]) -> tuple[str, ...]:
    kinds, tasks = zip(*found, strict=True)
    severities = ", ".join(one for one in SEVERITIES if any(one in kind.severity for kind in kinds))
    looked_at = [kind for kind in ALL if any(kind in each for each in tasks)]
    where = "all" if len(looked_at) == len(ALL) else ", ".join(looked_at)
    return (f"`{name}`", severities, kinds[0].what, where, "yes" if kinds[0].fixable else "")


def with_table(page: str, name: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """The page with a table between its marks `<!-- name -->` and `<!-- /name -->`."""
    body = [head, tuple("---" for _ in head), *rows]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in body]
    table = "\n".join((f"<!-- {name} -->", *lines, f"<!-- /{name} -->"))
    found = re.compile(f"<!-- {name} -->.*?<!-- /{name} -->", re.DOTALL)
    assert found.search(page), f"no marks of {name}"
    return found.sub(lambda _: table, page)


WRITERS: Mapping[str, Callable[[str], str]] = {"commands.md": commands, "checks.md": checks}
"""Page -> what makes the page of the page as it is."""


def main() -> None:
    """Writes the pages, or compares them."""
    for name, write in WRITERS.items():
        page = DOCS / name
        before = page.read_text(encoding="utf-8")
        after = write(before)
        if "--check" not in sys.argv:
            page.write_text(after, encoding="utf-8")
        elif after != before:
            sys.exit(f"{page} is not what the code says. Run: make docs")


if __name__ == "__main__":
    main()
