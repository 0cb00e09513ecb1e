"""Test rows answered again by what was exported, or by another engine."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from etude.assistant import load
from etude.cli import main
from etude.errors import RunError
from etude.export import retest
from etude.runs import Run
from real_runs import real_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with its task, which may be changed."""
    made = real_run()
    shutil.copytree(made.parents[1], tmp_path / "task")
    return Run(tmp_path / "task" / "runs" / made.name)


def test_the_same_weights_lose_nothing(run: Run) -> None:
    assistant = load(run.assistant("few_shot"))
    found = retest(run, assistant, assistant.model)
    num = sum(line["side"] == "test" for line in run.predictions("few_shot"))
    assert (found.before, found.difference.value, found.equal, found.difference.n) == (
        found.after,
        0.0,
        num,
        num,
    )
    assert not found.loses
    assert retest(run, assistant, assistant.model, 20).difference.n == 20


def test_a_wrong_prompt_is_caught(run: Run) -> None:
    assistant = load(run.assistant("few_shot"))
    found = retest(run, replace(assistant, shots=()), assistant.model)
    assert found.loses
    assert found.difference.high < 0
    assert f"{found.equal} answers equal" in found.sentence


def test_rows_that_have_changed_are_not_answered(run: Run) -> None:
    task = run.folder.parents[1]
    (task / "examples.jsonl").write_text(
        (task / "examples.jsonl").read_text().replace("Title: ", "Title: The ")
    )
    assistant = load(run.assistant("few_shot"))
    with pytest.raises(RunError, match="have changed"):
        retest(run, assistant, assistant.model)


def test_the_command_checks_an_engine(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(run.folder), "--check"]) == 0
    assert "answers equal." in capsys.readouterr().out
