"""Write the generated parts of the documentation: the help of every command, and the map of the packages.

`python tools/docs.py --check` writes nothing and fails if a page is not what it would write.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT / "tests"))

from test_structure import ORDER  # noqa: E402 - the order of imports, which that test checks

DOCS, ROOT = PROJECT / "docs", PROJECT / "src" / "etude"
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


def architecture(page: str) -> str:
    """The page of the architecture with its map: every package, in the order of imports, and what it says it holds."""
    rows = []
    for unit in ORDER:
        rows += (
            [(f"{unit}.py", ROOT / f"{unit}.py")] if (ROOT / f"{unit}.py").exists() else folders(ROOT / unit)
        )
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:{width}}{first_sentence(path)}" for name, path in rows]
    tree = "\n".join(("<!-- map -->", "```text", *lines, "```", "<!-- /map -->"))
    return re.sub("<!-- map -->.*?<!-- /map -->", lambda _: tree, page, flags=re.DOTALL)


def folders(package: Path) -> list[tuple[str, Path]]:
    """A package and its inner packages: name as shown, and the file that says what it holds."""
    inner = sorted(path.parent for path in package.glob("*/__init__.py"))
    rows = [(f"{package.name}/", package), *((f"  {folder.name}/", folder) for folder in inner)]
    return [(name, folder / "__init__.py") for name, folder in rows]


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring, without its full stop."""
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"\.(?:\s|$)|\n\n", doc, maxsplit=1)[0].replace("\n", " ")


WRITERS: Mapping[str, Callable[[str], str]] = {"commands.md": commands, "architecture.md": architecture}
"""Page -> what makes the page from the page as it is."""


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
