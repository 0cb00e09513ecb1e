"""Scores of single answers, and which metric a task gets."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, mean_absolute_error
from sklearn.preprocessing import MultiLabelBinarizer

from etude.data.dataset import Dataset
from etude.metrics import CHRF_CHARACTERS, Metric, choose_metric, restore_metric
from etude.stats import estimate_sample
from etude.task import RowSource, Task
from etude.task.contract import Contract
from etude.text.label_lists import join_labels
from etude.types import Answer, Example, Kind, Message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def row(output: str, *references: str) -> Example:
    return Example(
        "r1", (Message("user", "question"),), output, references, location="rows.jsonl:7"
    )


def answer(text: str, value: Any = None, form: bool | None = None) -> Answer:
    parsed = text if value is None else value
    return Answer("r1", text, parsed, form, (), None, 0, 0, 0, seconds=0.0, truncated=False)


def task(kind: Kind, **parts: Any) -> Task:
    return Task("t", kind, "m", RowSource(Path("rows.jsonl")), Path(), Path("task.yaml"), **parts)


def labelled(sizes: dict[str, int]) -> Dataset:
    outputs = [label for label, size in sizes.items() for _ in range(size)]
    return Dataset(
        tuple(Example(str(i), (Message("user", str(i)),), out) for i, out in enumerate(outputs))
    )


# which metric


@pytest.mark.parametrize(
    ("largest", "name"), [(10, "accuracy"), (50, "accuracy"), (51, "macro_f1")]
)
def test_skewed_labels_are_judged_by_macro_f1(largest: int, name: str) -> None:
    metric = choose_metric(task("classify"), labelled({"a": 10, "b": largest}))
    assert metric.name == name
    assert f"{largest / 10:g}" in metric.reason


@pytest.mark.parametrize(
    ("kind", "parts", "name", "why", "form_only"),
    [
        ("extract", {}, "exact_match", "because the task is to extract", False),
        ("extract", {"metric": "value_f1"}, "value_f1", "because the task file sets it", False),
        (
            "answer",
            {"contract": Contract(max_words=5)},
            "passes",
            "because the task has a contract",
            True,
        ),
        ("rewrite", {}, "chrf", "because the task has neither contract nor check", True),
        (
            "rewrite",
            {"metric": "exact_match"},
            "exact_match",
            "because the task file sets it",
            False,
        ),
        ("classify", {"metric": "macro_f1"}, "macro_f1", "because the task file sets it", False),
    ],
)
def test_the_kind_decides_unless_the_task_does(
    kind: Kind, parts: dict[str, Any], name: str, why: str, form_only: bool
) -> None:
    metric = choose_metric(task(kind, **parts), labelled({"a": 2, "b": 2}))
    assert (metric.name, metric.reason, metric.contract_only) == (name, why, form_only)


def test_extraction_is_headed_by_f1_over_values_so_finding_nothing_scores_nothing() -> None:
    """Entities: 139 of 200 rows have none, so the empty answer is right as a whole for 69.5% of
    them.
    """
    train = Dataset((row('{"names": ["Ada"]}'),))
    metric = choose_metric(task("extract"), train)
    assert metric.name == "value_f1"
    expected = ['{"names": []}'] * 139 + ['{"names": ["Ada", "Eve"]}'] * 61
    scores = {}
    samples = {}
    for name, text in (("nothing", '{"names": []}'), ("some", '{"names": ["Ada"]}')):
        rows = [metric.score(row(output), answer(text)) for output in expected]
        scores[name] = [score.other_metrics["exact_match"] for score in rows]
        samples[name] = metric.sample([score.value for score in rows], None, expected, [text] * 200)
    assert (np.mean(scores["nothing"]), np.mean(scores["some"])) == (0.695, 0)
    assert samples["nothing"].value == 0
    assert samples["some"].value == pytest.approx(2 * 61 / (200 + 122))


@pytest.mark.parametrize(
    ("contract", "check", "label"),
    [(True, True, "contract and check"), (False, True, "the check"), (True, False, "the contract")],
)
def test_what_an_answer_has_to_pass_is_said(contract: bool, check: bool, label: str) -> None:
    metric = Metric(
        "passes", "answer", (lambda example, text: True) if check else None, contract=contract
    )
    assert metric.label == f"share of answers that pass {label}"


# labels


def test_a_label_is_right_when_it_is_the_rows_or_a_reference() -> None:
    metric = Metric("accuracy", "classify")
    values = [metric.score(row("a", "b"), answer(text)).value for text in ("a", " b ", "c", "A")]
    assert values == [1, 1, 0, 0]


def test_macro_f1_scores_rows_as_right_or_wrong_and_aggregates_labels() -> None:
    metric = Metric("macro_f1", "classify")
    assert metric.score(row("a"), answer("a")).value == 1
    interval = estimate_sample(
        metric.sample([1, 1, 1, 0], None, ["a", "a", "a", "b"], ["a", "a", "a", "a"])
    )
    assert interval.value == pytest.approx((6 / 7 + 0) / 2)
    assert interval.low < interval.value < interval.high


# exact match


def exact(output: str, text: str) -> float:
    return Metric("exact_match", "extract").score(row(output), answer(text)).value


@given(JSON)
@settings(deadline=None)
def test_json_is_equal_whatever_its_layout_and_key_order(value: Any) -> None:
    turned = json.loads(json.dumps(value), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert exact(json.dumps(value), json.dumps(turned, indent=2)) == 1


@pytest.mark.parametrize(
    ("output", "text", "value"),
    [
        ('{"n": 1}', '{"n": 1.0}', 1),
        ('{"n": 1}', '{"n": true}', 0),
        ('{"n": [1, 2]}', '{"n": [2, 1]}', 0),
        ('{"n": 1}', '{"n": 1, "m": null}', 0),
        ('{"n": "x"}', "n is x", 0),
        ("Two  words", "two words\n", 1),
        ("total: -5", "total: 5", 0),
    ],
)
def test_exact_match_is_equality_of_meaning_not_of_layout(
    output: str, text: str, value: float
) -> None:
    assert exact(output, text) == value


# answers


@pytest.mark.parametrize(
    ("form", "checked", "value"),
    [
        (True, True, 1),
        (True, False, 0),
        (False, True, 0),
        (None, 0.5, 0.5),
        (False, 0.5, 0),
        (True, None, 1),
    ],
)
def test_an_answer_passes_contract_and_check(form: bool | None, checked: Any, value: float) -> None:
    check = None if checked is None else lambda example, text: checked
    score = Metric("passes", "answer", check).score(row("x"), answer("x", form=form))
    assert (score.value, score.keeps_contract) == (value, form)
    assert score.check == (None if checked is None else float(checked))


def test_chrf_is_sacrebleus_against_the_likest_right_output() -> None:
    example = row("the owl is awake", "an owl that wakes")
    text = "an owl awakes"
    oracle = sacrebleu.sentence_chrf(text, [example.output, *example.references]).score / 100
    score = Metric("chrf", "answer").score(example, answer(text))
    assert score.value == pytest.approx(oracle)
    assert 0 < score.value < 1


def test_other_metrics_stand_beside_the_headline() -> None:
    passes = Metric("passes", "answer").score(row("yes"), answer("Yes"))
    assert passes.other_metrics == {
        "exact_match": 1.0,
        "token_f1": 1.0,
        "chrf": pytest.approx(0.4, abs=0.4),
    }
    score = Metric("exact_match", "extract").score(row("1"), answer("1"))
    assert score.other_metrics == {"right_fields": 1.0, "value_f1": 1.0}
    assert Metric("accuracy", "classify").score(row("a"), answer("a")).other_metrics == {
        "macro_f1": 1.0
    }
    assert Metric("macro_f1", "classify").score(row("a"), answer("b")).other_metrics == {
        "accuracy": 0.0
    }


@given(st.sampled_from("ax\u00e9 "), st.integers(1, 3))
@settings(deadline=None)
def test_chrf_beside_another_headline_reads_only_the_start_of_long_texts(
    letter: str, times: int
) -> None:
    long = "the owl is awake. " * (CHRF_CHARACTERS // 10)
    example = row(long)
    metric = Metric("passes", "answer")
    changed = long[:CHRF_CHARACTERS] + letter * 1_000 * times
    assert metric.score(example, answer(changed)).other_metrics["chrf"] == 1
    assert Metric("chrf", "answer").score(example, answer(changed)).value < 1


@pytest.mark.parametrize(
    ("output", "references", "text", "value"),
    [
        ('{"a": 1, "b": 2}', (), '{"b": 2, "a": 1}', 1),
        ('{"a": 1, "b": 2}', (), '{"a": 1, "b": 3}', 1 / 2),
        ('{"a": 1, "b": 2}', (), '{"a": 1}', 1 / 2),
        ('{"a": 1, "b": 2}', (), '{"a": 1, "b": 2, "c": 3}', 2 / 3),
        ('{"a": 1}', ('{"a": 2}',), '{"a": 2}', 1),
        ('{"a": 1}', (), "a is 1", 0),
        ('{"a": true}', (), '{"a": 1}', 0),
        ('{"json": 5}', (), "5", 0),
        ("[1, 2]", (), "[1, 2]", 1),
        ("{}", (), "{}", 1),
    ],
)
def test_right_fields_are_a_share_of_those_wanted_or_given(
    output: str, references: tuple[str, ...], text: str, value: float
) -> None:
    others = (
        Metric("exact_match", "extract").score(row(output, *references), answer(text)).other_metrics
    )
    assert others["right_fields"] == pytest.approx(value)


def test_answers_that_repeat_are_a_choice_among_known_answers() -> None:
    repeated = Dataset(
        tuple(replace(row(f"Answer {number % 5}"), id=f"{number}") for number in range(20))
    )
    metric = choose_metric(task("answer"), repeated)
    assert (metric.name, metric.contract_only) == ("exact_match", False)
    assert metric.score(row("Ask  us"), answer("ask us")).value == 1
    distinct = Dataset(
        (*repeated, *(replace(row(f"Only {number}"), id=f"x{number}") for number in range(3)))
    )
    assert choose_metric(task("answer"), distinct).name == "chrf"
    assert choose_metric(task("rewrite"), repeated).name == "chrf"


@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 3), min_size=1, max_size=30))
@settings(deadline=None)
def test_macro_f1_takes_a_further_right_label_as_the_first(
    rows: list[tuple[str, str, str]],
) -> None:
    metric = Metric("macro_f1", "classify")
    result = [
        metric.score(row(want, further), answer(given)).value for want, further, given in rows
    ]
    expected = [want for want, _, _ in rows]
    guesses = [given for _, _, given in rows]
    meant = [want if given in (want, further) else given for want, further, given in rows]
    oracle = f1_score(
        expected, meant, labels=sorted(set(expected)), average="macro", zero_division=0
    )
    assert metric.sample(result, None, expected, guesses).value == pytest.approx(oracle)


@given(st.text(max_size=30))
@settings(deadline=None)
def test_a_right_output_gets_the_full_score(text: str) -> None:
    for name in ("exact_match", "passes"):
        assert Metric(name, "answer").score(row("other", text), answer(text)).value == 1


# scores on a scale, and several labels a row

SCALE = ("1", "2", "3", "4", "5")
KAPPA = Metric("kappa", "classify", scale=SCALE)
LISTS = Metric("sample_f1", "classify", several=True)


@given(st.lists(st.tuples(st.sampled_from(SCALE), st.sampled_from(SCALE)), min_size=2, max_size=40))
def test_kappa_and_its_error_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    expected, predicted = map(list, zip(*pairs, strict=True))
    scored = [KAPPA.score(row(label), answer(given)) for label, given in pairs]
    value = KAPPA.sample([score.value for score in scored], None, expected, predicted).value
    if len({*expected, *predicted}) > 1:  # else undefined
        oracle = cohen_kappa_score(expected, predicted, weights="quadratic", labels=SCALE)
        assert value == pytest.approx(max(oracle, 0), abs=1e-9)
    errors = [4 * score.other_metrics["mean_error"] for score in scored]
    assert np.mean(errors) == pytest.approx(
        mean_absolute_error(list(map(int, expected)), list(map(int, predicted))), abs=1e-9
    )


def test_an_answer_off_the_scale_is_as_wrong_as_can_be() -> None:
    worst = [KAPPA.score(row(label), answer("none")).other_metrics["mean_error"] for label in SCALE]
    assert worst == [1.0, 0.75, 0.5, 0.75, 1.0]
    assert KAPPA.sample([0.0, 0.0], None, ["1", "5"], ["none", None]).value == 0


def test_the_nearest_right_score_counts() -> None:
    assert KAPPA.score(row("1", "4"), answer("5")).other_metrics["mean_error"] == 0.25
    assert KAPPA.sample([1.0, 1.0], None, ["1", "5"], ["4", "5"]).value == 1


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd"))),
        min_size=1,
        max_size=20,
    )
)
def test_lists_of_labels_are_scored_as_by_scikit_learn(
    pairs: list[tuple[set[str], set[str]]],
) -> None:
    scored = [
        LISTS.score(row(join_labels(right)), answer(join_labels(given))) for right, given in pairs
    ]
    expected, predicted = (
        [join_labels(side) for side in sides] for sides in zip(*pairs, strict=True)
    )
    encoder = MultiLabelBinarizer(classes=list("abcd"))
    truth, guess = (encoder.fit_transform(side) for side in zip(*pairs, strict=True))
    values = [score.value for score in scored]
    assert np.mean(values) == pytest.approx(
        f1_score(truth, guess, average="samples", zero_division=1), abs=1e-9
    )
    exact = [score.other_metrics["subset_accuracy"] for score in scored]
    assert np.mean(exact) == pytest.approx(accuracy_score(truth, guess), abs=1e-9)
    micro = LISTS.sample(values, None, expected, predicted, "micro_f1").value
    if truth.any():
        assert micro == pytest.approx(
            f1_score(truth, guess, average="micro", zero_division=0), abs=1e-9
        )
        columns = truth.any(axis=0)
        oracle = f1_score(
            truth, guess, labels=np.flatnonzero(columns), average="macro", zero_division=0
        )
        assert LISTS.sample(values, None, expected, predicted, "macro_f1").value == pytest.approx(
            oracle, abs=1e-9
        )


def test_a_list_may_be_written_in_any_way() -> None:
    assert LISTS.score(row('["a", "b"]'), answer("b; a")).value == 1
    assert LISTS.score(row('["a", "b"]'), answer('["b", "a"]', ["b", "a"])).value == 1
    assert LISTS.score(row('["a", "b"]', "[]"), answer("[]", [])).value == 1


def test_a_scale_and_several_labels_have_their_own_headline() -> None:
    assert (
        choose_metric(task("classify", scale=SCALE), labelled({"1": 10, "2": 90})).name == "kappa"
    )
    assert choose_metric(task("classify", several=True), labelled({"[]": 10})).name == "sample_f1"
    for metric in (KAPPA, LISTS):
        record = {key: getattr(metric, key) for key in ("name", "scale", "several")}
        assert restore_metric(json.loads(json.dumps(record)), "classify") == metric
