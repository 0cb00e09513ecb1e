"""Writes the generated page of the documentation: the help of every command, word for word.

`python tools/docs.py --check` writes nothing and fails when the page is not as it would be written.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
COMMANDS = (
    *("", "init", "check", "compare", "train", "chat"),
    *("runs", "runs list", "runs show", "runs compare"),
)
INTRODUCTION = """# Commands

Written by `make docs` from the commands' own help. Exit codes: 0 good, 1 the target was missed under
`--gate`, something was found under `--fail-on`, or you said no, 2 the input is wrong, 3 a bug of ours, 130
stopped by Ctrl-C (torchrun's own code is then 1).
"""


def main() -> None:
    """Writes the page, or compares it."""
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != text:
        sys.exit(f"{PAGE} is not what the commands say. Run: make docs")


def page() -> str:
    """The whole page."""
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


if __name__ == "__main__":
    main()
