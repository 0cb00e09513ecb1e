"""The verdict: its sentence in every case, its numbers, and what does not change it."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import f1_score

from etude.base.files import write_json
from etude.base.formatting import format_points, format_rows
from etude.base.typed_json import to_json
from etude.comparison.decide import choose_headline_pair, make_verdict
from etude.comparison.sentences import format_about, write_made_rows
from etude.errors import RunError
from etude.metrics import Metric
from etude.report.phrasing import UNDECIDED, _read_headline
from etude.runs.verdict import (
    HeadlinePair,
    MethodResult,
    RowsAnswered,
    ScoredRows,
    Verdict,
    VerdictInputs,
    build_method_result,
    build_scored_rows,
    read_verdict,
    write_verdict,
)
from etude.stats import make_score_sample, wilson
from etude.stats.paired import newcombe_paired
from etude.task import Prices, Usage
from etude.types import CLASSICAL, Estimate, PricedCost
from json_values import built

ACCURACY = Metric("accuracy", "classify")
FORM = Metric("passes", "answer")


def make_scores(right: int, num: int, start: int = 0) -> list[float]:
    """`num` rows of which `right` are right, from row `start` on, round the end."""
    marks = np.zeros(num)
    marks[(start + np.arange(right)) % num] = 1
    return marks.tolist()


def make_method(name: str, values: Sequence[float], **parts: Any) -> MethodResult:
    model = CLASSICAL if name == "baseline" else "m"
    return MethodResult(name, name == "fine_tune", values, model=model, **parts)


def make_inputs(methods: Sequence[MethodResult], **parts: Any) -> VerdictInputs:
    num = len(methods[0].scores)
    names = [one.name for one in methods]
    tuned = "fine_tune" if "fine_tune" in names else None
    untuned = next((name for name in reversed(names) if name != "fine_tune"), None)
    rows = ScoredRows([f"{row:05d}" for row in range(num)])
    fixed = {
        "rows": rows,
        "pair": HeadlinePair(untuned, tuned),
        "metric": ACCURACY,
        "total_rows": 5 * num,
    }
    return VerdictInputs(methods=methods, model="smollm2", **(fixed | parts))


def make_ladder(right: dict[str, int], num: int = 400, **parts: Any) -> VerdictInputs:
    """Methods that are right on the first rows each: the better one is right wherever the other
    is.
    """
    return make_inputs(
        [make_method(name, make_scores(count, num)) for name, count in right.items()], **parts
    )


# the sentence


def test_a_gain_is_said_with_its_numbers_and_the_tuned_method_is_used() -> None:
    verdict = make_verdict(make_ladder({"prompt": 200, "few_shot": 240, "fine_tune": 336}))
    difference = newcombe_paired(make_scores(336, 400), make_scores(240, 400))
    assert verdict.sentence == (
        "Use fine_tune. It scores 24 points more than few_shot (95% interval "
        f"{100 * difference.low:.0f} to {100 * difference.high:.0f}, n = 400)."
    )
    assert verdict.recommended == "fine_tune"
    assert [step.status for step in verdict.ladder] == ["worse", "worse", "among the best"]


def test_no_gain_recommends_the_lowest_step_among_the_best() -> None:
    verdict = make_verdict(
        make_ladder({"prompt": 1_500, "few_shot": 1_800, "fine_tune": 1_802}, 2_000)
    )
    assert verdict.sentence.startswith(
        "Use few_shot, the simplest method among the best (no method is more than 2 points "
        "better). fine_tune did not beat few_shot: +0.1 points (95% interval "
    )
    assert any("would often miss a gain smaller than" in caveat for caveat in verdict.caveats)
    verdict = make_verdict(
        make_ladder({"baseline": 1_900, "few_shot": 1_880, "fine_tune": 1_900}, 2_000)
    )
    assert verdict.recommended == "baseline"
    assert "no language model is needed" in verdict.sentence


def test_a_gain_below_the_margin_does_not_make_tuning_worth_it() -> None:
    verdict = make_verdict(make_ladder({"few_shot": 2_700, "fine_tune": 2_715}, 3_000))
    assert verdict.headline.gains
    assert verdict.recommended == "few_shot"
    assert verdict.sentence.startswith("Use few_shot, the simplest method among the best ")
    assert "fine_tune scores 0.5 points more than few_shot (95% interval " in verdict.sentence


def test_a_loss_is_said() -> None:
    verdict = make_verdict(make_ladder({"few_shot": 360, "fine_tune": 300}))
    assert "fine_tune scores 15 points less than few_shot (95% interval 1" in verdict.sentence
    assert verdict.recommended == "few_shot"
    assert verdict.break_even is None, "what is worse pays nothing back"


def test_too_close_to_call_names_the_leaning_and_the_rows() -> None:
    prompt = make_method("prompt", make_scores(150, 300))
    verdict = make_verdict(
        make_inputs([prompt, make_method("fine_tune", make_scores(156, 300, 100))])
    )
    assert (verdict.recommended, verdict.basis) == ("prompt", "not beaten")
    assert verdict.sentence.startswith(
        "Use prompt now (50%); it is too close to call between prompt and fine_tune. fine_tune "
        "did not beat prompt: +2 points (95% interval "
    )
    assert verdict.sentence.endswith(
        " Open: whether prompt is within 2 points of the best; even 100,000 test rows would "
        "probably not settle it."
    )


def test_a_method_measured_on_a_few_rows_is_no_default() -> None:
    """Tickets: similar_shot answered 15 rows and is near the best there, baseline is right on 851
    of 1,000.
    """
    tuned = [float(score) for score in np.random.default_rng(5).random(15) < 0.9]
    scores = {
        "baseline": make_scores(851, 1_000),
        "similar_shot": make_scores(12, 15),
        "fine_tune": tuned,
    }
    verdict = make_verdict(
        make_inputs([make_method(name, values) for name, values in scores.items()])
    )
    assert (verdict.recommended, verdict.leaning, verdict.basis) == (
        "baseline",
        "baseline",
        "not beaten",
    )
    assert verdict.sentence.startswith("Use baseline now (85.1%); it is too close to call between ")


def test_a_few_rows_that_show_a_gain_are_enough() -> None:
    """few_shot is not shown to beat the baseline, so the simpler of two measured on few rows is not
    taken.
    """
    scores = {
        "baseline": make_scores(200, 1_000),
        "few_shot": make_scores(4, 20),
        "tag": make_scores(20, 20),
    }
    methods = [make_method(name, values[::-1]) for name, values in scores.items()]
    assert make_verdict(make_inputs(methods)).leaning == "tag"


@pytest.mark.parametrize(("whole", "of"), [(None, 400), (400, 400), (900, 900)])
def test_the_rows_that_were_answered_stand_beside_those_of_the_test(
    whole: int | None, of: int
) -> None:
    verdict = make_verdict(make_ladder({"few_shot": 100, "fine_tune": 300}, num_test_rows=whole))
    assert verdict.test_rows == RowsAnswered(400, of)


def test_a_lower_undecided_step_is_named_with_the_rows_that_would_decide_it() -> None:
    right = np.array(make_scores(540, 600))
    near = right.copy()
    near[:12] = 0
    near[-6:] = 1
    scores = {"prompt": near, "few_shot": right, "fine_tune": right}
    verdict = make_verdict(
        make_inputs([make_method(name, values) for name, values in scores.items()])
    )
    step = verdict.ladder[0]
    assert (verdict.recommended, step.status) == ("few_shot", "undecided")
    assert step.rows_to_decide is not None
    assert (
        "prompt may also be among the best (within 2 points of the best); "
        f"{format_about(step.rows_to_decide)} test rows would settle it." in verdict.caveats
    )


def test_rows_to_decide_follow_the_formula() -> None:
    methods = [
        make_method("prompt", make_scores(150, 300)),
        make_method("fine_tune", make_scores(155, 300, 100)),
    ]
    verdict = make_verdict(make_inputs(methods))
    assert verdict.critical is not None
    both = np.array(methods[0].scores) - np.array(methods[1].scores)
    error = both.std(ddof=1) / math.sqrt(300)
    expected = 300 * ((verdict.critical + 0.84) * error / abs(0.02 + both.mean())) ** 2
    rows = verdict.ladder[0].rows_to_decide
    assert rows == (pytest.approx(expected, rel=0.01) if expected <= 100_000 else None)


@pytest.mark.parametrize(
    ("model", "prompt_model", "expected"),
    [
        ("fake", None, (True, False, False)),
        ("fake:delay=0.01", None, (True, False, False)),
        ("smollm2", "fake", (True, False, True)),
        ("smollm2", None, (False, True, False)),
        ("smollm2", "bigger", (False, False, True)),
    ],
)
def test_a_fake_model_is_said_to_say_nothing_of_real_ones(
    model: str, prompt_model: str | None, expected: tuple[bool, bool, bool]
) -> None:
    verdict = make_verdict(
        replace(make_ladder({"prompt": 200}), model=model, prompt_model=prompt_model)
    )
    starts = (
        "The fake model is only for trying",
        f"Only {model} was tested",
        "Tuned methods ran on ",
    )
    assert expected == tuple(
        any(said.startswith(start) for said in verdict.caveats) for start in starts
    )


def test_under_150_rows_the_only_verdict_is_how_many_to_collect() -> None:
    verdict = make_verdict(make_ladder({"few_shot": 10, "fine_tune": 45}, 50, total_rows=149))
    assert verdict.sentence.startswith(
        "149 rows are too few for a verdict on fine-tuning. Collect about "
    )
    assert (
        "rows (at least 150), enough for an 80% chance to detect a difference of "
        in verdict.sentence
    )
    assert not verdict.headline.gains
    assert verdict.recommended is None
    assert {step.status for step in verdict.ladder} == {"undecided"}
    enough = make_verdict(make_ladder({"few_shot": 10, "fine_tune": 45}, 50, total_rows=150))
    assert enough.recommended == "fine_tune"


def test_under_150_rows_nothing_else_is_said_of_tuning() -> None:
    """A gain that the rows show all too clearly is neither denied by its p nor turned into advice
    on cost.
    """
    inputs = make_ladder({"few_shot": 10, "fine_tune": 45}, 50, usage=Usage(requests_per_month=9))
    few, enough = (make_verdict(replace(inputs, total_rows=total)) for total in (149, 150))
    assert few.headline.p < 0.001
    assert not any("chance" in line or "interval of" in line for line in few.caveats)
    assert not few.advice
    assert enough.advice
    assert few.break_even is None
    assert enough.break_even is not None


def test_the_difference_that_the_rows_to_collect_would_find_is_the_one_they_are_reckoned_for() -> (
    None
):
    verdict = make_verdict(
        make_ladder({"few_shot": 25, "fine_tune": 27}, 50, total_rows=120, margin=0.05)
    )
    worth = max(0.1, abs(verdict.headline.difference.value) / 2)
    assert (
        f"enough for an 80% chance to detect a difference of {format_points(worth)} points."
        in verdict.sentence
    )
    alike = [
        make_method("few_shot", make_scores(25, 50)),
        make_method("fine_tune", make_scores(25, 50, 10)),
    ]
    verdict = make_verdict(make_inputs(alike, total_rows=120, margin=0.0001))
    assert verdict.sentence.endswith("Collect about 100,000 rows (at least 150).")


def test_without_a_tuned_method_there_is_no_headline() -> None:
    verdict = make_verdict(make_ladder({"prompt": 100, "few_shot": 300}, total_rows=100))
    assert verdict.headline is None
    assert verdict.break_even is None
    assert (
        verdict.sentence
        == "Use few_shot, the simplest method among the best (no method is more than 2 points "
        "better)."
    )


def test_a_single_method_is_compared_with_nothing() -> None:
    verdict = make_verdict(make_ladder({"prompt": 300}))
    assert verdict.sentence == "Use prompt now (75%): no other method was compared with it."
    assert (verdict.recommended, verdict.basis, verdict.pairs) == ("prompt", "alone", ())


def test_likeness_is_called_so_and_whole_answers_are_no_form() -> None:
    parts = {"few_shot": 100, "fine_tune": 300}
    chrf = Metric("chrf", "answer")
    exact = Metric("exact_match", "answer")
    assert make_verdict(make_ladder(parts, metric=chrf)).sentence.startswith(
        "The score measures how similar answers are to the example answers, not whether they are "
        "right. To measure that, add a check to the task file, such as check: checks.py:fits. Use "
        "fine_tune. It scores "
    )
    assert make_verdict(make_ladder(parts, metric=exact)).sentence.startswith(
        "Use fine_tune. It scores "
    )


CHRF = Metric("chrf", "answer")


def test_a_copied_answer_is_never_recommended_by_likeness_alone() -> None:
    right = {"baseline": 1_900, "prompt": 1_000, "few_shot": 1_500, "fine_tune": 1_505}
    verdict = make_verdict(make_ladder(right, 2_000, metric=CHRF))
    assert verdict.ladder[0].status == "among the best", "what was measured is shown as it is"
    assert (verdict.recommended, verdict.leaning) == ("few_shot", "few_shot")
    assert "no language model" not in verdict.sentence
    assert (
        "Use few_shot, the simplest method among the best of those that write their own answers "
        "(none of them is more than 2 points better)." in verdict.sentence
    )
    assert any(caveat.startswith("baseline copies example answers.") for caveat in verdict.caveats)
    assert not any("add a function" in caveat for caveat in verdict.caveats), "the sentence says it"
    checked = Metric("chrf", "answer", lambda example, text: True)
    assert make_verdict(make_ladder(right, 2_000, metric=checked)).recommended == "baseline"
    form = make_verdict(make_ladder(right, 2_000, metric=FORM))
    assert form.recommended == "few_shot", "a copied answer keeps any form"


def test_copies_alone_and_one_step_beside_copies_are_named_as_such() -> None:
    alone = make_verdict(make_ladder({"baseline": 300}, metric=CHRF))
    assert (alone.recommended, alone.leaning, alone.basis) == (None, "baseline", "copies")
    assert alone.sentence.endswith(
        "No method is recommended: baseline only copies example answers."
    )
    two = make_verdict(make_ladder({"baseline": 300, "fine_tune": 200}, metric=CHRF))
    assert (two.recommended, two.basis) == ("fine_tune", "alone")
    assert (
        "Use fine_tune now (50%): no other method does more than copy example answers."
        in two.sentence
    )


def test_a_copy_that_beat_the_others_on_dev_is_not_the_only_one_that_writes() -> None:
    """Chats: prompt was beaten on dev by the baseline, which copies."""
    inputs = make_ladder(
        {"baseline": 300, "prompt": 100}, metric=CHRF, beaten=frozenset({"prompt"})
    )
    prompt = replace(inputs.methods[1], scores=inputs.methods[1].scores[:24])
    verdict = make_verdict(replace(inputs, methods=[inputs.methods[0], prompt]))
    assert (verdict.recommended, verdict.leaning) == (None, "prompt")
    assert verdict.sentence.endswith(
        "No method is recommended: baseline only copies example answers, and prompt answered only "
        "24 test rows."
    )


def test_nothing_is_recommended_that_does_not_beat_the_most_frequent_answer() -> None:
    most_frequent = make_method("{}", make_scores(139, 200))
    inputs = make_ladder({"baseline": 120, "fine_tune": 139}, 200, most_frequent=most_frequent)
    verdict = make_verdict(inputs)
    assert (verdict.recommended, verdict.leaning, verdict.basis) == (
        None,
        "fine_tune",
        "one answer",
    )
    assert verdict.sentence.startswith(
        "No method beats the answer '{}' to every row (69.5%). The best one, fine_tune, scores "
        "69.5%."
    )
    assert "The answer '{}' to every row would score 69.5%, more than baseline." in verdict.caveats
    better = make_ladder({"baseline": 120, "fine_tune": 150}, 200, most_frequent=most_frequent)
    assert make_verdict(better).recommended == "fine_tune"


# equal rows


def make_cut_ladder(
    right: dict[str, int], num: int = 2_000, equal: int | None = None, **parts: Any
) -> VerdictInputs:
    """As `ladder`; the baseline learned from 8,000 rows, fine_tune from 300 of 7,611."""
    learned = {"baseline": 8_000, "fine_tune": 300}
    methods = [
        make_method(name, make_scores(count, num), learned=learned.get(name))
        for name, count in right.items()
    ]
    same = None if equal is None else make_method("baseline", make_scores(equal, num), learned=300)
    fixed = {
        "train_rows": 7_611,
        "full_seconds": {"fine_tune": 3_000.0},
        "baseline_on_equal_rows": same,
    }
    return make_inputs(methods, **(fixed | parts))


def test_fine_tuning_that_saw_a_part_and_lost_is_not_decided() -> None:
    verdict = make_verdict(make_cut_ladder({"baseline": 1_900, "fine_tune": 600}, equal=500))
    assert verdict.sentence.startswith(
        "Use baseline now (95%), the simplest method among the best (no method is more than 2 "
        "points better). Open: fine_tune was trained on 300 of 7,611 rows and scores 65 points "
        "less than baseline (95% interval "
    )
    assert verdict.sentence.endswith("; about 50 min would settle it.")
    assert "no language model" not in verdict.sentence
    assert [step.status for step in verdict.ladder] == ["among the best", "not measured enough"]
    assert [step.learned for step in verdict.ladder] == [8_000, 300]
    assert (verdict.baseline_on_equal_rows.rows, verdict.baseline_on_equal_rows.estimate.value) == (
        300,
        0.25,
    )
    assert verdict.baseline_on_equal_rows.difference.value == pytest.approx(0.05)
    assert any(
        caveat.startswith(
            "Trained on the same 300 rows, baseline reaches 25% (n = 2,000); fine_tune minus "
            "baseline is +5 points"
        )
        for caveat in verdict.caveats
    )


def test_methods_that_answered_the_first_rows_are_compared_on_the_rows_of_both() -> None:
    inputs = make_cut_ladder({"baseline": 900, "prompt": 100, "fine_tune": 1_900}, equal=500)
    sizes = {"baseline": 1_500, "prompt": 50, "fine_tune": 300}
    short = [shorten(method, sizes[method.name]) for method in inputs.methods]
    rows = inputs.rows
    verdict = make_verdict(replace(inputs, methods=short, rows=replace(rows, ids=rows.ids[:1_500])))
    assert [row.rows for row in verdict.ladder] == list(sizes.values())
    assert [row.estimate.n for row in verdict.ladder] == list(sizes.values())
    assert {(pair.a, pair.b): pair.difference.n for pair in verdict.pairs} == {
        ("baseline", "prompt"): 50,
        ("baseline", "fine_tune"): 300,
        ("prompt", "fine_tune"): 50,
    }
    assert verdict.headline.difference.n == min(sizes[verdict.headline.untuned], 300)
    assert verdict.baseline_on_equal_rows.estimate.n == 1_500, "it answered 2,000"


def shorten(method: MethodResult, rows: int) -> MethodResult:
    """The method as if it had answered the first rows only."""
    names = ("scores", "predicted", "keeps_contract", "check", "truncated")
    return replace(method, **{name: getattr(method, name)[:rows] for name in names})


def test_no_gain_on_a_part_of_the_rows_is_not_decided_either() -> None:
    verdict = make_verdict(
        make_cut_ladder({"baseline": 1_900, "prompt": 1_900, "fine_tune": 1_901})
    )
    assert (
        "Open: fine_tune was trained on 300 of 7,611 rows and did not beat prompt: +0.1 points"
        in verdict.sentence
    )
    assert "no language model" not in verdict.sentence


def test_one_method_beside_a_part_of_the_training_is_named_alone() -> None:
    methods = [
        make_method("baseline", make_scores(95, 100), learned=8_000),
        make_method("fine_tune", make_scores(94, 100, 3), learned=300),
    ]
    verdict = make_verdict(make_inputs(methods, train_rows=7_611, total_rows=9_000))
    assert (verdict.recommended, verdict.basis) == ("baseline", "not beaten")
    assert verdict.sentence.startswith(
        "Use baseline now (95%); no other method is shown to beat it. Open: fine_tune was trained "
        "on 300 of 7,611 rows"
    )


def test_a_gain_on_a_part_of_the_rows_is_a_gain_and_names_the_rows() -> None:
    verdict = make_verdict(make_cut_ladder({"baseline": 600, "fine_tune": 1_900}))
    assert verdict.sentence.startswith(
        "Use fine_tune. Trained on 300 of 7,611 rows, it scores 65 points more than baseline (95% "
        "interval "
    )


@pytest.mark.parametrize(
    ("parts", "part", "end"),
    [
        (
            {"learned": 7_611, "fewer_epochs": True},
            "all 7,611 rows in fewer epochs than without a budget",
            "",
        ),
        (
            {"learned": 0, "weights_rows": 0},
            "0 of 7,611 rows",
            "; its full training would settle it.",
        ),
    ],
)
def test_a_shorter_training_is_not_the_whole_training(
    parts: dict[str, Any], part: str, end: str
) -> None:
    baseline = make_method("baseline", make_scores(1_900, 2_000), learned=8_000)
    tuned = make_method("fine_tune", make_scores(600, 2_000), **parts)
    verdict = make_verdict(make_inputs([baseline, tuned], train_rows=7_611))
    assert f"Open: fine_tune was trained on {part} and scores" in verdict.sentence
    assert verdict.sentence.endswith(end)


def test_weights_that_saw_fewer_rows_than_their_search_are_named_by_their_own_rows() -> None:
    methods = [
        make_method("baseline", make_scores(600, 2_000), learned=8_000),
        make_method(
            "fine_tune",
            make_scores(1_900, 2_000),
            learned=7_611,
            fewer_epochs=True,
            weights_rows=936,
        ),
    ]
    verdict = make_verdict(make_inputs(methods, train_rows=7_611))
    assert verdict.sentence.startswith(
        "Use fine_tune. Trained on 936 of 7,611 rows (its search was trained on 7,611), it scores "
        "65 points more"
    )


def test_what_dev_decided_is_not_open_again_because_of_a_few_test_rows() -> None:
    pair = HeadlinePair("baseline", "fine_tune")
    inputs = make_ladder({"baseline": 300, "few_shot": 1, "fine_tune": 360}, pair=pair)
    baseline, few_shot, fine_tune = inputs.methods
    methods = [baseline, shorten(few_shot, 12), fine_tune]
    shown = make_verdict(replace(inputs, methods=methods, beaten=frozenset({"few_shot"})))
    without = make_verdict(replace(inputs, methods=[baseline, fine_tune]))
    assert [row.status for row in shown.ladder] == ["worse", "worse on dev", "among the best"]
    assert shown.ladder[1].estimate.n == 12
    assert (shown.sentence, shown.pairs) == (without.sentence, without.pairs)
    assert shown.critical == without.critical
    alone = replace(
        inputs, pair=HeadlinePair(None, "fine_tune"), beaten=frozenset({"baseline", "few_shot"})
    )
    assert make_verdict(alone).recommended == "fine_tune"


def test_a_score_of_calls_says_that_it_ignores_what_answers_say() -> None:
    calls = make_verdict(
        make_ladder({"prompt": 200, "fine_tune": 300}, metric=Metric("calls", "answer"))
    )
    other = make_verdict(make_ladder({"prompt": 200, "fine_tune": 300}))
    assert any("nothing checks what an answer says" in text for text in calls.caveats)
    assert not any("what an answer says" in text for text in other.caveats)


def test_another_tuned_step_that_saw_a_part_is_named_beside_a_verdict_that_stands() -> None:
    methods = [
        make_method("prompt", make_scores(200, 400)),
        make_method("fine_tune", make_scores(100, 400), learned=240),
        replace(make_method("fine_tune_retrieval", make_scores(340, 400), learned=240), tuned=True),
    ]
    pair = HeadlinePair("prompt", "fine_tune_retrieval")
    verdict = make_verdict(
        make_inputs(methods, pair=pair, train_rows=1_440, full_seconds={"fine_tune": 300.0})
    )
    assert verdict.recommended == "fine_tune_retrieval"
    assert [step.status for step in verdict.ladder] == [
        "worse",
        "not measured enough",
        "among the best",
    ]
    assert verdict.open == (
        "fine_tune was trained on 240 of 1,440 rows; about 5 min would settle it",
    )


def test_no_language_model_is_needed_only_where_a_tuned_one_saw_all_rows() -> None:
    whole = {"train_rows": 300, "full_seconds": {}}
    right = {"baseline": 1_900, "fine_tune": 600}
    assert "no language model is needed" in make_verdict(make_cut_ladder(right, **whole)).sentence
    for inputs in (make_cut_ladder(right), make_ladder({"baseline": 1_900, "prompt": 600}, 2_000)):
        assert "no language model" not in make_verdict(inputs).sentence


# the target's own mark


def test_a_step_has_a_status_and_a_mark_by_the_target_of_its_own() -> None:
    verdict = make_verdict(
        make_ladder({"prompt": 200, "few_shot": 280, "fine_tune": 290}, target=0.7)
    )
    marks = [verdict.target.mark(step.estimate) for step in verdict.ladder]
    assert marks == ["missed", "not sure", "not sure"]
    assert verdict.target.mark(replace(verdict.ladder[0].estimate, low=0.7)) == "met"


def test_form_only_comes_first() -> None:
    verdict = make_verdict(make_ladder({"few_shot": 100, "fine_tune": 300}, metric=FORM))
    assert verdict.sentence.startswith(
        "The score measures whether answers keep the contract, not whether they are right. Use "
        "fine_tune. "
    )
    assert any("check:" in caveat for caveat in verdict.caveats)
    checked = Metric("passes", "answer", lambda example, text: True)
    assert make_verdict(
        make_ladder({"few_shot": 100, "fine_tune": 300}, metric=checked)
    ).sentence.startswith("Use fine_tune")


# what is said with it


def test_the_model_the_training_run_and_the_openings_are_named() -> None:
    verdict = " ".join(
        make_verdict(make_ladder({"few_shot": 100, "fine_tune": 300}, openings=2)).caveats
    )
    assert "Only smollm2 was tested; a larger model might do better" in verdict
    assert (
        "fine_tune was trained only once; another training run may give a different result."
        in verdict
    )
    assert "opened 2 times" in verdict
    inputs = make_ladder({"few_shot": 100, "fine_tune": 300}, prompt_model="big")
    bigger = " ".join(make_verdict(inputs).caveats)
    assert "prompted ones on big" in bigger
    assert "opened" not in bigger


def test_cut_answers_are_counted_in_one_line_for_all_methods() -> None:
    cut = {
        name: [True] * number + [False] * (400 - number)
        for name, number in (("prompt", 12), ("few_shot", 3))
    }
    methods = [
        make_method(name, make_scores(100, 400), truncated=flags) for name, flags in cut.items()
    ]
    verdict = make_verdict(make_inputs([*methods, make_method("fine_tune", make_scores(300, 400))]))
    assert verdict.contract_rates["few_shot"].truncated == 3
    said = [line for line in verdict.caveats if "cut" in line]
    assert said == ["Answers cut at the length limit: 12 of 400 by prompt, 3 of 400 by few_shot."]


def test_groups_are_counted_and_said() -> None:
    rows = ScoredRows([f"{row:05d}" for row in range(400)], [str(row // 4) for row in range(400)])
    verdict = make_verdict(make_ladder({"few_shot": 100, "fine_tune": 300}, rows=rows))
    assert (verdict.headline.test, verdict.headline.difference.n) == ("sign flips", 100)
    assert "the 400 test rows count as 100" in " ".join(verdict.caveats)


@pytest.mark.parametrize(
    ("target", "met_by"), [(0.5, "few_shot"), (0.7, "fine_tune"), (0.75, None)]
)
def test_a_target_is_met_by_the_lowest_method_whose_lower_bound_reaches_it(
    target: float, met_by: str | None
) -> None:
    inputs = make_ladder({"prompt": 180, "few_shot": 240, "fine_tune": 300}, target=target)
    found = make_verdict(inputs).target
    assert found.met_by == met_by
    assert (met_by or "No method is sure to reach the 75% target") in found.text
    assert format_points(wilson(300 if target > 0.5 else 240, 400)[0]) in found.text


@pytest.mark.parametrize(
    ("change", "told"), [("daily", True), ("monthly", True), ("yearly", False), (None, False)]
)
def test_facts_that_change_call_for_retrieval(change: Any, told: bool) -> None:
    inputs = make_ladder({"few_shot": 100, "fine_tune": 300}, usage=Usage(facts_change=change))
    assert [advice.basis for advice in make_verdict(inputs).advice] == (
        [f"usage.facts_change: {change}"] if told else []
    )


@pytest.mark.parametrize(
    ("other", "claim"),
    [
        ({}, "Use tag, which uses no language model. It scores "),
        ({"few_shot": 150}, "Use tag, which uses no language model. It scores "),
        ({"fine_tune": 200}, "Use tag; no language model is needed. It scores "),
    ],
)
def test_a_small_model_that_gains_is_said_to_need_no_language_model(
    other: dict[str, int], claim: str
) -> None:
    methods = [
        make_method(name, make_scores(right, 400))
        for name, right in {"baseline": 100, **other}.items()
    ]
    methods.append(MethodResult("tag", True, make_scores(330, 400), model=CLASSICAL))
    verdict = make_verdict(make_inputs(methods, pair=HeadlinePair("baseline", "tag")))
    assert verdict.sentence.startswith(claim)
    assert ("No language model was tested; one might do better." in verdict.caveats) == (not other)
    assert verdict.headline is not None
    assert _read_headline(verdict.headline).endswith(" tag improves the result.")


@pytest.mark.parametrize("model", [CLASSICAL, "decisions:http://localhost:1/v1#luna"])
def test_a_decision_model_is_no_language_model(model: str) -> None:
    methods = [
        make_method("baseline", make_scores(100, 400)),
        MethodResult("decide", False, make_scores(300, 400), model=model),
    ]
    caveats = make_verdict(make_inputs(methods)).caveats
    assert "No language model was tested; one might do better." in caveats
    assert not any("larger model" in caveat for caveat in caveats)
    assert any(
        "larger model" in caveat for caveat in make_verdict(make_ladder({"prompt": 300})).caveats
    )


@pytest.mark.parametrize(
    ("right", "parts", "why"),
    [
        ({"few_shot": 300, "fine_tune": 290}, {}, ""),
        ({"few_shot": 300, "fine_tune": 290}, {"fewer_epochs": True}, "cut"),
        ({"few_shot": 100, "fine_tune": 300}, {"fewer_epochs": True}, ""),
        ({"few_shot": 10, "fine_tune": 25}, {"total_rows": 140}, "few rows"),
    ],
)
def test_the_report_says_what_the_verdict_says(
    right: dict[str, int], parts: dict[str, Any], why: str
) -> None:
    num = 28 if "total_rows" in parts else 400
    cut = bool(parts.pop("fewer_epochs", False))
    methods = [
        make_method(name, make_scores(count, num), fewer_epochs=cut and name == "fine_tune")
        for name, count in right.items()
    ]
    headline = make_verdict(make_inputs(methods, **parts)).headline
    assert headline.undecided == why
    assert (_read_headline(headline) in UNDECIDED.values()) == bool(why)


# cost


def make_costly(**parts: Any) -> VerdictInputs:
    few = make_method("few_shot", make_scores(100, 400), cost=PricedCost(1_000, 800, 50, 0.5))
    tuned = make_method(
        "fine_tune", make_scores(300, 400), cost=PricedCost(200, 0, 50, 0.2), train_seconds=3_600.0
    )
    return make_inputs([few, tuned], **parts)


def test_break_even_without_prices_is_in_seconds() -> None:
    verdict = make_verdict(make_costly(usage=Usage(requests_per_month=2_000)))
    earned = verdict.break_even
    assert (earned.unit, earned.requests, earned.prompt_tokens_saved) == ("seconds", 12_000, 800)
    assert verdict.costs["few_shot"].price is None
    assert (
        verdict.advice[0].text == "At this volume fine-tuning earns back its time after 6.0 months."
    )
    assert "12,000" in verdict.advice[0].basis


def test_break_even_with_prices_is_in_money_and_prices_cached_tokens_apart() -> None:
    prices = Prices(prompt=10, cached=1, answer=20, per_hour=6)
    verdict = make_verdict(make_costly(prices=prices))
    before = (200 * 10 + 800 * 1 + 50 * 20) / 1e6
    after = (200 * 10 + 50 * 20) / 1e6
    earned = verdict.break_even
    assert (earned.unit, earned.fixed) == ("money", 6)
    assert earned.requests == math.ceil(6 / (before - after))
    assert verdict.costs["few_shot"].price == pytest.approx(before)


@pytest.mark.parametrize(
    ("prices", "kept"),
    [(Prices(prompt=10, answer=20, per_hour=6), False), (Prices(per_hour=6), True)],
)
def test_prices_of_tokens_hold_for_the_model_and_not_for_a_prompt_model(
    prices: Prices, kept: bool
) -> None:
    """A machine's hour costs the same whatever runs on it."""
    both = make_costly(prices=prices, prompt_model="big")
    few, tuned = both.methods
    verdict = make_verdict(
        replace(both, methods=[replace(few, model="big"), replace(tuned, model=both.model)])
    )
    assert verdict.break_even.unit == ("money" if kept else "seconds")
    assert (verdict.costs["few_shot"].price is not None) == kept
    assert (
        verdict.costs["fine_tune"].price == make_verdict(both).costs["fine_tune"].price is not None
    )


def test_what_the_examples_cost_is_earned_back_with_training() -> None:
    prices = Prices(prompt=10, cached=1, answer=20, per_hour=6, data=250)
    earned = make_verdict(make_costly(prices=prices)).break_even
    assert (earned.unit, earned.fixed) == ("money", 256)


def test_tuning_that_takes_longer_per_request_never_pays() -> None:
    few = make_method("few_shot", make_scores(100, 400), cost=PricedCost(100, 0, 10, 0.1))
    tuned = make_method(
        "fine_tune", make_scores(300, 400), cost=PricedCost(100, 0, 10, 0.1), train_seconds=60.0
    )
    verdict = make_verdict(make_inputs([few, tuned], usage=Usage(requests_per_month=5)))
    assert verdict.break_even.requests is None
    assert verdict.break_even.text.startswith("Fine-tuning does not save time: ")
    assert "none on time" in verdict.advice[0].basis
    assert "money" not in verdict.advice[0].text, "no price was given"


def test_rare_use_is_not_earned_back_within_a_year() -> None:
    verdict = make_verdict(make_costly(usage=Usage(requests_per_month=10)))
    assert "does not earn back its time within a year" in verdict.advice[0].text


# the object


def test_verdict_json_has_these_keys(tmp_path: Path) -> None:
    rows = ScoredRows(
        [f"{row:05d}" for row in range(400)], tags=[{"source": "ab"[row % 2]} for row in range(400)]
    )
    verdict = to_json(make_verdict(make_costly(rows=rows, target=0.9)))
    assert " ".join(verdict) == (
        "sentence caveats advice recommended leaning basis open test_rows headline target ladder "
        "pairs critical break_even by_tag costs contract_rates other_metrics details train_rows "
        "baseline_on_equal_rows evidence bigger made_rows judge error_costs most_frequent failures"
    )
    assert set(verdict["headline"]) == {
        "tuned",
        "untuned",
        "difference",
        "p",
        "test",
        "gains",
        "undecided",
    }
    assert " ".join(sorted(verdict["ladder"][0])) == (
        "estimate is_stored learned method num_candidates num_tried rows rows_to_decide status"
    )
    assert set(verdict["pairs"][0]) == {"a", "b", "difference"}
    assert [line["estimate"]["n"] for line in verdict["by_tag"]] == [200] * 4


@given(found=built(Verdict))
def test_what_is_written_is_read_again_to_the_byte(
    found: Verdict, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file, again = (
        tmp_path_factory.mktemp("verdict") / name for name in ("verdict.json", "again.json")
    )
    write_verdict(file, found)
    read = read_verdict(file)
    assert read is not None
    assert read == found
    write_verdict(again, read)
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("sentence", 3, "Verdict.sentence has the wrong type: '3'"),
        ("ladder", [{"method": "prompt", "status": "worse"}], "Verdict.ladder has no 'estimate'"),
        (
            "break_even",
            {"unit": "hours"},
            "Verdict.break_even.unit is 'hours', not one of 'money', 'seconds'",
        ),
        (
            "test_rows",
            {"answered": "4", "total": 4},
            "Verdict.test_rows.answered has the wrong type",
        ),
        (
            "target",
            {"target": True, "met_by": None, "text": ""},
            "Verdict.target.target has the wrong type",
        ),
    ],
)
def test_a_file_that_holds_no_verdict_is_named_with_the_part(
    key: str, value: object, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "verdict.json"
    assert read_verdict(file) is None
    body = to_json(make_verdict(make_ladder({"prompt": 200, "fine_tune": 336}, target=0.9)))
    write_json(file, body | {key: value})
    with pytest.raises(RunError, match=re.escape(str(file))) as failure:
        read_verdict(file)
    assert said in str(failure.value)


def test_a_single_group_gives_a_verdict_that_decides_nothing() -> None:
    rows = ScoredRows([f"{row:05d}" for row in range(400)], ["all"] * 400)
    verdict = make_verdict(make_ladder({"few_shot": 100, "fine_tune": 300}, rows=rows))
    assert {row.status for row in verdict.ladder} == {"undecided"}
    assert verdict.critical is None
    json.dumps(to_json(verdict), allow_nan=False)


@pytest.mark.parametrize(
    "metric", [ACCURACY, Metric("macro_f1", "classify"), Metric("chrf", "answer")]
)
def test_the_order_of_rows_changes_nothing(metric: Metric) -> None:
    rng = np.random.default_rng(1)
    num = 120
    labels = rng.choice(list("aaab"), num)
    guesses = [np.where(rng.random(num) < share, labels, "b") for share in (0.6, 0.7, 0.9)]
    values = [
        rng.random(num) if metric.name == "chrf" else (guess == labels).astype(float)
        for guess in guesses
    ]

    def of(order: Sequence[int]) -> VerdictInputs:
        rows = ScoredRows(
            [f"{row:05d}" for row in order],
            [str(row // 3) for row in order],
            labels[order].tolist(),
        )
        methods = [
            make_method(name, value[order].tolist(), predicted=guess[order].tolist())
            for name, value, guess in zip(
                ("prompt", "few_shot", "fine_tune"), values, guesses, strict=True
            )
        ]
        return make_inputs(methods, rows=rows, metric=metric)

    assert make_verdict(of(np.arange(num))) == make_verdict(of(rng.permutation(num)))


def test_other_measures_are_estimated_and_decide_nothing() -> None:
    labels = ["a"] * 360 + ["b"] * 40
    guesses = {"few_shot": ["a"] * 400, "fine_tune": labels}

    def of(beside: bool) -> VerdictInputs:
        methods = []
        for name, guess in guesses.items():
            right = [float(x == y) for x, y in zip(guess, labels, strict=True)]
            others = {"macro_f1": right} if beside else {}
            methods.append(make_method(name, right, predicted=guess, other_metrics=others))
        return make_inputs(
            methods, rows=ScoredRows([f"{row:05d}" for row in range(400)], expected=labels)
        )

    with_others = to_json(make_verdict(of(True)))
    without = to_json(make_verdict(of(False)))
    values = with_others.pop("other_metrics")
    assert {name: list(found) for name, found in values.items()} == {
        key: ["macro_f1"] for key in guesses
    }
    assert values["few_shot"]["macro_f1"]["value"] == pytest.approx(
        f1_score(labels, ["a"] * 400, average="macro")
    )
    assert values["few_shot"]["macro_f1"]["n"] == 400
    assert without.pop("other_metrics") == {name: {} for name in guesses}
    assert with_others == without


def test_macro_f1_decides_by_labels_and_shows_tags_by_share_right() -> None:
    labels = ["a"] * 360 + ["b"] * 40
    guesses = {"few_shot": ["a"] * 400, "fine_tune": labels}
    methods = [
        make_method(
            name, [float(x == y) for x, y in zip(guess, labels, strict=True)], predicted=guess
        )
        for name, guess in guesses.items()
    ]
    rows = ScoredRows([f"{row:05d}" for row in range(400)], expected=labels)
    verdict = make_verdict(make_inputs(methods, rows=rows, metric=Metric("macro_f1", "classify")))
    assert (verdict.headline.test, verdict.recommended) == ("swaps", "fine_tune")
    values = {
        (line.value, line.method): line.estimate.value
        for line in verdict.by_tag
        if line.tag == "label"
    }
    assert values["b", "few_shot"] == 0
    assert values["b", "fine_tune"] == 1


def test_a_tag_called_label_stands_beside_the_wanted_label() -> None:
    labels = ["a"] * 300 + ["b"] * 100
    tags = ["seen", "told"] * 200
    verdict = make_verdict(
        make_inputs(
            [make_method("few_shot", make_scores(300, 400), predicted=["a"] * 400)],
            rows=ScoredRows(
                [f"{row:05d}" for row in range(400)],
                expected=labels,
                tags=[
                    {"label": tag, "label (tag)": "x", "own": f"{row}"}
                    for row, tag in enumerate(tags)
                ],
            ),
        )
    )
    counts = {(line.tag, line.value): line.estimate.n for line in verdict.by_tag}
    assert counts == {
        ("label", "a"): 300,
        ("label", "b"): 100,
        ("label (tag)", "seen"): 200,
        ("label (tag)", "told"): 200,
        ("label (tag) (tag)", "x"): 400,
    }


def test_the_pair_of_the_headline_is_named_on_dev() -> None:
    dev = {"prompt": 900, "few_shot": 901, "fine_tune": 48}
    samples = [
        (name, name == "fine_tune", make_score_sample(make_scores(right, 1_000)))
        for name, right in dev.items()
    ]
    result = choose_headline_pair(samples)
    assert (result.untuned, result.tuned) == ("prompt", "fine_tune")
    assert "not worse by more than 2 points" in result.reasons[0]
    assert choose_headline_pair(samples, margin=0.001).untuned == "few_shot"
    assert choose_headline_pair(samples[:2]).tuned is None


def test_lines_of_predictions_become_rows_and_methods_in_one_order() -> None:
    line = {
        **{
            "expected": "a ",
            "tags": {},
            "value": "a",
            "answer": "a",
            "other_metrics": {"chrf": 0.25},
        },
        **{"keeps_contract": None, "check": 0.5, "truncated": False, "answer_tokens": 4},
        **{"prompt_tokens": 10, "cached_tokens": 2, "seconds": 0.1},
    }
    lines = [line | {"id": name, "unit": name, "score": float(name == "x")} for name in "xyz"]
    rows = build_scored_rows(lines, labels=True)
    result = build_method_result("prompt", reversed(lines), rows.ids, tuned=False)
    assert list(result.scores) == [1, 0, 0]
    assert result.other_metrics == {"chrf": [0.25] * 3}
    assert result.cost == PricedCost(10, 2, 4, pytest.approx(0.1))
    assert rows.expected == ["a"] * 3


@pytest.mark.parametrize(
    ("rows", "words"), [(7, "about 7"), (150, "about 150"), (4_873, "about 4,900")]
)
def test_numbers_of_rows_are_rounded_up_to_two_digits(rows: int, words: str) -> None:
    assert format_about(rows) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0.24, "24"), (0.005, "0.5"), (-0.0001, "0"), (-0.031, "-3.1")]
)
def test_points_are_short(value: float, words: str) -> None:
    assert format_points(value) == words


def test_a_gain_that_exact_mcnemar_would_miss_is_not_called_visible() -> None:
    """Three one-way rows of 50 give p = 0.25, and five would give 0.0625: a gain is seen from eight
    rows on.
    """
    verdict = make_verdict(make_ladder({"few_shot": 30, "fine_tune": 33}, 50))
    assert verdict.headline.p == 0.25
    assert any("smaller than about 16 points" in caveat for caveat in verdict.caveats)


@pytest.mark.parametrize(
    ("rows", "there_are", "told"), [(2_410, 50, "2,500"), (88_000, 400, "many more")]
)
def test_rows_far_from_those_there_are_are_told_without_digits(
    rows: int, there_are: int, told: str
) -> None:
    assert format_rows(rows, there_are) == told


def test_a_verdict_far_from_decided_gives_no_false_number_of_rows() -> None:
    """A method 1.2 points behind is decided by 1.2 - 2 = 0.8 points: tens of thousands of rows."""
    prompt = make_method("prompt", make_scores(150, 250))
    verdict = make_verdict(
        make_inputs([prompt, make_method("few_shot", make_scores(153, 250, 60))])
    )
    rows = verdict.ladder[0].rows_to_decide
    assert rows is not None
    assert rows > 50 * 250
    assert verdict.sentence.endswith("; many more than 250 test rows would settle it.")


def test_where_nothing_is_right_that_is_said_first_with_what_is_partly_right() -> None:
    none = make_scores(0, 50)
    fields = {"prompt": [0.25] * 50, "fine_tune": [0.5] * 49 + [0.0]}
    methods = []
    for name, values in fields.items():
        parts = {
            "other_metrics": {"right_fields": values},
            "keeps_contract": [name == "prompt"] * 50,
        }
        methods.append(make_method(name, none, **parts))
    verdict = make_verdict(make_inputs(methods, metric=Metric("exact_match", "extract")))
    assert verdict.sentence == (
        "No method got any of 50 rows right. Best share of right fields: 49% (fine_tune). "
        "Best share of answers that keep the contract: 100% (prompt)."
    )
    assert verdict.recommended is None
    assert [(step.status, step.rows_to_decide) for step in verdict.ladder] == [
        ("undecided", None)
    ] * 2


def test_nothing_right_is_never_among_the_best_however_many_the_rows() -> None:
    verdict = make_verdict(make_ladder({"prompt": 0, "fine_tune": 0}, 3_000))
    assert verdict.sentence == "No method got any of 3,000 rows right."
    assert verdict.recommended is None


def test_a_missed_target_is_said_beside_what_to_use() -> None:
    right = {"baseline": 94, "prompt": 10, "few_shot": 0}
    verdict = make_verdict(make_ladder(right, target=0.9))
    start = "No method is good enough: the best one, baseline, scores 23.5% (95% interval "
    assert verdict.sentence.startswith(start)
    assert ", below the target of 90%." in verdict.sentence
    assert verdict.recommended == "baseline"
    assert not verdict.reaches_target
    reached = make_verdict(make_ladder(right, target=0.25))
    assert reached.sentence.startswith("Use baseline")
    assert (reached.recommended, reached.reaches_target) == ("baseline", False)
    met = make_verdict(make_ladder({"few_shot": 300, "fine_tune": 360}, target=0.7))
    assert (met.recommended, met.reaches_target) == ("fine_tune", True)


# the bigger model


def test_the_bigger_prompted_model_is_compared_with_the_tuned_one_and_its_answers_counted() -> None:
    scores = {
        "prompt": make_scores(330, 400),
        "few_shot": make_scores(390, 400),
        "fine_tune": make_scores(320, 400, 60),
    }
    methods = [
        make_method(name, values, cost=PricedCost(100, 0, 10, 2.0))
        for name, values in scores.items()
    ]
    pair = HeadlinePair("few_shot", "fine_tune", (), "prompt")
    inputs = make_inputs(methods, pair=pair, prompt_model="m", prices=Prices(per_hour=3.6))
    verdict = make_verdict(inputs)
    result = verdict.bigger
    both = np.array([scores["fine_tune"], scores["prompt"]], bool)
    assert (result.tuned, result.prompted) == ("fine_tune", "prompt")
    assert result.num_only_tuned == (both[0] & ~both[1]).sum()
    assert result.num_only_prompted == (both[1] & ~both[0]).sum()
    assert result.difference == newcombe_paired(scores["fine_tune"], scores["prompt"])
    assert verdict.caveats[0] == result.text
    assert result.text.startswith(
        "fine_tune scores 2 points less than prompt on the bigger model m (95% interval "
    )
    assert "2 s (2 per 1,000) with fine_tune and 2 s (2 per 1,000) with prompt" in result.text
    assert (
        f"Only prompt is right on {result.num_only_prompted} of these test questions" in result.text
    )
    assert make_verdict(replace(inputs, pair=replace(pair, prompted=None))).bigger is None
    assert make_verdict(replace(inputs, total_rows=60)).bigger is None, (
        "too few rows for a verdict on tuning"
    )


def test_one_made_row_adds_and_more_add() -> None:
    gain = Estimate(0.031, 0.004, 0.059, 100)
    assert write_made_rows("fine_tune", 1, gain, gain, None).startswith(
        "1 made row adds 3.1 points (0.4 to 5.9) to "
    )
    assert write_made_rows("fine_tune", 2, gain, gain, gain).endswith(
        "; 2 made rows drawn at random add 3.1."
    )
