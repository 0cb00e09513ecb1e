"""Plays: conversations that an assistant continues after its own answers, with the user's tools."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from etude.cli import main
from etude.comparison import compare
from etude.runs import find_run
from small_task import THEMES, rows, write_json_lines

DESK = '''
"""The shelf of a small library."""
from typing import Literal


class Desk:
    def __init__(self, row):
        self.lent, self.asked = row.tags["lent"], []

    def on_shelf(self, theme: str, when: Literal["today", "monday"] = "today") -> str:
        """Whether the book on a theme is on the shelf."""
        self.asked.append(theme)
        return "lent" if theme == self.lent else "on the shelf"

    def finished(self, row):
        return "".join(self.asked) == row.tags["theme"]
'''


def write_chats(folder: Path, num: int = 150, desk: str = DESK, seed: int = 3) -> Path:
    """Conversations that ask for a book, and then whether it is on the shelf; returns the task file."""
    draw, lines = random.Random(seed), []
    for row in rows("answer", num, seed):
        theme, lent = row["tags"]["theme"], draw.choice(THEMES[:2])  # type: ignore[index]
        call = {"name": "on_shelf", "arguments": json.dumps({"theme": theme})}
        result = "lent" if theme == lent else "on the shelf"
        chat: list[dict[str, Any]] = [
            {"role": "user", "content": row["input"]},
            {"role": "assistant", "content": row["output"]},
            {"role": "user", "content": f"Is the one about {theme} there, {row['input'][:30]}?"},  # type: ignore[index]
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": call}]},
            {"role": "tool", "tool_call_id": "1", "content": result},
            {"role": "assistant", "content": f"It is {result}."},
        ]
        lines.append({"messages": chat, "tags": {"theme": theme, "lent": lent}})
    folder.mkdir(parents=True, exist_ok=True)
    write_json_lines(folder / "examples.jsonl", lines)
    (folder / "desk.py").write_text(desk)
    task = folder / "task.yaml"
    task.write_text(
        "kind: answer\nmodel: fake\nexamples: examples.jsonl\nturns: all\nmetric: exact_match\nencoder: none\n"
        "methods: [prompt, few_shot, fine_tune]\ntools: desk.py:Desk\ninstructions: You are a librarian.\n"
    )
    return task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compared task; each test plays a copy."""
    file = write_chats(tmp_path_factory.mktemp("play") / "library")
    compare(file)
    return file


def test_a_play_shows_what_the_true_history_hides(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", str(task), "--yes", "-m", "fine_tune"]) == 0
    run = find_run(task)
    result = json.loads((run.folder / "plays.json").read_text())["fine_tune"]
    lost = result["whole"]["value"] - result["played"]["value"]
    assert result["lost"]["value"] == pytest.approx(lost)
    assert (
        "After the calls of the rows themselves, 100.0% of the tasks are finished" in capsys.readouterr().out
    )
