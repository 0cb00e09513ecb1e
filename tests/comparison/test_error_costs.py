"""Costs of errors: thresholds, the comparison and its text, by the task's own prices."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from etude.assistant import Assistant, load
from etude.comparison import compare
from etude.comparison.costs import compare_costs
from etude.comparison.handover import add_cost_handover, rate_rows
from etude.data.dataset import Dataset
from etude.errors import InputError
from etude.evaluate import ScoredAnswer
from etude.models.registry import Models
from etude.runs.fingerprints import compute_fingerprints, list_changes
from etude.stats.recalibration import Recalibration
from etude.task import load_task
from etude.task.definition import ErrorCosts
from etude.types import Answer, Example, Message, ModelRef, Score
from small_task import write_task

LABELS = ("a", "b", "refund")
COSTS = ErrorCosts(1.0, {"refund": 20.0}, 2.0)


def make_line(
    number: int, expected: str, answered: str, handed_over: bool = False
) -> dict[str, object]:
    more = {"handed_over": True} if handed_over else {}
    score = float(expected == answered)
    name = str(number)
    return {"id": name, "unit": name, "value": answered, "answer": answered, "score": score, **more}


def draw_lines(seed: int, accuracy: float, num: int = 300) -> list[dict[str, object]]:
    """Lines of a method that is right so often."""
    draw = Random(seed)
    lines = []
    for number in range(num):
        expected = Random(number).choice(LABELS)
        answered = expected if draw.random() < accuracy else draw.choice(LABELS)
        lines.append(make_line(number, expected, answered))
    return lines


def make_row(number: int, expected: str, answered: str, confidence: float) -> ScoredAnswer:
    """A dev row with an answer and its confidence."""
    answer = Answer(
        str(number), answered, answered, None, (), confidence, 1, 0, 1, 0.0, truncated=False
    )
    score = Score(float(expected == answered), None, None)
    return ScoredAnswer(
        Example(str(number), (Message("user", str(number)),), expected), answer, score, 0
    )


def test_the_cost_is_the_confusion_matrix_times_the_prices() -> None:
    lines = draw_lines(1, 0.7)
    result = compare_costs(COSTS, {"one": lines})
    expected = [Random(number).choice(LABELS) for number in range(300)]
    matrix = confusion_matrix(expected, [line["value"] for line in lines], labels=LABELS)
    np.fill_diagonal(matrix, 0)
    prices = [COSTS.price_wrong(label) for label in LABELS]
    assert result.methods["one"].cost.value == pytest.approx(
        float((matrix * prices).sum()) / 300, abs=1e-9
    )


def test_the_cheapest_is_named_and_surely_so_only_if_it_is() -> None:
    good = draw_lines(1, 0.95)
    bad = draw_lines(2, 0.3)
    sure = compare_costs(COSTS, {"bad": bad, "good": good})
    assert (sure.cheapest, sure.is_sure) == ("good", True)
    assert sure.text.startswith("By your costs, use good: a question costs")
    near = compare_costs(COSTS, {"one": draw_lines(3, 0.9), "two": draw_lines(4, 0.9)})
    assert not near.is_sure
    assert "too close to call" in near.text
    equal = compare_costs(COSTS, {"one": good, "two": good})
    assert equal.cheapest == "one"  # the simplest of equals
    alone = compare_costs(COSTS, {"good": good})
    assert not alone.is_sure
    assert "no other method to compare it with" in alone.text


def test_a_rare_expensive_error_can_decide_against_the_more_accurate() -> None:
    careless = [
        make_line(n, "a" if n < 290 else "b", "a" if n < 290 else "refund") for n in range(300)
    ]
    careful = [make_line(n, "a", "a" if n < 260 else "b") for n in range(300)]
    result = compare_costs(COSTS, {"careless": careless, "careful": careful})
    assert result.cheapest == "careful"
    assert result.methods["careless"].cost.value == pytest.approx(10 * 20 / 300)


@pytest.mark.parametrize(
    ("price", "claim"),
    [
        (0.02, "would not cost more: 0.02"),
        (0.1, "may not cost more: 0.1"),
        (0.9, "would cost more: 0.9"),
    ],
)
def test_handing_over_every_question_is_compared_with_the_cheapest_method(
    price: float, claim: str
) -> None:
    lines = [make_line(n, "a", "a" if n < 93 else "b") for n in range(100)]
    result = compare_costs(ErrorCosts(handover=price), {"one": lines})
    assert result.text.endswith(f"Handing over every question {claim} each.")
    assert result.handover == price
    assert "every question" not in compare_costs(ErrorCosts(), {"one": lines}).text


def test_what_is_handed_over_costs_a_hand_over() -> None:
    lines = [make_line(n, "a", "refund", handed_over=n % 2 == 0) for n in range(100)]
    method = compare_costs(COSTS, {"one": lines}).methods["one"]
    assert method.cost.value == pytest.approx(11.0)
    assert (method.cost_if_all_answered.value, method.handed_over) == (pytest.approx(20.0), 0.5)
    # Handing over is not free if nobody has said what it costs.
    unpriced = compare_costs(ErrorCosts(1.0, {"refund": 20.0}), {"one": lines}).methods["one"]
    assert unpriced.cost == unpriced.cost_if_all_answered == method.cost_if_all_answered


def test_an_expensive_label_needs_a_surer_answer() -> None:
    draw = Random(5)
    rows = []
    for number in range(800):
        confidence = draw.uniform(0.3, 1)
        label = draw.choice(LABELS)
        others = [other for other in LABELS if other != label]
        right = label if draw.random() < confidence else draw.choice(others)
        rows.append(make_row(number, right, label, confidence))
    base = Assistant("baseline", "classify", ModelRef("fake"), "", choices=LABELS)
    found, (note,) = add_cost_handover(base, COSTS, rows)
    assert found.handover is not None
    assert found.label_handover["refund"] > max(0.8, found.handover)
    assert "expected to cost more" in note
    rated = rate_rows(found, rows, Models())
    for row in rated:
        threshold = found.label_handover.get(row.answer.text, found.handover)
        assert row.answer.handed_over == ((row.answer.confidence or 0) < threshold)
    # calibrated confidences: near the threshold that minimises the expected cost, 1 - 2/20
    assert found.label_handover["refund"] == pytest.approx(0.9, abs=0.04)


def test_nothing_is_handed_over_if_a_person_costs_more_and_everything_if_less() -> None:
    rows = [make_row(n, "a", "a" if n % 2 else "b", 0.5) for n in range(100)]
    base = Assistant("baseline", "classify", ModelRef("fake"), "", choices=LABELS)
    none, _ = add_cost_handover(base, ErrorCosts(1.0, {}, 5.0), rows)
    everything, _ = add_cost_handover(base, ErrorCosts(1.0, {}, 0.1), rows)
    assert none.handover == 0.0
    assert everything.handover is not None
    assert everything.handover > 0.5
    hopeless, _ = add_cost_handover(
        base, ErrorCosts(1.0, {}, 0.1), [make_row(n, "a", "b", 0.5) for n in range(100)]
    )
    assert hopeless.handover is not None
    assert hopeless.handover > 0.9


def test_costs_decide_between_methods_and_are_reported(tmp_path: Path) -> None:
    more = (
        "costs: {wrong: 1, labels: {dragons: 20}, handover: 0.5}\nmethods: [baseline, few_shot]\n"
    )
    run = compare(write_task(tmp_path, "classify", num=300, more=more)).run
    verdict = run.verdict
    assert verdict.leaning == verdict.error_costs.cheapest == "baseline"
    assert "By your costs" in verdict.sentence
    assert "The statuses are by share of right labels, without costs." in verdict.sentence
    lines = [line for line in run.read_predictions("few_shot") if line["side"] == "test"]
    handed_over = sum(bool(line.get("handed_over")) for line in lines) / len(lines)
    assert verdict.error_costs.methods["few_shot"].handed_over == pytest.approx(handed_over)
    for name in ("report.md", "report.html"):
        text = (run.folder / name).read_text(encoding="utf-8")
        assert "If all were answered" in text
        assert "no method" in text


def test_sentences_are_about_the_method_that_costs_recommend(tmp_path: Path) -> None:
    more = "costs: {wrong: 1}\nhandover: 0.5\nmargin: 0.5\nmethods: [prompt, few_shot]\n"
    verdict = compare(write_task(tmp_path, "classify", num=240, more=more)).run.verdict
    assert verdict.sentence.startswith(
        "By your costs, use few_shot now, but it is too close to call"
    )
    assert verdict.leaning == "few_shot"
    assert any(caveat.startswith("Handing over: few_shot") for caveat in verdict.caveats)


def test_recalibration_and_thresholds_survive_saving(tmp_path: Path) -> None:
    thresholds = {"handover": 0.4, "label_handover": {"refund": 0.9}}
    maps = Recalibration("Platt", 0.5, -0.1)
    model = ModelRef("fake")
    saved = Assistant(
        "baseline", "classify", model, choices=LABELS, recalibration=maps, **thresholds
    )
    saved.save(tmp_path / "one")
    assert load(tmp_path / "one") == saved
    assert saved.without_handover() == Assistant(
        "baseline", "classify", ModelRef("fake"), choices=LABELS
    )
    plain = json.loads(Assistant("b", "classify", ModelRef("fake"))._to_json())
    assert not {"recalibration", "handover", "label_handover", "training"} & plain.keys()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("handover: 0.1\ncosts: {handover: 2}\n", "costs.handover and handover cannot"),
        ("costs: {wrong: -1}\n", "costs.wrong"),
        ("costs: {refund: 3}\n", "unknown key"),
        ("contract: {labels: [a, b]}\ncosts: {labels: {c: 3}}\n", "not under contract"),
    ],
)
def test_costs_that_contradict_are_refused(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_task(write_task(tmp_path, "classify", more=more))


def test_costs_of_texts_are_refused_and_costs_name_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="costs cannot be used with kind"):
        load_task(write_task(tmp_path / "text", "answer", more="costs: {wrong: 2}\n"))
    tasks = [
        load_task(write_task(tmp_path / name, "classify", more=more))
        for name, more in (("without", ""), ("with", "costs: {wrong: 2}\n"))
    ]
    prints = [compute_fingerprints(task, Dataset(()), None) for task in tasks]
    assert list_changes(*prints) == ["costs"]
