"""Rows with a better and a worse answer: the better one is taught, and the worse one is not passed over in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.checks import Findings, check
from etude.checks.preferences import preferences
from etude.cli import main
from etude.errors import InputError
from etude.formats import read_rows
from etude.task import RowSource
from etude.types import Message

SHAPES = ("texts", "chats", "whole chats")


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def row(shape: str, asked: str, better: str, worse: str) -> dict[str, object]:
    """A row as TRL and others write it; in whole chats the question stands in both answers."""
    if shape == "texts":
        return {"rejected": worse, "prompt": asked, "chosen": better}
    answers = {"chosen": better, "rejected": worse}
    if shape == "chats":
        said = {name: [turn("assistant", text)] for name, text in answers.items()}
        return {"prompt": [turn("user", asked)], **said}
    return {name: [turn("user", asked), turn("assistant", text)] for name, text in answers.items()}


def written(folder: Path, shape: str, rows: list[tuple[str, str, str]], columns: str = "") -> Path:
    lines = "".join(json.dumps(row(shape, *each)) + "\n" for each in rows)
    (folder / "rows.jsonl").write_text("\n" + lines, encoding="utf-8")
    (folder / "task.yaml").write_text(
        f"name: t\nkind: answer\nmodel: fake\nexamples: {{file: rows.jsonl{columns}}}\n", encoding="utf-8"
    )
    return folder


def found(folder: Path) -> Findings:
    return check(folder / "task.yaml", [preferences])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_better_answer_is_what_is_taught_whatever_stands_first(shape: str, tmp_path: Path) -> None:
    written(tmp_path, shape, [("Why?", "Because.", "No idea.")])
    rows = read_rows(RowSource(tmp_path / "rows.jsonl"))
    (example,) = rows.examples
    assert (example.input, example.output) == ((Message("user", "Why?"),), "Because.")
    assert "rows.jsonl: the answers in rejected are not taught" in "\n".join(rows.notes)


@pytest.mark.parametrize("shape", SHAPES)
def test_same_and_swapped_answers_are_found_at_their_rows(shape: str, tmp_path: Path) -> None:
    pairs = [(f"Question {n}?", f"Right {n}.", f"Wrong {n}.") for n in range(8)]
    pairs[2] = ("Question 2?", "Right 2.", "right 2")
    pairs += [("question 5", "Wrong 5.", "Right 5."), ("Question 6?", "Right 7.", "Wrong 5.")]
    same, swapped, told = found(written(tmp_path, shape, pairs))
    assert (told.kind, told.numbers) == ("preference", {"rows": 10, "of": 10})
    assert "not rejected" in told.message
    assert (same.kind, same.where) == ("preference_same", ("rows.jsonl:4",))
    assert (swapped.kind, swapped.where) == ("preference_swapped", ("rows.jsonl:7", "rows.jsonl:10"))


def test_records_are_the_same_answer_in_every_order_of_their_members(tmp_path: Path) -> None:
    pairs = [(f"Two of {nr}?", f'{{"nr": {nr}, "num": 2}}', f'{{"num": 2, "nr": {nr}}}') for nr in range(3)]
    task = written(tmp_path, "texts", pairs) / "task.yaml"
    task.write_text(task.read_text(encoding="utf-8").replace("answer", "extract"), encoding="utf-8")
    (same,) = found(tmp_path).of("preference_same")
    assert len(same.where) == 3


def test_rows_without_a_worse_answer_are_left_alone(tmp_path: Path) -> None:
    pairs = [("One?", "", ""), ("Two?", "2", ""), ("Three?", "3", "4")]
    (told,) = found(written(tmp_path, "texts", pairs))
    assert told.numbers == {"rows": 1, "of": 2}


def test_columns_that_the_task_names_stay(tmp_path: Path) -> None:
    written(tmp_path, "texts", [("A?", "b", "c")], ", input: prompt, output: rejected")
    assert not len(found(tmp_path))


def test_answers_without_a_question_are_no_pair_of_input_and_output(tmp_path: Path) -> None:
    rows = [{"chosen": f"Human: a{n} b c d\n\nAssistant: e", "rejected": f"Human: f{n}"} for n in range(9)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    with pytest.raises(InputError, match="write it in a column prompt"):
        read_rows(RowSource(tmp_path / "rows.jsonl"))
    assert main(["init", str(tmp_path / "rows.jsonl")]) == 2
