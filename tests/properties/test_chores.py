"""The chores that hold in CI: the limits on time, and skipped tests that nobody overlooks."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.real
@pytest.mark.skipif(shutil.which("timeout") is None, reason="no timeout(1); to run: install GNU coreutils")
@pytest.mark.parametrize(
    ("suite", "limit", "passes", "told"),
    [
        ("true", 100, True, r"make real took \d+ s\."),
        ("sleep 1.1", 0, False, r"make test took \d+ s\.\nThe default tests are to stay under 0 s"),
        ("sleep 60", 1, False, r"make test was stopped at its limit of 2 s\."),
        ("exit 7", 100, False, r"make test took \d+ s\.$"),
    ],
)
def test_ci_fails_where_the_default_tests_take_too_long(
    tmp_path: Path, suite: str, limit: int, passes: bool, told: str
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    makefile = f".venv/.installed check real:\n\t@true\ntest:\n\t@{suite}\n"
    (tmp_path / "Makefile").write_text(makefile, encoding="utf-8")
    result = subprocess.run(
        ["bash", tmp_path / ".ci" / "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "TEST_LIMIT": str(limit), "TEST_KILLED_AT": "2"},
    )
    assert re.search(told, result.stdout.rstrip())
    assert (result.returncode == 0) == passes


def test_the_end_of_a_test_run_names_every_kind_of_skip_and_how_to_run_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "import pytest\nfrom conftest import data_folder\n"
        "@pytest.mark.real\n@pytest.mark.parametrize('n', range(3))\ndef test_long(n): ...\n"
        "def test_data(): data_folder('books')\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, tmp_path]
    environment = {**os.environ, "ETUDE_DATA": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stdout
    assert "   3 tests: needs the packaged model or over a second; to run: make real\n" in result.stdout
    assert "   1 test: no real data set 'books'; to run: set ETUDE_DATA" in result.stdout


def test_every_skip_says_how_to_run_it() -> None:
    for file in sorted((ROOT / "tests").glob("*.py")):
        if file != Path(__file__):
            calls = [
                node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)
            ]
            skips = [
                ast.unparse(call) for call in calls if re.search(r"\bskip(if)?$", ast.unparse(call.func))
            ]
            assert all("to run: " in text for text in skips), f"{file.name}: {skips}"
