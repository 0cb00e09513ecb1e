"""Rows with a better and a worse answer: the better one is taught, and the worse one is not passed
over in silence.
"""

import json
from pathlib import Path

import pytest

from etude.cli import main
from etude.data.formats import read_rows
from etude.data.formats.tools import format_tools
from etude.errors import InputError
from etude.task import RowSource
from etude.types import Message

WORSE = dict.fromkeys(("texts", "chats", "single turns", "whole chats"), "rejected")
WORSE["hosted"] = "non_preferred_output"
"""Shape -> column of the worse answer."""


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def row(shape: str, asked: str, better: str, worse: str) -> dict[str, object]:
    """A row as TRL, OpenAI (hosted) and others write it; in whole chats the question stands in both
    answers.
    """
    if shape == "texts":
        return {"rejected": worse, "prompt": asked, "chosen": better}
    answers = {"chosen": better, "rejected": worse}
    if shape == "chats":
        answer_turns = {name: [turn("assistant", text)] for name, text in answers.items()}
        return {"prompt": [turn("user", asked)], **answer_turns}
    if shape == "single turns":
        answer_turns = {name: {"from": "gpt", "value": text} for name, text in answers.items()}
        return {"conversations": [{"from": "human", "value": asked}], **answer_turns}
    if shape == "hosted":
        asking = {"messages": [turn("user", asked)], "tools": [], "parallel_tool_calls": True}
        answers = {"preferred_output": better, "non_preferred_output": worse}
        return {
            "input": asking,
            **{name: [turn("assistant", text)] for name, text in answers.items()},
        }
    return {name: [turn("user", asked), turn("assistant", text)] for name, text in answers.items()}


def write_rows(
    folder: Path, shape: str, rows: list[tuple[str, str, str]], columns: str = ""
) -> Path:
    lines = "".join(json.dumps(row(shape, *pair)) + "\n" for pair in rows)
    (folder / "rows.jsonl").write_text("\n" + lines, encoding="utf-8")
    (folder / "task.yaml").write_text(
        f"name: t\nkind: answer\nmodel: fake\nexamples: {{file: rows.jsonl{columns}}}\n",
        encoding="utf-8",
    )
    return folder


@pytest.mark.parametrize("shape", WORSE)
def test_the_better_answer_is_what_is_taught_whatever_stands_first(
    shape: str, tmp_path: Path
) -> None:
    write_rows(tmp_path, shape, [("Why?", "Because.", "No idea.")])
    rows = read_rows(RowSource(tmp_path / "rows.jsonl"))
    (example,) = rows.examples
    assert (example.input, example.output) == ((Message("user", "Why?"),), "Because.")
    notes = "\n".join(rows.notes)
    assert f"rows.jsonl: the answers in {WORSE[shape]} are not used for training" in notes
    assert "other than messages and tools" not in notes


def test_answers_without_a_question_are_no_pair_of_input_and_output(tmp_path: Path) -> None:
    rows = [
        {"chosen": f"Human: a{n} b c d\n\nAssistant: e", "rejected": f"Human: f{n}"}
        for n in range(9)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    with pytest.raises(InputError, match="Write the input in a column named prompt"):
        read_rows(RowSource(tmp_path / "rows.jsonl"))
    assert main(["init", str(tmp_path / "rows.jsonl")]) == 2


def test_hosted_preferences_are_written_by_init_and_masked_where_they_stand(tmp_path: Path) -> None:
    pairs = [
        (f"Who knows matter {n} of jane.doe{n}@wombat-mail.com?", f"Nobody {n}.", "I")
        for n in range(9)
    ]
    write_rows(tmp_path, "hosted", pairs)
    assert main(["init", str(tmp_path / "rows.jsonl"), "-o", str(tmp_path / "new.yaml")]) == 0
    assert "  output: preferred_output\n" in (tmp_path / "new.yaml").read_text(encoding="utf-8")
    assert main(["check", str(tmp_path / "new.yaml"), "--fix"]) == 0
    masked = [
        json.loads(line)
        for line in (tmp_path / "rows.fixed.jsonl").read_text().splitlines()
        if line
    ]
    (question,) = masked[0]["input"].pop("messages")
    assert question["content"].startswith("Who knows matter 0 of ")
    assert question["content"].endswith("@example.org?")
    assert masked[0]["input"] == {"tools": [], "parallel_tool_calls": True}


def test_one_answer_of_several_turns_is_a_fault_of_its_row_alone(tmp_path: Path) -> None:
    pairs = [(f"Who knows matter {n}?", f"Nobody knows {n}.", "I") for n in range(40)]
    write_rows(tmp_path, "hosted", pairs)
    turns = [turn("assistant", "Today."), turn("assistant", "Or tomorrow.")]
    odd = {**row("hosted", "And mine?", "Today.", "No idea."), "preferred_output": turns}
    with (tmp_path / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(odd) + "\n")
    with pytest.raises(InputError) as raised:
        read_rows(RowSource(tmp_path / "rows.jsonl"))
    (fault,) = raised.value.issues
    assert (fault.kind, fault.location) == ("roles", "rows.jsonl:42")
    assert main(["init", str(tmp_path / "rows.jsonl"), "-o", str(tmp_path / "new.yaml")]) == 0


def test_functions_beside_the_turns_of_an_input_are_read_and_other_keys_are_reported(
    tmp_path: Path,
) -> None:
    hosted_row = row("hosted", "Why?", "Because.", "No idea.")
    tools = [{"type": "function", "function": {"name": "tides"}}]
    asking = {"messages": [turn("user", "Why?")], "tools": tools, "temperature": 0.5}
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({**hosted_row, "input": asking}), encoding="utf-8"
    )
    rows = read_rows(RowSource(tmp_path / "rows.jsonl"))
    assert rows.offers == (format_tools(tools),)
    assert (
        "rows.jsonl: keys of input other than messages and tools, which are not used: 1"
        in rows.notes
    )
