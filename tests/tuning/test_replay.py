"""Replay: which rows a training gets besides its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from etude.base.files import read_lines
from etude.base.word_lists import read_table
from etude.methods.shared import replay
from etude.suites.measures import forgetting
from etude.task import load_task
from etude.tuning import train
from test_tuning import tiny_task, weights


def shingles(text: str) -> set[str]:
    words = " ".join("".join(sign if sign.isalnum() else " " for sign in text.casefold()).split())
    return {words[start : start + 5] for start in range(len(words) - 4)}


def test_no_question_is_like_one_by_which_forgetting_is_measured() -> None:
    measured = read_table(forgetting.__file__, "general.yaml")
    asked = [shingles(entry["ask"]) for part in ("texts", "questions") for entry in measured[part]]
    assert len(set(replay.QUESTIONS)) == len(replay.QUESTIONS)
    for question in replay.QUESTIONS:
        words = shingles(question)
        assert max(len(words & other) / len(words | other) for other in asked) < 1 / 3, question


def test_a_training_repeats_the_untuned_answers_as_the_share_says(tmp_path: Path) -> None:
    task = tiny_task(tmp_path, train="max_rows: 32, epochs: 1, replay: 0.2")
    run = train(task).run
    work = run.method_folder("fine_tune") / "work"
    lines = list(read_lines(work / "rows.jsonl"))
    print(sum(line["row"] == "replay" for line in lines))
    print((work/replay.ANSWERS_FILE).read_text()[:600])
    assert 0
