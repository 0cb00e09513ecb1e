"""Stored answers of other models: scored as any row, never recommended, and compared with what
Étude recommends.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rescore
from hypothesis import given, settings
from hypothesis import strategies as st
from test_verdict import make_ladder, make_scores

from etude.base.files import write_json
from etude.comparison.compare import compare
from etude.comparison.decide import make_verdict
from etude.comparison.sealed_test import FILE
from etude.data.formats import read_rows
from etude.errors import InputError
from etude.report.headline import read_headline
from etude.report.markdown import escape
from etude.runs.verdict import MethodResult, VerdictInputs
from etude.stats import estimate
from etude.task import RowSource
from small_task import write_task

NAME = "ft:gpt-4o-mini:acme::abc/1"
METHODS = "methods: [baseline, prompt]\nmetric: exact_match\n"


def write_stored_task(folder: Path, right: int = 5, **changes: str) -> Path:
    """A task whose rows have answers of a model that is right on `right` of 6 rows; `changes`: id
    -> other answer.
    """
    task = write_task(folder, more=METHODS)
    rows = [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        text = str(row["output"]) if number % 6 < right else "" if number % 2 else "no"
        row |= {"id": str(number), "stored": {NAME: text}}
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = task.read_text().replace(
        "examples: examples.jsonl",
        "examples: {file: examples.jsonl, input: input, output: output, id: id, answers: [stored]}",
    )
    task.write_text(text)
    return task


@pytest.mark.parametrize("right", [0, 4, 6])
def test_the_headline_says_whether_the_model_can_be_replaced(tmp_path: Path, right: int) -> None:
    comparison = compare(write_stored_task(tmp_path, right=right))
    headline = read_headline(comparison.run)
    can_replace = f" can replace {NAME}: " in comparison.verdict.sentence
    assert (f"as good as {NAME}, met" in headline.target) == can_replace
    assert (headline.ready == "Ready: yes.") == can_replace
    assert can_replace or f"worse than {NAME}" in headline.ready
    assert "more time" not in headline.action, "the run had no limit"
    for limits, option in (
        ({"ended_early": True}, "--fresh"),
        ({"budget_seconds": 900}, "--budget 60m"),
    ):
        comparison.run.update(**limits)
        assert can_replace or read_headline(comparison.run).action.endswith(option)
    test_file = comparison.run.folder / "tests" / headline.method / "test.json"
    write_json(test_file, {"gates": [{"outcome": "passed"}, {"outcome": "too few cases"}]})
    reason = "too few cases were asked: 1 of 2 gates passed."
    assert read_headline(comparison.run).ready == f"Ready: not yet, because {reason}", (
        "as etude test says"
    )


def test_stored_answers_are_a_row_of_the_ladder_and_change_no_other(tmp_path: Path) -> None:
    task = write_stored_task(tmp_path / "with", right=4)
    comparison = compare(task)
    *own, stored = comparison.verdict.ladder
    lines = [json.loads(line) for line in (comparison.run.folder / FILE).read_text().splitlines()]
    assert {line["model"] for line in lines} == {NAME}
    rights = [float(line["answer"] == line["expected"]) for line in lines]
    expected = estimate(rights, [line["unit"] for line in lines])
    assert (stored.method, stored.is_stored, stored.estimate) == (NAME, True, expected)
    assert NAME in comparison.verdict.sentence
    assert NAME not in comparison.verdict.costs
    assert f"Stored answers of {NAME}" in (comparison.run.folder / "report.html").read_text()
    assert escape(NAME) in (comparison.run.folder / "report.md").read_text()
    assert rescore.main([str(comparison.run.folder)]) == 0
    plain = task.read_text().replace(", answers: [stored]", "")
    (tmp_path / "with" / "plain.yaml").write_text(plain)
    without = compare(tmp_path / "with" / "plain.yaml").verdict
    assert [(row.method, row.estimate) for row in without.ladder] == [
        (row.method, row.estimate) for row in own
    ]
    assert without.recommended == comparison.verdict.recommended


def test_a_test_row_without_an_answer_is_an_error_with_its_line(tmp_path: Path) -> None:
    task = write_stored_task(tmp_path)
    file = tmp_path / "examples.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows[::2]:
        row["stored"] = {"prompt": "x"}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError) as caught:
        compare(task)
    issues = caught.value.issues
    assert "the name of a method" in issues[0].message
    missing = [issue for issue in issues[1:] if issue.value]
    assert {issue.value for issue in missing} == {repr(NAME), "'prompt'"}
    assert all(issue.location.startswith("examples.jsonl:") for issue in missing)


def test_an_empty_answer_is_an_answer_and_an_absent_one_is_none(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [{"input": "a", "output": "b", "old": text} for text in ("", "x", None, 3)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = read_rows(RowSource(file, answers=("old",))).examples
    assert [dict(row.answers) for row in rows] == [{"old": ""}, {"old": "x"}, {}, {"old": "3"}]


def add_stored(inputs: VerdictInputs, scores: list[float]) -> VerdictInputs:
    return replace(
        inputs, methods=[*inputs.methods, MethodResult("old", False, scores, is_stored=True)]
    )


@given(st.integers(0, 400), st.integers(0, 399))
@settings(max_examples=25)
def test_stored_answers_are_never_recommended(right: int, start: int) -> None:
    inputs = make_ladder({"baseline": 250, "few_shot": 300, "fine_tune": 310}, resamples=200)
    verdict = make_verdict(add_stored(inputs, make_scores(right, 400, start)))
    assert verdict.recommended in (None, "few_shot", "fine_tune")
    assert verdict.leaning != "old"
    assert "old" in verdict.sentence
    gap = (
        verdict.pairs[-1].difference
        if verdict.leaning == "fine_tune"
        else verdict.pairs[-2].difference
    )
    says_yes = "can replace old: " in verdict.sentence
    says_no = "answers of old are better" in verdict.sentence
    assert says_yes == (gap.low >= -inputs.margin)
    assert says_no == (not says_yes and gap.high < 0)


def test_stored_answers_that_may_be_better_change_no_status_and_no_recommendation() -> None:
    """baseline and few_shot are equal, and old is undecided against both."""
    inputs = make_ladder({"baseline": 300, "few_shot": 300}, margin=0.05)
    verdict = make_verdict(add_stored(inputs, make_scores(300, 400, start=150)))
    *own, old = (row.status for row in verdict.ladder)
    assert (own, old) == (["among the best"] * 2, "undecided")
    assert own == [row.status for row in make_verdict(inputs).ladder]
    assert verdict.recommended == "baseline"


def test_the_target_is_for_what_can_be_served() -> None:
    inputs = make_ladder({"baseline": 250, "few_shot": 300}, target=0.9)
    verdict = make_verdict(add_stored(inputs, np.ones(400).tolist()))
    assert verdict.target.met_by is None
    assert "No method is good enough" in verdict.sentence
    assert "The stored answers of old are better than few_shot" in verdict.sentence
