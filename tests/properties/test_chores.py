"""The chores that hold in CI: what .ci/run prints, and skipped tests that nobody overlooks."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("suite", "status"), [("true", 0), ("exit 7", 2)])
def test_ci_prints_the_seconds_of_the_tests_and_fails_if_they_fail(
    tmp_path: Path, suite: str, status: int
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
    )
    assert re.search(
        r"make test DURATIONS=10 took \d+ s, \d+ \+ \d+ processor seconds", result.stdout
    )
    assert result.returncode == status


def test_the_end_of_a_test_run_names_every_kind_of_skip_and_how_to_run_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "import pytest\nfrom conftest import data_folder\n"
        "@pytest.mark.real\n@pytest.mark.parametrize('n', range(3))\ndef test_long(n): ...\n"
        "def test_data(): data_folder('books')\n",
        encoding="utf-8",
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        ROOT / "pyproject.toml",
        "--rootdir",
        tmp_path,
        tmp_path,
    ]
    environment = {**os.environ, "ETUDE_DATA": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stdout
    assert (
        "   3 tests: needs the packaged model or over a second; to run: make real\n"
        in result.stdout
    )
    assert "   1 test: no real data set 'books'; to run: set ETUDE_DATA" in result.stdout


def test_every_skip_says_how_to_run_it() -> None:
    for file in sorted((ROOT / "tests").glob("*.py")):
        if file != Path(__file__):
            calls = [
                node
                for node in ast.walk(ast.parse(file.read_text("utf-8")))
                if isinstance(node, ast.Call)
            ]
            skips = [
                ast.unparse(call)
                for call in calls
                if re.search(r"\bskip(if)?$", ast.unparse(call.func))
            ]
            assert all("to run: " in text for text in skips), f"{file.name}: {skips}"
