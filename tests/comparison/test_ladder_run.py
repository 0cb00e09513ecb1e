"""How many test rows are answered: the clock alone decides, and what was answered is a prefix of
one order.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.assistant import Assistant
from etude.comparison.clock import CLOSING_SECONDS, Clock
from etude.comparison.ladder_run import LadderRun
from etude.comparison.sealed_test import BLOCK_ROWS, AnswerRounds
from etude.data.dataset import Dataset, load_dataset
from etude.data.splits import split
from etude.evaluate import ScoredAnswer
from etude.methods import get_methods
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.runs import Run
from etude.stats.racing import FIRST_BLOCK
from etude.task import load_task
from etude.task.definition import ErrorCosts
from etude.types import Answer, ModelRef, Score
from small_task import write_task

SPEEDS = {
    "baseline": 0.0,
    "prompt": 0.5,
    "few_shot": 0.7,
    "fine_tune_encoder": 0.02,
    "fine_tune": 0.3,
}


class ClockedRun(LadderRun):
    """Answers take time by a clock of the test's own; scores are whatever `right` draws."""

    seconds: list[float]
    right: random.Random
    rows: dict[str, list[str]]
    delay: float = 1.0

    def list_fitted(self) -> list[str]:
        return list(SPEEDS)

    def find_unbeaten(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name != "few_shot"]

    def work_folder(self, name: str) -> Path:
        return Path(name)

    def answer_rows(
        self, assistant: Assistant, rows: Dataset, title: str, work_folder: Path
    ) -> list[ScoredAnswer]:
        self.seconds[0] += self.delay * SPEEDS[title] * len(rows)
        self.rows.setdefault(title, []).extend(row.id for row in rows)
        score = Score(float(self.right.random() < 0.5), None, None)
        answers = [
            Answer(row.id, "any", title, None, (), None, 0, 0, 0, 0.0, False) for row in rows
        ]
        return [
            ScoredAnswer(row, answer, score, 0) for row, answer in zip(rows, answers, strict=True)
        ]


class ClockedTest(AnswerRounds):
    """Keeps the files out of it."""

    def _has_answered(self, name: str, assistant: Assistant, begin: int, end: int) -> bool:
        return False

    def _write_test(self, name: str, assistant: Assistant, scored: Sequence[ScoredAnswer]) -> None:
        """Write nothing."""


def prepare_run(folder: Path) -> ClockedRun:
    """A run of five methods on 200 test rows, before its test."""
    task, dataset = load_dataset(load_task(write_task(folder, "classify", num=1000)))
    parts = split(dataset, task.kind, task.seed)
    run = Run(folder / "run")
    run.update(format=1, decided={"tuned": "fine_tune", "untuned": "baseline"})
    methods = get_methods(list(SPEEDS))
    metric = choose_metric(task, parts.train)
    return ClockedRun(task, parts, run, Models(), metric, lambda event: None, methods)


def answer(
    ladder: ClockedRun, budget: float | None, seed: int, before: Mapping[str, int] | None = None
) -> tuple[dict[str, int], dict[str, list[str]], float]:
    """Answer the test in so many seconds; returns rows of each method, their ids, and the seconds
    it took.
    """
    ladder.seconds = [0.0]
    ladder.right = random.Random(seed)
    ladder.rows = {}
    ladder.run.update(first_block=None, test_answered=before or {})
    if before is None:
        ladder.run.update(test_shares=None)
    budget = budget and budget + CLOSING_SECONDS
    ladder.clock = Clock(budget, 0.0, now=lambda: ladder.seconds[0])
    ladder.row_seconds = dict(SPEEDS)
    fitted = {name: Assistant(name, "classify", ModelRef("fake")) for name in SPEEDS}
    ClockedTest(ladder).answer(fitted, ladder.find_contenders([]))
    return ladder.run.info["test_answered"], ladder.rows, ladder.seconds[0]


def test_the_clock_decides_how_many_rows_and_no_answer_does(tmp_path: Path) -> None:
    ladder = prepare_run(tmp_path)
    total = len(ladder.split.test)

    @settings(max_examples=25)
    @given(st.floats(20, 400), st.integers(0, 99), st.integers(0, 99))
    def depends_on_time_alone(budget: float, seed: int, other: int) -> None:
        answered, rows, taken = answer(ladder, budget, seed)
        assert answer(ladder, budget, other)[:2] == (answered, rows)
        assert answered["baseline"] == total, "what takes no time answers everything"
        if budget >= 80:
            assert answered["fine_tune_encoder"] == total, "its 4 s are at most 5% of the time"
        assert answered["prompt"] >= (BLOCK_ROWS if budget >= 100 else FIRST_BLOCK)
        if answered["prompt"] > BLOCK_ROWS:
            assert answered["fine_tune"] == total, "the headline pair comes first"
        assert answered["few_shot"] >= FIRST_BLOCK
        if answered["few_shot"] > BLOCK_ROWS:
            assert answered["prompt"] == total, "the contenders come before the others"
        assert taken <= budget or answered["prompt"] == FIRST_BLOCK
        assert sum(answered.values()) == 5 * total or taken + 10 > budget, "no time is left unused"
        order = [row.id for row in ladder.test_rows]
        assert all(ids == order[: len(ids)] for ids in rows.values())

    depends_on_time_alone()


def test_contenders_answer_what_equal_shares_of_the_time_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etude.comparison.ladder_run.MIN_SHARE_ROWS", 60)
    ladder = prepare_run(tmp_path)
    answered, _, taken = answer(ladder, 90, 0)
    assert 60 <= answered["prompt"] < answered["fine_tune"] < answered["fine_tune_encoder"]
    assert 80 < taken <= 90
    ladder.delay = 1.6
    assert answer(ladder, 90, 0)[2] < 110, "slower than dev has shown: the rows become fewer"


def test_without_a_budget_all_rows_are_answered_until_the_user_asks_to_end(tmp_path: Path) -> None:
    ladder = prepare_run(tmp_path)
    assert set(answer(ladder, None, 0)[0].values()) == {len(ladder.split.test)}


def test_a_continued_run_keeps_the_number_of_rows(tmp_path: Path) -> None:
    ladder = prepare_run(tmp_path)
    answered, rows, _ = answer(ladder, 150, 0)
    assert answered["prompt"] < len(ladder.split.test)
    assert (
        ClockedTest(ladder).count_expected_rows(ladder.find_contenders([])) == answered["fine_tune"]
    )
    assert answer(ladder, 1000, 0, answered)[:2] == (answered, rows)


def test_no_method_is_let_off_the_test_if_costs_decide(tmp_path: Path) -> None:
    ladder = prepare_run(tmp_path)
    answer(ladder, 150, 0)
    ladder.task = replace(ladder.task, costs=ErrorCosts())
    assert ladder.find_contenders([]) == list(SPEEDS)
