"""Test rows answered again by what was exported, or by another engine."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from etude.assistant import Assistant, load
from etude.cli import main
from etude.cli.exporting import check_loss
from etude.comparison import compare
from etude.errors import RunError
from etude.export import export_weights, measure_loss
from etude.runs import Run
from etude.types import ModelRef
from real_runs import real_run
from small_task import SETTINGS, rows, write_json_lines, write_task
from tiny import save_tiny_model


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with its task, which may be changed."""
    made = real_run()
    shutil.copytree(made.parents[1], tmp_path / "task")
    return Run(tmp_path / "task" / "runs" / made.name)


def test_the_same_weights_lose_nothing(run: Run) -> None:
    assistant = load(run.assistant_folder("few_shot"))
    found = measure_loss(run, assistant, assistant.model)
    num = sum(line["side"] == "test" for line in run.read_predictions("few_shot"))
    assert found.score_before == found.score_after
    assert (found.difference.value, found.num_equal, found.difference.n) == (0.0, num, num)
    assert not found.is_worse
    assert measure_loss(run, assistant, assistant.model, 20).difference.n == 20


def test_a_wrong_prompt_is_caught(run: Run) -> None:
    assistant = load(run.assistant_folder("few_shot"))
    found = measure_loss(run, replace(assistant, shots=()), assistant.model)
    assert found.is_worse
    assert found.difference.high < 0
    assert f"{found.num_equal} answers equal" in found.sentence


@pytest.mark.real
def test_a_template_that_was_swapped_is_caught(tmp_path: Path) -> None:
    """A model's own answers are the right ones, so that it scores 100% until something is changed
    on the way.
    """
    pytest.importorskip("torch")
    model = save_tiny_model(tmp_path / "model", max_position_embeddings=1024)
    own = Assistant("prompt", "answer", ModelRef(str(model)), "Say what fits.", max_tokens=6)
    asked = [str(row["input"]) for row in rows("answer", 110)]
    answers = [answer.text for answer in own.answer(asked)]
    lines = [
        {"input": text, "output": answer}
        for text, answer in zip(asked, answers, strict=True)
        if "\0" not in answer
    ]
    task = write_task(
        tmp_path / "task", "answer", str(model), more="methods: [prompt]\nmax_tokens: 6\n"
    )
    text = task.read_text().replace("You are a librarian. ", "")
    task.write_text(text.replace(SETTINGS["answer"], ""))
    write_json_lines(task.parent / "examples.jsonl", lines)
    run = compare(task).run
    assistant = load(run.assistant_folder("prompt"))
    written = export_weights(assistant, "merged", tmp_path / "merged")
    assert written.model
    found = measure_loss(run, assistant, written.model)
    assert (found.difference.value, found.num_equal) == (0.0, found.difference.n)
    template = tmp_path / "merged" / "chat_template.jinja"
    template.write_text(
        template.read_text().replace("<|im_start|>", "### ").replace("<|im_end|>", "")
    )
    swapped = measure_loss(run, assistant, written.model)
    assert swapped.is_worse
    assert swapped.difference.high < 0


def test_rows_that_have_changed_are_not_answered(run: Run) -> None:
    task = run.folder.parents[1]
    (task / "examples.jsonl").write_text(
        (task / "examples.jsonl").read_text().replace("Title: ", "Title: The ")
    )
    assistant = load(run.assistant_folder("few_shot"))
    with pytest.raises(RunError, match="have changed"):
        measure_loss(run, assistant, assistant.model)


def test_an_export_of_a_training_has_no_test_to_lose(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.update(command="train")
    check_loss(run.folder, load(run.assistant_folder("prompt")), ModelRef("fake"), None)
    assert "was not measured" in capsys.readouterr().out


def test_the_command_checks_an_engine(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(run.folder), "--check"]) == 0
    assert "answers equal." in capsys.readouterr().out
