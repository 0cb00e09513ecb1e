"""The plan: priced by what was timed, cut in a fixed order, never below its floors; cut again when a run is late."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.base.formatting import format_rough_time
from etude.comparison.plan import (
    MIN_DEV,
    MIN_TEST,
    MIN_TRAIN,
    OVERRUN_FACTOR,
    REDUCED_DEV,
    REDUCED_TEST,
    FitTiming,
    Pacing,
    Plan,
    Workload,
    drop_methods,
    make_plan,
)
from etude.comparison.prepare import make_question
from etude.estimates.timing import Rates
from etude.methods.fit_context import Effort

WORK = Workload(
    {"prompt": 1, "few_shot": 6, "retrieval": 3, "fine_tune": 1, "fine_tune_retrieval": 1},
    ["fine_tune", "fine_tune_retrieval"],
    2000,
    200,
    900,
    ["retrieval", "fine_tune_retrieval"],
)


def training(rows: int, dev: int, most: int | None) -> float:
    """Three epochs at 0.25 s a row, and the loss on dev around them."""
    epochs = min(3, most or 3)
    return 0.25 * epochs * rows + 0.1 * (epochs + 1) * dev


ANSWER = {"prompt": 0.3, "few_shot": 0.4, "retrieval": 0.9, "fine_tune": 0.2, "fine_tune_retrieval": 0.3}
RATES = Rates(ANSWER, {name: training for name in WORK.tuned}, lambda epochs: 5 + 60.0 * (epochs or 8))
BUDGETS = st.floats(1, 100_000)


def test_without_a_budget_nothing_is_cut() -> None:
    plan = make_plan(WORK, RATES, None)
    assert plan.cuts == ()
    answers = sum(ANSWER[name] * (tries * 200 + 900) for name, tries in WORK.num_candidates.items())
    assert plan.total == pytest.approx(answers + 2 * training(2000, 200, None) + 485)
    assert plan.seconds["retrieval"] == pytest.approx(0.9 * 1500 + 485), (
        "the first that searches fits the search"
    )
    assert plan.fit_seconds("fine_tune") == pytest.approx(0.2 * 200 + training(2000, 200, None))


@given(BUDGETS)
def test_a_plan_fits_its_budget_or_is_the_smallest_there_is(budget: float) -> None:
    plan, smallest = make_plan(WORK, RATES, budget), make_plan(WORK, RATES, 0.001)
    assert plan.total <= budget or plan == smallest
    assert plan.total <= make_plan(WORK, RATES, None).total
    assert plan.limits["dev_rows"] >= MIN_DEV
    assert plan.limits["train_rows"] >= MIN_TRAIN
    assert plan.limits["test_rows"] >= MIN_TEST


@given(BUDGETS, BUDGETS)
def test_a_larger_budget_never_does_less(one: float, other: float) -> None:
    small, large = (make_plan(WORK, RATES, budget) for budget in sorted((one, other)))
    assert all(large.limits[name] >= small.limits[name] for name in small.limits)


@given(BUDGETS)
def test_prompts_are_cut_before_the_training_and_the_search_last(budget: float) -> None:
    plan = make_plan(WORK, RATES, budget)
    effort, limits = plan.effort, plan.limits
    if effort.epochs is not None:
        assert effort.candidates is not None
        assert effort.candidates <= 2
        assert limits["dev_rows"] <= REDUCED_DEV
        assert limits["test_rows"] <= REDUCED_TEST
    if effort.train_rows is not None:
        assert effort.epochs == 1
    if effort != Effort():
        assert effort.search_epochs is not None, "the second training of the search goes first"
    if effort.search_epochs in (1, 2):
        assert (limits["train_rows"], limits["test_rows"]) == (MIN_TRAIN, MIN_TEST)
    assert bool(plan.cuts) == (effort != Effort())


def test_what_all_of_the_training_would_take_is_kept_beside_a_cut_plan() -> None:
    plan = make_plan(WORK, RATES, 0.1)
    assert plan.full_seconds["fine_tune"] == training(2000, 200, None)
    assert plan.training_seconds["fine_tune"] == training(MIN_TRAIN, MIN_DEV, 1)
    part = Workload(**{**vars(WORK), "train": 300, "all_train": 2000})
    assert make_plan(part, RATES, None).full_seconds["fine_tune"] == training(2000, 200, None)


def test_cuts_name_rows_as_they_are_written_elsewhere() -> None:
    plan = make_plan(Workload({"prompt": 1, "fine_tune": 1}, ["fine_tune"], 1440, 200, 1200), RATES, 0.1)
    assert plan.cuts == (
        "at most 1 candidate a method on dev",
        "choices on 30 of 200 dev rows",
        "at most 1 epoch of training",
        "training on 240 of 1,440 rows",
        "test on 100 of 1,200 rows",
    )


def test_small_data_is_used_whole_however_small_the_budget() -> None:
    plan = make_plan(Workload({"prompt": 1}, [], 60, 30, 50), RATES, 0.1)
    assert plan.limits == {"train_rows": 60, "dev_rows": 30, "test_rows": 50}


@pytest.mark.parametrize("plan", [make_plan(WORK, RATES, 600), drop_methods(WORK, RATES, 100)])
def test_a_plan_is_the_same_after_it_was_written_down(plan: Plan) -> None:
    assert Plan.from_dict(plan.to_dict()) == plan


def test_durations_read_as_people_say_them() -> None:
    assert format_rough_time(20) == "under a minute"
    assert format_rough_time(60) == "about 60 s"
    assert format_rough_time(3010) == "about 50 min"
    assert format_rough_time(9000) == "about 2.5 h"
    assert math.isfinite(make_plan(WORK, RATES, 1).total)


# steps that are left out


@given(st.floats(1, 2000))
def test_steps_are_left_out_until_the_rest_fits_and_the_highest_stays(budget: float) -> None:
    plan = drop_methods(WORK, RATES, budget)
    assert plan.total <= budget or list(plan.seconds) == ["fine_tune_retrieval"]
    assert set(plan.left_out) | set(plan.seconds) == set(WORK.num_candidates)
    if "fine_tune" in plan.left_out:
        assert {"prompt", "few_shot", "retrieval"} <= set(plan.left_out)
    assert plan.cuts[: len(plan.left_out)] == tuple(f"without {name}" for name in plan.left_out)


def test_the_one_that_takes_longest_is_left_out_first_and_the_search_is_not_its_own() -> None:
    smallest = make_plan(WORK, RATES, 0.1).total
    plan = drop_methods(WORK, RATES, smallest - 1)
    assert plan.left_out == ("retrieval",)
    assert plan.training_seconds["search"] >= 65, "the next one that searches fits the search"
    assert drop_methods(WORK, RATES, smallest) == make_plan(WORK, RATES, smallest)


def test_one_line_names_the_time_of_all_and_what_is_left_out() -> None:
    smallest = make_plan(WORK, RATES, 0.1).total
    plan = drop_methods(WORK, RATES, smallest - 1)
    asked = make_question(plan, smallest - 1, smallest) or ""
    assert asked.startswith(
        f"Even the smallest plan with all methods takes {format_rough_time(smallest)}, over the budget of "
    )
    assert f"(budget: {math.ceil(smallest / 60)}m is enough for all)" in asked
    assert (
        f"Without retrieval it takes {format_rough_time(plan.total)}. Leave them out and continue?" in asked
    )
    alone = make_plan(Workload({"prompt": 1}, [], 60, 30, 50), RATES, 1)
    assert "no method can be left out; budget: 1m is enough for all. Continue?" in (
        make_question(alone, 1, 24) or ""
    )
    assert make_question(make_plan(WORK, RATES, smallest), smallest, smallest) is None


# a run that is late


def pacing(left: float) -> Pacing:
    """With so many seconds left."""
    return Pacing(WORK, RATES, time.monotonic() + left)


def on_time(plan: Plan, *names: str, slow: float = 1.0) -> dict[str, FitTiming]:
    """What these steps take, `slow` times what was planned."""
    return {
        name: FitTiming(plan.fit_seconds(name), slow * plan.fit_seconds(name), slow * ANSWER[name])
        for name in names
    }


def left_of(plan: Plan, *begun: str) -> float:
    """Seconds that the plan foresees for what has not begun, and for the test of all."""
    return sum(
        plan.seconds[name] - plan.fit_seconds(name) if name in begun else plan.seconds[name]
        for name in plan.seconds
    )


def test_a_run_on_time_keeps_its_plan() -> None:
    plan = make_plan(WORK, RATES, 3000)
    remaining = pacing(left_of(plan, "prompt") + 1).shorten(plan, "few_shot", on_time(plan, "prompt"))
    assert remaining is plan


def test_a_short_method_that_takes_longer_to_begin_says_little_of_the_others() -> None:
    plan = make_plan(WORK, RATES, 3000)
    planned = plan.fit_seconds("prompt")
    taken = {"prompt": FitTiming(planned, planned + 30, ANSWER["prompt"])}
    assert pacing(left_of(plan, "prompt") - 30).shorten(plan, "few_shot", taken) is plan


def test_a_late_run_cuts_what_has_not_begun_and_says_from_where_on() -> None:
    plan = make_plan(WORK, RATES, 3000)
    taken = on_time(plan, "prompt", "few_shot", slow=1.5)
    late = pacing(left_of(plan, "prompt", "few_shot")).shorten(plan, "retrieval", taken)
    assert late.limits["train_rows"] < plan.limits["train_rows"]
    assert late.cuts[-1].startswith("from retrieval on, because earlier methods took longer than planned: ")
    assert f"training on {late.limits['train_rows']:,} of 2,000 rows" in late.cuts[-1]
    assert late.total <= OVERRUN_FACTOR * left_of(plan, "prompt", "few_shot"), (
        "the rest fits at the pace so far"
    )
    again = pacing(10_000).shorten(late, "fine_tune", taken | on_time(late, "retrieval"))
    assert again is late, "what was cut stays cut"


@pytest.mark.parametrize(
    ("begins", "when"), [("", "before the test was opened"), ("evidence", "from evidence on")]
)
def test_once_all_methods_are_fitted_the_test_rows_are_all_that_can_be_cut(begins: str, when: str) -> None:
    plan = make_plan(WORK, RATES, 3000)
    taken = on_time(plan, *WORK.num_candidates, slow=2.0)
    late = pacing(left_of(plan, *WORK.num_candidates)).shorten(plan, begins, taken)
    assert MIN_TEST <= late.limits["test_rows"] < plan.limits["test_rows"]
    assert late.cuts[-1].startswith(f"{when}, because")
    assert late.cuts[-1].endswith(f"planned: test on {late.limits['test_rows']} of 900 rows")
    assert late.limits | {"test_rows": 0} == plan.limits | {"test_rows": 0}


def test_an_epoch_more_is_begun_only_if_all_that_comes_after_it_still_fits() -> None:
    plan = make_plan(WORK, RATES, 3000)
    taken = on_time(plan, "prompt", "few_shot", "retrieval")
    after = left_of(plan, "prompt", "few_shot", "retrieval", "fine_tune") + 0.2 * plan.limits["dev_rows"]
    for left, there_is in ((after + 51, True), (after + 49, False)):
        assert pacing(left).has_time(plan, "fine_tune", taken, 50.0) is there_is
