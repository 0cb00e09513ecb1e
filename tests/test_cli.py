"""The command line: what it says, to whom, and on which terminals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.cli import main
from etude.compare import compare
from etude.compare.events import Event, Said
from small_task import rows, write_task


def test_notes_on_the_test_file_are_told_and_kept_like_those_on_the_examples(tmp_path: Path) -> None:
    task = write_task(tmp_path, num=120, more="test: own.jsonl\nmethods: [baseline]\n")
    lines = [{**row, "output": f" {row['output']}\n"} for row in rows("answer", 60, seed=8)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    told: list[Event] = []
    run = compare(task, on_event=told.append).run
    note = "own.jsonl: answers with spaces or line breaks around them, taken off: 60"
    assert Said(f"Note: {note}") in told
    assert note in run.info["notes"]


@pytest.mark.parametrize("bad", [2, 50, 51, 70])
def test_the_number_of_faults_is_told_also_where_not_all_are_spelled_out(
    bad: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path)
    with (tmp_path / "examples.jsonl").open("a") as file:
        file.write("nothing\n" * bad)
    assert main(["compare", str(task)]) == 2
    assert f"{bad} things to put right" in capsys.readouterr().err
