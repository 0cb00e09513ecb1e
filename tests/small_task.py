"""Small tasks, made from a seed, for tests that run whole comparisons with the fake model."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

THEMES = ("dragons", "trains", "the sea", "ghosts", "cooking", "space", "music", "winter")
OPENINGS = ("Please find", "We want", "Have you got", "Is there", "Show us", "My class would like")
KINDS = ("answer", "classify", "extract", "rewrite")
SETTINGS = {
    "answer": "contract:\n  fields: [Title, Ages]\n",
    "classify": "",
    "extract": "contract:\n  json_schema: {type: object, required: [theme, age]}\n",
    "rewrite": "contract: {max_words: 20}\n",
}


def rows(kind: str, num: int, seed: int = 7) -> list[dict[str, object]]:
    """Rows whose inputs are far apart and whose outputs follow from them."""
    draw = random.Random(f"{kind}/{seed}")
    made = []
    for number in range(num):
        theme = draw.choice(THEMES)
        age = draw.randint(3, 12)
        filler = " ".join("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(4))
        asked = f"{draw.choice(OPENINGS)} {number} {filler} about {theme}, age {age}"
        made.append({"input": asked, "output": output(kind, theme, age), "tags": {"theme": theme}})
    return made


def output(kind: str, theme: str, age: int) -> str:
    return {
        "answer": f"Title: All about {theme}\nAges: {age}",
        "classify": theme,
        "extract": json.dumps({"theme": theme, "age": age}),
        "rewrite": f"A book about {theme} for age {age}.",
    }[kind]


def write_json_lines(file: Path, rows: Iterable[object]) -> Path:
    """Writes each row as a line of JSON and returns the file."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def write_task(
    folder: Path, kind: str = "answer", model: str = "fake", num: int = 150, more: str = ""
) -> Path:
    """Writes examples.jsonl and task.yaml into a new folder and returns the task file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json_lines(folder / "examples.jsonl", rows(kind, num))
    task = folder / "task.yaml"
    own = SETTINGS[kind] + ("" if "encoder:" in more else "encoder: none\n")
    task.write_text(
        f"name: small\nkind: {kind}\nmodel: {model}\nexamples: examples.jsonl\n"
        f"instructions: You are a librarian. Say what fits.\n{own}{more}",
        encoding="utf-8",
    )
    return task


def compare_until(task: Path, is_last: Callable[[Any], bool], **options: Any) -> None:
    """A comparison that Ctrl-C ends at the first event of which `is_last` holds."""
    from etude.comparison import compare

    def stop(event: object) -> None:
        if is_last(event):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(task, on_event=stop, **options)


def pairs(folder: Path) -> str:
    """Better and worse answers to 24 further inputs; the line of the task file that names them."""
    answers = {"chosen": "Title: Polite\nAges: 5", "rejected": "Title: Rude\nAges: 5"}
    lines = ({"prompt": row["input"], **answers} for row in rows("answer", 24, seed=3))
    folder.mkdir(parents=True, exist_ok=True)
    write_json_lines(folder / "pairs.jsonl", lines)
    return "preferences: pairs.jsonl\n"


def library(folder: Path) -> str:
    """One document for each theme; the lines of the task file that name them."""
    (folder / "shelf").mkdir(parents=True)
    for number, theme in enumerate(THEMES):
        text = f"# All about {theme}\n\nShelf {number}. A book on {theme}, well liked."
        (folder / "shelf" / f"{number}.md").write_text(text, encoding="utf-8")
    return "documents: shelf\nencoder: none\n"


def chats(num: int, num_turns: int = 4, seed: int = 7) -> list[dict[str, object]]:
    """Conversations with 1 to `num_turns` turns of the assistant."""
    asked = iter(rows("answer", num * num_turns, seed))
    draw = random.Random(seed)
    lines: list[dict[str, object]] = []
    for _ in range(num):
        pairs = [next(asked) for _ in range(draw.randint(1, num_turns))]
        roles = ("user", "assistant")
        turns = [
            turn
            for pair in pairs
            for turn in zip(roles, (pair["input"], pair["output"]), strict=True)
        ]
        lines.append({"messages": [{"role": role, "content": text} for role, text in turns]})
    return lines
