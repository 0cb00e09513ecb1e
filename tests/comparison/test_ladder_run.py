"""How many test rows are answered: the clock alone decides, and what was answered is a prefix of one order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from etude.assistant import Assistant
from etude.comparison.ladder_run import LadderRun
from etude.comparison.plan import (
    BLOCK_ROWS,
    MIN_BEATEN_ROWS,
    Allotment,
    MethodWork,
    Plan,
    Timekeeper,
    Workload,
)
from etude.data.dataset import Dataset, load_dataset
from etude.data.splits import split
from etude.evaluate import ScoredAnswer
from etude.methods import get_methods
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.runs import Run
from etude.task import load_task
from etude.task.definition import ErrorCosts
from etude.types import Answer, ModelRef, Score
from small_task import write_task

SPEEDS = {"baseline": 0.0, "prompt": 0.5, "few_shot": 0.7, "fine_tune_encoder": 0.02, "fine_tune": 0.3}


class ClockedRun(LadderRun):
    """Answers take time by a clock of the test's own; scores are whatever `right` draws."""

    now: list[float]
    right: random.Random
    rows: dict[str, list[str]]

    def answer_rows(
        self, assistant: Assistant, rows: Dataset, title: str, work_folder: Path
    ) -> list[ScoredAnswer]:
        """Advance the clock."""
        self.now[0] += SPEEDS[title] * len(rows)
        self.rows.setdefault(title, []).extend(row.id for row in rows)
        score = Score(float(self.right.random() < 0.5), None, None)
        answers = [Answer(row.id, "any", title, None, (), None, 0, 0, 0, 0.0, False) for row in rows]
        return [ScoredAnswer(row, given, score, 0) for row, given in zip(rows, answers, strict=True)]

    def _write_test(self, name: str, assistant: Assistant, scored: Sequence[ScoredAnswer]) -> None:
        """Keep the files out of it."""


def prepare_run(folder: Path) -> ClockedRun:
    """A run of five methods on 200 test rows, before its test."""
    task, dataset = load_dataset(load_task(write_task(folder, "classify", num=1000)))
    parts, run = split(dataset, task.kind, task.seed), Run(folder / "run")
    run.update(format=1)
    methods = get_methods(list(SPEEDS))
    metric = choose_metric(task, parts.train)
    return ClockedRun(task, parts, run, Models(), metric, Plan(), lambda event: None, methods)


def answer(
    ladder: ClockedRun, seconds: float, seed: int
) -> tuple[dict[str, int], dict[str, list[str]], float]:
    """Answer the test in so many seconds; returns rows of each method, their ids, and the seconds it took."""
    ladder.now, ladder.right, ladder.rows = [0.0], random.Random(seed), {}
    work = Workload({n: MethodWork(n, row_seconds=s) for n, s in SPEEDS.items()}, 700, 100, 200)
    allotment = Allotment(work, seconds, ("baseline",))
    ladder.run.update(first_block=None, test_answered={})
    ladder.timekeeper = Timekeeper(allotment, seconds, lambda: ladder.now[0], {})
    fitted = {name: Assistant(name, "classify", ModelRef("fake")) for name in SPEEDS}
    ladder.answer_test(fitted, ["baseline", "prompt", "fine_tune_encoder", "fine_tune"])
    return ladder.run.info["test_answered"], ladder.rows, ladder.now[0]


def test_the_clock_decides_how_many_rows_and_no_answer_does(tmp_path: Path) -> None:
    ladder = prepare_run(tmp_path)

    @settings(max_examples=25)
    @given(st.floats(20, 400), st.integers(0, 99), st.integers(0, 99))
    def depends_on_time_alone(seconds: float, seed: int, other: int) -> None:
        answered, rows, taken = answer(ladder, seconds, seed)
        assert answer(ladder, seconds, other)[:2] == (answered, rows)
        assert answered["baseline"] == len(ladder.split.test), "what takes no time answers everything"
        if seconds >= 80:
            assert answered["fine_tune_encoder"] == len(ladder.split.test), (
                "its 4 s are at most 5% of the time"
            )
        assert (
            answered["prompt"] == answered["fine_tune"] >= (BLOCK_ROWS if seconds >= 100 else MIN_BEATEN_ROWS)
        )
        assert MIN_BEATEN_ROWS <= answered["few_shot"] <= BLOCK_ROWS
        assert taken <= seconds or answered["prompt"] == MIN_BEATEN_ROWS
        order = [row.id for row in ladder.test_rows]
        assert all(ids == order[: len(ids)] for ids in rows.values())

    depends_on_time_alone()


def test_a_continued_run_keeps_the_number_of_rows(tmp_path: Path) -> None:
    ladder = prepare_run(tmp_path)
    answered, rows, _ = answer(ladder, 150, 0)
    assert answered["prompt"] < len(ladder.split.test)
    ladder.run.update(test_answered=answered)
    assert ladder.timekeeper is not None
    ladder.rows, ladder.timekeeper.deadline = {}, ladder.now[0] + 1000
    fitted = {name: Assistant(name, "classify", ModelRef("fake")) for name in SPEEDS}
    contenders = ["baseline", "prompt", "fine_tune_encoder", "fine_tune"]
    assert ladder.count_expected_rows(contenders) == answered["prompt"]
    ladder.answer_test(fitted, contenders)
    assert (ladder.run.info["test_answered"], ladder.rows) == (answered, rows)


def test_no_method_is_let_off_the_test_if_costs_decide(tmp_path: Path) -> None:
    ladder = prepare_run(tmp_path)
    answer(ladder, 150, 0)
    ladder.task = replace(ladder.task, costs=ErrorCosts())
    assert ladder.find_contenders([]) == list(SPEEDS)
