"""Replay: which rows a training gets besides its own."""

import json
import random
from pathlib import Path

from test_tuning import tiny_task, weights

from etude.base.files import read_lines
from etude.base.word_lists import read_table
from etude.methods.shared import replay
from etude.models.registry import Models
from etude.suites.measures import forgetting
from etude.task import load_task
from etude.tuning import train
from etude.types import Message, ModelRef, Request, Sampling

QUESTIONS = read_table(replay.__file__, "replay.yaml")["questions"]


def shingles(text: str) -> set[str]:
    words = " ".join("".join(sign if sign.isalnum() else " " for sign in text.casefold()).split())
    return {words[start : start + 5] for start in range(len(words) - 4)}


def test_no_question_is_like_one_by_which_forgetting_is_measured() -> None:
    measured = read_table(forgetting.__file__, "general.yaml")
    asked = [shingles(entry["ask"]) for part in ("texts", "questions") for entry in measured[part]]
    assert len(set(QUESTIONS)) == len(QUESTIONS)
    for question in QUESTIONS:
        words = shingles(question)
        assert max(len(words & other) / len(words | other) for other in asked) < 1 / 3, question


def test_a_training_repeats_the_untuned_answers_as_the_share_says(tmp_path: Path) -> None:
    task = tiny_task(tmp_path, train="max_rows: 32, epochs: 1, replay: 0.2")
    run = train(task).run
    work = run.method_folder("fine_tune") / "work"
    digest = weights(run)
    rows = [line["row"] for line in read_lines(work / "rows.jsonl") if "left_out" not in line]
    assert (rows.count("replay"), len(rows)) == (8, 40), "the share"
    params = json.loads((work / "trained.json").read_text())["params"]
    assert (
        "8 more rows repeat the untuned model's answers to 8 general questions."
        in params["supervision"]
    )

    # The oracle: the untuned model, asked the question alone, with the same limit.
    answers = {
        index: completion["text"]
        for line in read_lines(work / replay.ANSWERS_FILE)
        for index, completion in zip(line["indices"], line["completions"], strict=True)
    }
    order = random.Random("0/replay").sample(QUESTIONS, len(QUESTIONS))[:8]
    requests = [
        Request((Message("user", question),), replay.MAX_TOKENS, sampling=Sampling(1.0, seed=seed))
        for seed, question in enumerate(order)
    ]
    for batch in Models().get(ModelRef(load_task(task).model)).batches(requests):
        for index, completion in zip(batch.indices, batch.completions, strict=True):
            assert answers.pop(index) == completion.text
    assert not answers

    # Trained again from the same answers: nothing is asked, and the weights are the same.
    written = (work / replay.ANSWERS_FILE).stat()
    (work / "trained.json").unlink()
    run.update(status="running")
    assert weights(train(task).run) == digest
    assert (work / "trained.json").exists()
    assert (work / replay.ANSWERS_FILE).stat().st_mtime_ns == written.st_mtime_ns
    assert weights(train(tiny_task(tmp_path / "without")).run) != digest


def test_answers_that_are_too_long_are_not_repeated(tmp_path: Path) -> None:
    more = longest = ""
    for _ in range(2):
        run = train(
            tiny_task(
                tmp_path / f"task{longest}", train=f"max_rows: 32, epochs: 1, replay: 0.2{more}"
            )
        ).run
        lines = read_lines(run.method_folder("fine_tune") / "work" / "rows.jsonl")
        sizes = [line["tokens"] for line in lines if line["row"] == "replay"]
        assert len(sizes) == 8, "the others are repeated"
        assert not longest or max(sizes) < int(longest)
        longest = f"{max(sizes)}"
        more = f", max_tokens: {max(sizes) - 1}"
