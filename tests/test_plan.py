"""The plan: priced by what was timed, cut in a fixed order, never below its floors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.base.wording import rough_time
from etude.comparison.plan import (
    FEWEST_DEV,
    FEWEST_TEST,
    FEWEST_TRAIN,
    Plan,
    Workload,
    make_plan,
)
from etude.comparison.prepare import question
from etude.methods.timing import Rates

WORK = Workload(
    {"prompt": 1, "clear_prompt": 5, "few_shot": 6, "fine_tune": 1}, ["fine_tune"], 2000, 200, 400
)
RATES = Rates(
    answer=0.3,
    training={
        "fine_tune": lambda rows, dev, most: (
            0.25 * min(3, most or 3) * rows + 0.1 * (min(3, most or 3) + 1) * dev
        )
    },
)
BUDGETS = st.floats(1, 100_000)


def test_without_a_budget_nothing_is_cut() -> None:
    plan = make_plan(WORK, RATES, None)
    assert plan.shrunk == ()
    answers = 0.3 * (13 * 200 + 4 * 400)
    assert plan.total == pytest.approx(answers + 0.25 * 3 * 2000 + 0.1 * 4 * 200)


@given(BUDGETS)
def test_a_plan_fits_its_budget_or_is_the_smallest_there_is(budget: float) -> None:
    plan, smallest = make_plan(WORK, RATES, budget), make_plan(WORK, RATES, 0.001)
    assert plan.total <= budget or plan == smallest
    assert plan.total <= make_plan(WORK, RATES, None).total
    assert plan.limits["dev_rows"] >= FEWEST_DEV
    assert plan.limits["train_rows"] >= FEWEST_TRAIN
    assert plan.limits["test_rows"] >= FEWEST_TEST


@given(BUDGETS, BUDGETS)
def test_a_larger_budget_never_does_less(one: float, other: float) -> None:
    small, large = (make_plan(WORK, RATES, budget) for budget in sorted((one, other)))
    assert all(large.limits[name] >= small.limits[name] for name in small.limits)


@given(BUDGETS)
def test_the_order_of_cuts_is_candidates_then_training_then_test(budget: float) -> None:
    plan = make_plan(WORK, RATES, budget)
    if plan.test_rows is not None:
        assert plan.effort.train_rows is not None
    if plan.effort.train_rows is not None:
        assert plan.effort.candidates == 2
    assert bool(plan.shrunk) == (plan.effort.candidates is not None)


def test_cuts_name_rows_as_they_are_written_elsewhere() -> None:
    plan = make_plan(Workload({"prompt": 1, "fine_tune": 1}, ["fine_tune"], 1440, 200, 1200), RATES, 0.1)
    assert plan.shrunk[-2:] == ("training on 360 of 1,440 rows", "test on 300 of 1,200 rows")


def test_small_data_is_used_whole_however_small_the_budget() -> None:
    plan = make_plan(Workload({"prompt": 1}, [], 60, 30, 50), RATES, 0.1)
    assert plan.limits == {"train_rows": 60, "dev_rows": 30, "test_rows": 50}


def test_a_plan_is_the_same_after_it_was_written_down() -> None:
    plan = make_plan(WORK, RATES, 600)
    assert Plan.from_dict(plan.to_dict()) == plan


def test_durations_read_as_people_say_them() -> None:
    assert rough_time(20) == "under a minute"
    assert rough_time(60) == "about 60 s"
    assert rough_time(3010) == "about 50 min"
    assert rough_time(9000) == "about 2.5 h"
    assert math.isfinite(make_plan(WORK, RATES, 1).total)


def test_a_budget_too_small_names_what_takes_the_time_and_what_would_help() -> None:
    plan = make_plan(WORK, RATES, 60)
    asked = question(plan, 60) or ""
    assert max(plan.seconds, key=plan.seconds.__getitem__) == "fine_tune"
    alone, rest = plan.seconds["fine_tune"], plan.total - plan.seconds["fine_tune"]
    assert f"fine_tune alone takes {rough_time(alone)}, the others {rough_time(rest)}; " in asked
    assert f"a budget of {math.ceil(plan.total / 60)}m is enough." in asked
    enough = 60 * math.ceil(plan.total / 60)
    assert make_plan(WORK, RATES, enough).total <= enough
    only = make_plan(Workload({"prompt": 1}, [], 60, 30, 50), RATES, 1)
    assert "All of it is for prompt; a budget of 1m is enough." in (question(only, 1) or "")
