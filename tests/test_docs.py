"""Documentation that fails when it lies: examples run, help is as printed, every error has its words."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from etude import errors
from small_task import write_task

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_of_the_docs_runs(file: Path, tmp_path: Path) -> None:
    task = write_task(tmp_path)
    result = subprocess.run([sys.executable, file, task], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    command = [sys.executable, ROOT / "tools" / "docs.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_file_the_docs_link_to_exists() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}, which is not there"


def test_every_error_stands_in_the_docs() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    names = [
        name for name, value in vars(errors).items() if getattr(value, "__module__", "") == errors.__name__
    ]
    names = [name for name in names if name[0].isupper()]
    assert not [name for name in names if f"`{name}`" not in text]


def test_the_pages_example_is_the_file_that_runs() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for file in EXAMPLES:
        body = file.read_text(encoding="utf-8").partition('"""\n\n')[2].strip()
        assert body in page, f"docs/python.md does not hold {file.name} word for word"
