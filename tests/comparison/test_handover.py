"""Confidences: figures equal to other implementations, and a threshold that keeps its promise."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from etude.assistant import Assistant, load
from etude.cli import main
from etude.comparison import compare
from etude.comparison.handover import add_handover
from etude.data.dataset import Dataset
from etude.errors import InputError
from etude.evaluate import ScoredAnswer
from etude.index.passages import Passage
from etude.index.search import Search
from etude.runs import find_run
from etude.runs.fingerprints import compute_fingerprints, list_changes
from etude.stats.calibration import choose_threshold, compute_auroc, compute_risk_coverage
from etude.task import load_task
from etude.types import Answer, Example, Message, ModelRef, Score
from real_runs import real_run
from small_task import write_task


def drawn(num: int, seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and right answers about as often as they say."""
    rng = np.random.default_rng(seed)
    sure = rng.beta(4, 1.5, num)
    if ties:
        sure = np.round(sure, 1)
    return sure, (rng.random(num) < sure**1.3).astype(float)


def easy(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers of which most are sure, and wrong as often as the others are unsure."""
    rng = np.random.default_rng(seed)
    sure = rng.beta(4, 0.5, num)
    return sure, (rng.random(num) < sure).astype(float)


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_is_that_of_scikit_learn(ties: bool) -> None:
    sure, right = drawn(997, 1, ties)
    assert compute_auroc(sure, right) == pytest.approx(roc_auc_score(right, sure), abs=1e-9)


def test_the_curve_ends_with_all_answers_and_gives_ties_together() -> None:
    points = compute_risk_coverage([0.9, 0.9, 0.5, 0.2], [1, 0, 1, 0])
    assert [(point.share, point.right, point.confidence) for point in points] == [
        (0.5, 0.5, 0.9),
        (0.75, pytest.approx(2 / 3), 0.5),
        (1.0, 0.5, 0.2),
    ]


@pytest.mark.parametrize("most", [0.05, 0.1, 0.2])
def test_a_threshold_from_dev_keeps_its_promise_in_95_of_100_draws(most: float) -> None:
    broken = answered = 0
    sure, right = easy(100_000, 1)
    for seed in range(400):
        found = choose_threshold(*easy(400, 100 + seed), most)
        if found is not None:
            given = sure >= found
            answered += 1
            broken += right[given].mean() < 1 - most
    assert answered >= 200
    assert broken / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_rows_of_one_group_are_one_proof(tmp_path: Path) -> None:
    """The same answers, each given for five alike rows, prove no more than once."""
    file = write_task(tmp_path, "classify", more="handover: 0.05\n")
    task, base = load_task(file), Assistant("baseline", "classify", ModelRef("fake"), "")
    sure, right = easy(100, 3)

    def noted(copies: int) -> str:
        rows = [
            ScoredAnswer(
                Example(f"{at}-{copy}", (Message("user", "x"),), "a", group=str(at)),
                Answer("a", "a", "a", None, (), float(one), 1, 0, 1, 0.0, truncated=False),
                Score(float(hit), None, None),
                0,
            )
            for copy in range(copies)
            for at, (one, hit) in enumerate(zip(sure, right, strict=True))
        ]
        found, (note,) = add_handover(base, task, rows)
        return f"{found.handover} {note.replace(', one of each group', '')}"

    assert noted(5) == noted(1)


def test_too_few_rows_or_too_many_errors_give_no_threshold() -> None:
    assert choose_threshold([0.9] * 20, [1] * 20, 0.05) is None
    assert choose_threshold([0.9] * 200, [0] * 200, 0.05) is None
    assert choose_threshold([0.9] * 200, [1] * 200, 0.05) == 0.9


@pytest.mark.parametrize(("sure", "right"), [([], []), ([0.5], [2]), ([1.5], [1]), ([0.5, 0.5], [1])])
def test_what_is_no_confidence_is_refused(sure: list[float], right: list[float]) -> None:
    with pytest.raises(ValueError, match=r"confidence|right"):
        compute_auroc(sure, right)


def test_a_classifier_hands_over_below_the_threshold_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path, "classify", num=400, more="handover: 0.1\nmethods: [baseline, few_shot]\n")
    run = compare(task).run
    method = "few_shot"
    assistant = load(run.assistant_folder(method))
    least = assistant.handover
    assert least is not None
    for line in run.read_predictions(method):
        assert bool(line.get("handed_over")) == (line["confidence"] < least), line["side"]
    lines = [line for line in run.read_predictions(method) if line["side"] == "test"]
    answer = assistant.answer(lines[0]["input"])
    assert answer.handed_over == bool(lines[0].get("handed_over"))
    notes = json.loads((run.method_folder(method) / "method.json").read_text(encoding="utf-8"))["notes"]
    assert any("hands over questions below" in note or "hands over everything" in note for note in notes)
    assert any("of the test rows" in note or "all" in note for note in notes)
    assert main(["test", str(task), "--quick", "-m", method]) == 0
    assert "handed over" in (run.folder / "tests" / method / "report.html").read_text(encoding="utf-8")


def test_a_task_without_handover_is_the_run_it_was(tmp_path: Path) -> None:
    text = (
        find_run(real_run("classify").parent, None).assistant_folder("baseline") / "assistant.json"
    ).read_text(encoding="utf-8")
    assert "handover" not in text
    task = load_task(write_task(tmp_path, "classify"))
    prints = [compute_fingerprints(each, Dataset(()), None) for each in (task, replace(task, handover=0.1))]
    assert list_changes(*prints) == ["handover"]
    assert "handover" not in prints[0]


def test_handover_of_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label probabilities"):
        load_task(write_task(tmp_path, "answer", more="handover: 0.05\n"))


def test_a_far_question_is_handed_over_however_sure_the_answer() -> None:
    assistant = Assistant("baseline", "classify", ModelRef("fake"), choices=("a", "b"), handover=0.5)
    answer = Answer("1", "a", "a", None, (), None, 1, 0, 1, 0.0, truncated=False)
    near, far = replace(answer, nearness=0.9), replace(answer, nearness=0.2)
    assert [assistant.rate(one, 0.95).handed_over for one in (answer, near, far)] == [False, False, True]
    assert assistant.rate(far, 0.95).handover_score == pytest.approx(0.95 * 0.2**0.5)
    assert assistant.rate(far, None).handed_over is False


def test_nearness_is_the_largest_cosine_and_at_least_0() -> None:
    class Axes:
        """An encoder that knows four directions."""

        def embed(self, texts: list[str]) -> np.ndarray:
            table = {"east": (1, 0), "north": (0, 1), "west": (-1, 0), "between": (0.8, 0.6)}
            return np.array([table[text] for text in texts], dtype=np.float32)

    passages = [Passage("digest", "train")] * 2
    search = Search(passages, "meaning", Axes(), Axes().embed(["east", "north"]))  # type: ignore[arg-type]
    assert search.measure_nearness(["east", "between", "west"]) == pytest.approx([1.0, 0.8, 0.0])


@pytest.mark.real
def test_nearness_is_part_of_what_is_handed_over_everywhere(tmp_path: Path) -> None:
    """With the packaged encoder: on dev, on the test, and in a saved assistant, which holds no training question."""
    more = "handover: 0.1\nmethods: [baseline, few_shot]\nencoder: all-minilm-l6-v2\n"
    task = write_task(tmp_path, "classify", num=400, more=more)
    run = compare(task).run
    folder = run.assistant_folder("few_shot")
    assistant = load(folder)
    assert assistant.training is not None
    lines = [line for line in run.read_predictions("few_shot") if line["confidence"] is not None]
    assert {line["side"] for line in lines} == {"dev", "test"}
    for line in lines:
        score = line["confidence"] * line["nearness"] ** 0.5
        assert bool(line.get("handed_over")) == (score < (assistant.handover or 0)), line["side"]
    test = [line for line in lines if line["side"] == "test"][:5]
    for line, answer in zip(test, assistant.answer([line["input"] for line in test]), strict=True):
        assert answer.nearness == pytest.approx(line["nearness"], abs=1e-5)
    files = [path for path in (folder / "training").rglob("*") if path.is_file()]
    assert files
    row = json.loads((tmp_path / "examples.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert all(row["input"].encode() not in path.read_bytes() for path in files)
