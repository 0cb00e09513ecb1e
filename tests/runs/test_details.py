"""Classes, label probabilities and fields: equal to scikit-learn's, and shown in the report."""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    brier_score_loss,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from etude.comparison import compare
from etude.runs import Run
from etude.runs.details import NO_LABEL, Details, compute_details
from etude.stats.calibration import BINS, brier_score, iter_surest, measure_calibration_error
from real_runs import real_run
from small_task import write_json_lines, write_task

ROWS = st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=2, max_size=200)


@given(st.sets(st.integers(1, 1000), min_size=15, max_size=120), st.randoms())
def test_calibration_error_equals_that_of_scikit_learns_bins(
    values: set[int], draw: Random
) -> None:
    sure = (
        np.array(draw.sample(sorted(values), 15 * (len(values) // 15))) / 1000
    )  # equal bins, no ties
    right = np.array([float(draw.random() < 0.6) for _ in sure])
    right[:2] = 0, 1
    share, mean = calibration_curve(right, sure, n_bins=BINS, strategy="quantile")
    assert measure_calibration_error(sure, right).value == pytest.approx(
        float(np.abs(share - mean).mean()), abs=1e-9
    )


@given(ROWS)
def test_a_calibration_error_lies_in_its_interval(rows: list[tuple[float, bool]]) -> None:
    sure, right = (np.array(part, dtype=float) for part in zip(*rows, strict=True))
    result = measure_calibration_error(sure, right)
    assert 0 <= result.low <= result.value <= result.high <= 1
    assert result.low < result.high
    shuffled = np.random.default_rng(1).permutation(len(rows))
    assert measure_calibration_error(sure[shuffled], right[shuffled]).value == pytest.approx(
        result.value
    )


@given(ROWS)
def test_brier_equals_scikit_learns(rows: list[tuple[float, bool]]) -> None:
    sure, right = (np.array(part, dtype=float) for part in zip(*rows, strict=True))
    assert brier_score(sure, right).value == pytest.approx(
        brier_score_loss(right, sure, pos_label=1), abs=1e-9
    )


def test_calibrated_probabilities_have_a_small_error_and_overconfident_ones_a_large_one() -> None:
    draw = np.random.default_rng(3)
    sure = draw.uniform(0.3, 1, 3000)
    right = (draw.uniform(size=3000) < sure).astype(float)
    assert measure_calibration_error(sure, right).value < 0.04
    too_sure = measure_calibration_error(np.minimum(1, sure + 0.2), right)
    assert too_sure.low > 0.1


def test_the_surest_rows_are_right_more_often() -> None:
    sure = np.linspace(1, 0.01, 100)
    right = np.arange(100) < 50
    result = list(iter_surest(sure, right))
    assert [(share, round(each.value, 2), each.n) for share, _, each in result][::5] == [
        (1.0, 0.5, 100),
        (0.5, 1, 50),
    ]
    assert result[-1][1] == pytest.approx(sure[49])


def line(
    number: int, wanted: str, given_label: str | None, sure: float | None = None
) -> dict[str, Any]:
    right = float(given_label == wanted)
    row = {"id": str(number), "unit": f"row {number}", "expected": wanted, "references": []}
    answer = {"answer": given_label or "well", "value": given_label}
    return {**row, **answer, "score": right, "confidence": sure}


LABELS = ("a", "b", "c")


@given(
    st.lists(
        st.tuples(st.sampled_from(LABELS), st.sampled_from((*LABELS, None))),
        min_size=1,
        max_size=40,
    )
)
def test_classes_are_the_rows_of_the_confusion_matrix(pairs: list[tuple[str, str | None]]) -> None:
    result = compute_details(
        "classify", [line(number, *pair) for number, pair in enumerate(pairs)]
    ).classes
    names = [*LABELS, NO_LABEL]
    matrix = confusion_matrix(
        [a for a, _ in pairs], [b or NO_LABEL for _, b in pairs], labels=names
    )
    for each in result:
        row = dict(zip(names, matrix[names.index(each.label)], strict=True))
        assert each.recall.value == pytest.approx(row[each.label] / sum(row.values()))
        assert each.confused_with == {
            name: n for name, n in row.items() if n and name != each.label
        }
    values = [each.recall.value for each in result]
    assert values == sorted(values), "the worst first"


def extract_line(number: int, wanted: Any, answered: Any) -> dict[str, Any]:
    expected = json.dumps(wanted)
    answer = json.dumps(answered)
    references: list[str] = []
    row = {
        "id": str(number),
        "unit": f"row {number}",
        "expected": expected,
        "references": references,
    }
    return {**row, "answer": answer}


ITEMS = st.lists(st.sampled_from(["p", "q", 1, True, None]), max_size=3)
RECORDS = st.fixed_dictionaries(
    {"x": ITEMS, "in": st.fixed_dictionaries({"y": st.sampled_from(["p", "", None])})}
)


@given(st.lists(st.tuples(RECORDS, RECORDS), min_size=1, max_size=12))
def test_values_are_scored_as_scikit_learn_scores_their_occurrences(
    pairs: list[tuple[Any, Any]],
) -> None:
    lines = [extract_line(number, *pair) for number, pair in enumerate(pairs)]
    truth = []
    guess = []
    for wanted, answered in pairs:
        occurrences = []
        for record in (wanted, answered):
            values = [("x", str(item)) for item in record["x"] if item is not None]
            values += [("y", record["in"]["y"])] if record["in"]["y"] else []
            occurrences.append({(value, values[:n].count(value)) for n, value in enumerate(values)})
        for occurrence in set.union(*occurrences):
            truth.append(occurrence in occurrences[0])
            guess.append(occurrence in occurrences[1])
    details = compute_details("extract", lines)
    if not truth:
        assert details.values is None
        return
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, guess, average="binary", zero_division=0
    )
    assert details.values is not None
    for estimate, value in zip(
        (details.values.precision, details.values.recall, details.values.f1),
        (precision, recall, f1),
        strict=True,
    ):
        assert (estimate.value if estimate else 0.0) == pytest.approx(value, abs=1e-9)
        assert estimate is None or estimate.low <= estimate.value <= estimate.high
    assert set(details.fields) <= {"x", "in.y"}


def test_an_answer_that_all_rows_get_is_reported_unless_all_expect_the_same() -> None:
    lines = [extract_line(number, {"x": number}, {}) for number in range(3)]
    assert compute_details("extract", lines).constant == "{}"
    assert compute_details("extract", [*lines, extract_line(3, {}, {"x": 3})]).constant is None
    assert (
        compute_details("extract", [extract_line(number, {}, {}) for number in range(3)]).constant
        is None
    )


FIELDS = st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 1))


@given(st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=20))
def test_f1_of_a_field_equals_scikit_learns(
    pairs: list[tuple[dict[str, int], dict[str, int]]],
) -> None:
    lines = [extract_line(number, *pair) for number, pair in enumerate(pairs)]
    for name, found in compute_details("extract", lines).fields.items():
        truth = []
        guess = []
        for wanted, told in pairs:  # a wrong value is one miss and one false alarm
            same = name in wanted and name in told and wanted[name] == told[name]
            truth += [1] if same else [1] * (name in wanted) + [0] * (name in told)
            guess += [1] if same else [0] * (name in wanted) + [1] * (name in told)
        assert found.value == pytest.approx(f1_score(truth, guess, zero_division=0), abs=1e-9)


def test_the_order_of_the_lines_does_not_matter() -> None:
    lines = [line(n, LABELS[n % 3], LABELS[n * n % 3], 0.3 + n / 100) for n in range(40)]
    assert compute_details("classify", lines) == compute_details("classify", lines[::-1])


@pytest.mark.parametrize(
    ("kind", "shown"), [("classify", "Label probabilities"), ("extract", "Fields")]
)
def test_a_run_reports_them(kind: str, shown: str) -> None:
    run = Run(real_run(kind))
    details: Details = run.verdict.details["few_shot"]
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert f"<h3>{shown}</h3>" in page
    if kind == "classify":
        assert details.calibration is not None
        assert "the worst first" in page
    else:
        assert set(details.fields) == {"theme", "age"}


def test_a_leaning_method_that_answers_all_rows_alike_is_reported_to_do_so(tmp_path: Path) -> None:
    task_file = write_task(tmp_path, "extract", num=110, more="methods: [baseline]\n")
    rows = [
        {"input": f"Row {n} of {n * n}", "output": json.dumps({"d": [] if n % 3 else [f"v{n}"]})}
        for n in range(110)
    ]
    write_json_lines(tmp_path / "examples.jsonl", rows)
    text = task_file.read_text(encoding="utf-8")
    task_file.write_text(text.replace("required: [theme, age]", "required: [d]"), encoding="utf-8")
    verdict = compare(task_file).verdict
    assert (
        """baseline gives at least 95% of the rows the same answer: '{"d": []}'."""
        in verdict.sentence
    )
    scores = verdict.details["baseline"].values
    assert (scores.precision, scores.recall and scores.recall.value) == (None, 0.0)


def test_the_parts_of_calls_are_shares_of_the_rows_that_need_a_call() -> None:
    def write(*calls: str) -> str:
        return "".join(
            f'<tool_call>{{"name": "{call[0]}", "arguments": {{"x": {call[1]}}}}}</tool_call>'
            for call in calls
        )

    pairs = [
        (write("f1"), write("f1")),
        (write("f1"), write("f2")),
        (write("f1"), write("g1")),
        (write("f1"), "Hello"),
        (write("f1", "g2"), write("g2", "f1")),
        (write("f1", "g2"), write("g2", "f1") + "<tool_call>"),
        ("Hello", "Bye"),
        ("Hello", write("f1")),
    ]
    lines = [
        {
            "id": str(number),
            "unit": str(number),
            "expected": right,
            "references": [],
            "answer": answer,
        }
        for number, (right, answer) in enumerate(pairs)
    ]
    calls = compute_details("answer", lines).calls
    shares = {name: (round(share.value * share.n), share.n) for name, share in calls.items()}
    expected = {
        "no_call": (1, 2),
        "call": (5, 6),
        "functions": (3, 6),
        "arguments": (2, 6),
        "several": (1, 2),
    }
    assert shares == expected
    assert compute_details("answer", lines[6:7]).calls == {}
