"""The plan under a budget: it fits by its own rates, cuts no cheap method, and is kept as methods start."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.base.formatting import format_rough_time
from etude.comparison.plan import (
    BLOCK_ROWS,
    MIN_DEV,
    MIN_TRAIN,
    Allotment,
    MethodWork,
    Plan,
    Timekeeper,
    Workload,
    count_least_seconds,
    drop_methods,
    format_plan,
    iter_efforts,
    make_plan,
    split_time,
)
from etude.comparison.prepare import make_question
from etude.methods.shared.fit_context import Effort


def train_three_epochs(rows: int, dev: int, most: int | None) -> float:
    """Three epochs at 0.25 s a row, and the loss on dev around them."""
    epochs = min(3, most or 3)
    return 0.25 * epochs * rows + 0.1 * (epochs + 1) * dev


def make_work(speed: float = 1.0, **changes: int) -> Workload:
    """Seven methods, of which the baseline and the encoder take little; everything takes `speed` times as long."""
    methods = [
        MethodWork("baseline", 4, 0.001, is_light=True),
        MethodWork("prompt", 1, 0.3 * speed),
        MethodWork("few_shot", 6, 0.4 * speed),
        MethodWork("retrieval", 3, 0.9 * speed, None, lambda epochs: 5 + 20.0 * (epochs or 8)),
        MethodWork("encoder", 1, 0.01, lambda rows, dev, most: 0.002 * rows, is_light=True),
        MethodWork("fine_tune", 1, 0.2 * speed, train_three_epochs, has_epochs=True),
        MethodWork(
            "fine_tune_retrieval",
            1,
            0.3 * speed,
            train_three_epochs,
            has_epochs=True,
            is_boxed=True,
        ),
    ]
    sizes = {"train": 2000, "dev": 200, "test": 900, **changes}
    searching = ("retrieval", "fine_tune_retrieval")
    return Workload({method.name: method for method in methods}, **sizes, searching=searching)


WORK = make_work()
CHEAP = ("baseline", "encoder")
BUDGETS = st.floats(1, 20_000)


def test_without_a_budget_nothing_is_cut() -> None:
    plan = make_plan(WORK, None)
    assert set(plan.efforts.values()) == {Effort()}
    assert plan.test_rows == WORK.test
    assert plan.total == pytest.approx(sum(WORK.count_whole_seconds(name) for name in WORK.methods))
    assert plan.full_seconds["fine_tune"] == train_three_epochs(2000, 200, None)
    part = make_work(train=300, all_train=2000)
    assert make_plan(part, None).full_seconds["fine_tune"] == train_three_epochs(2000, 200, None)


@given(BUDGETS, st.floats(0.1, 10))
def test_a_plan_fits_its_budget_or_the_question_says_what_it_needs(budget: float, speed: float) -> None:
    work = make_work(speed)
    plan = make_plan(work, budget)
    least = count_least_seconds(work, budget)
    assert plan.total <= max(budget, least) * (1 + 1e-6)
    question = make_question(work, plan, budget, 0.0)
    if plan.total > budget * (1 + 1e-9):
        assert f"set budget: {math.ceil(least / 60)}m to run all" in (question or "")
    else:
        assert question is None


@given(BUDGETS, st.floats(0.1, 10))
def test_methods_that_take_little_are_never_cut(budget: float, speed: float) -> None:
    work = make_work(speed)
    plan = drop_methods(work, budget)
    limits = {name: (0.3 if method.is_light else 0.05) * budget for name, method in work.methods.items()}
    cheap = [name for name in work.methods if work.count_whole_seconds(name) <= limits[name]]
    assert set(plan.cheap) == set(cheap) - set(plan.left_out)
    assert not set(cheap) & set(plan.left_out)
    assert all(plan.efforts[name] == Effort() for name in cheap)


@given(BUDGETS)
def test_no_share_is_smaller_than_is_useful(budget: float) -> None:
    for effort in make_plan(WORK, budget).efforts.values():
        assert effort.dev_rows is None or effort.dev_rows >= MIN_DEV
        assert effort.train_rows is None or effort.train_rows >= MIN_TRAIN
        assert effort.candidates is None or effort.candidates >= 1


@given(BUDGETS, BUDGETS)
def test_a_larger_budget_never_gives_fewer_training_rows(one: float, other: float) -> None:
    small, large = (make_plan(WORK, budget).efforts["fine_tune"] for budget in sorted((one, other)))
    assert (small.train_rows or WORK.train) <= (large.train_rows or WORK.train)
    assert small.train_rows is None or small.epochs == 1, "epochs are cut before rows"


@given(
    st.floats(0, 1000),
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.tuples(st.floats(0, 50), st.floats(0, 200), st.floats(0.5, 4)),
        min_size=1,
    ),
)
def test_time_is_split_whole_and_nobody_gets_more_than_it_can_use(
    seconds: float, claims: dict[str, tuple[float, float, float]]
) -> None:
    claims = {name: (least, least + more, weight) for name, (least, more, weight) in claims.items()}
    shares = split_time(seconds, claims)
    least, most = (sum(claim[index] for claim in claims.values()) for index in (0, 1))
    assert sum(shares.values()) == pytest.approx(min(most, max(least, seconds)), abs=1e-6)
    assert all(claims[name][0] - 1e-9 <= share <= claims[name][1] + 1e-6 for name, share in shares.items())


def test_the_search_learns_from_all_rows_and_the_method_that_uses_it_is_cut_in_seconds() -> None:
    efforts = make_plan(WORK, 900).efforts
    assert efforts["retrieval"].train_rows is efforts["fine_tune_retrieval"].train_rows is None
    box = efforts["fine_tune_retrieval"].box
    assert box is not None
    assert train_three_epochs(MIN_TRAIN, MIN_DEV, 1) <= box < train_three_epochs(2000, 200, None)
    rows = efforts["fine_tune_retrieval"].box_rows
    assert rows is not None
    assert train_three_epochs(rows, MIN_DEV, 1) <= box


def test_efforts_go_from_everything_to_the_smallest_useful_share() -> None:
    efforts = list(iter_efforts(WORK, "few_shot"))
    assert efforts[0] == Effort()
    assert efforts[-1] == Effort(candidates=1, dev_rows=MIN_DEV)
    assert list(iter_efforts(WORK, "fine_tune"))[-1] == Effort(
        epochs=1, train_rows=MIN_TRAIN, dev_rows=MIN_DEV
    )
    small = replace(WORK, train=60, dev=20)
    assert list(iter_efforts(small, "prompt")) == [Effort()], "small data is used in full"


@pytest.mark.parametrize("plan", [make_plan(WORK, 600), drop_methods(WORK, 100), make_plan(WORK, None)])
def test_a_plan_is_the_same_after_it_was_written_down(plan: Plan) -> None:
    assert Plan.from_dict(plan.to_dict()) == plan


@given(st.floats(1, 2000))
def test_methods_are_left_out_until_the_rest_fits_light_ones_and_the_highest_last(budget: float) -> None:
    plan = drop_methods(WORK, budget)
    assert set(plan.left_out) | set(plan.efforts) == set(WORK.methods)
    dear = set(plan.efforts) - set(plan.cheap)
    assert plan.total <= budget * (1 + 1e-6) or len(dear) == 1
    if "fine_tune" in plan.left_out:
        assert not {"prompt", "few_shot", "retrieval"} & dear
    if "fine_tune_retrieval" in plan.left_out:
        assert dear <= {"baseline", "encoder"}
    if "encoder" in plan.left_out:
        assert "fine_tune_retrieval" in plan.left_out


def test_a_light_method_that_is_trained_stays_rather_than_a_dear_one() -> None:
    methods = {name: WORK.methods[name] for name in ("baseline", "prompt", "encoder", "fine_tune")}
    methods["encoder"] = replace(methods["encoder"], training=lambda rows, dev, most: 90.0)
    plan = drop_methods(replace(WORK, methods=methods, searching=()), 120)
    assert plan.left_out == ("prompt", "fine_tune")


def test_one_line_says_the_time_the_methods_and_what_is_cut() -> None:
    plan = make_plan(WORK, 900)
    line = format_plan(WORK, plan)
    assert line.startswith(f"Plan ({format_rough_time(plan.total)}): all 7 methods; ")
    assert f"fine_tune learns from about {plan.efforts['fine_tune'].train_rows:,} of 2,000 rows" in line
    smaller = drop_methods(WORK, 100)
    line = format_plan(WORK.without(smaller.left_out), smaller)
    assert f"methods, without {', '.join(smaller.left_out[:-1])} and {smaller.left_out[-1]}" in line


def test_test_rows_are_whole_blocks_or_one_shorter_block() -> None:
    allotment, slow = Allotment(WORK, 600, CHEAP), 0.3  # seconds that "prompt" takes for a row
    rows = [
        allotment.count_test_rows(["baseline", "prompt"], slow * num) for num in (1, 30, 70, 230, 900, 5000)
    ]
    assert rows == [12, 30, 50, 200, 900, 900]
    assert allotment.count_test_rows(CHEAP, 0) == WORK.test


def run_with_clock(plan: Plan, work: Workload, slow: float) -> tuple[dict[str, Effort], float]:
    """Let methods take `slow` times their planned seconds by a clock of our own; returns efforts and seconds left."""
    now = [0.0]
    allotment = Allotment(work, plan.budget or 0.0, plan.cheap, plan.evidence_seconds)
    keeper, efforts = Timekeeper(allotment, plan.budget or 0.0, lambda: now[0]), dict[str, Effort]()
    names = list(work.methods)
    for position, name in enumerate(names):
        efforts[name] = keeper.choose_effort(name, names[position:], efforts)
        seconds = slow * work.count_fit_seconds(name, efforts[name])
        if efforts[name].box is not None:  # training ends with its box
            training = slow * work.count_training_seconds(name, efforts[name])
            seconds -= max(0.0, training - (efforts[name].box or 0.0))
        now[0] += seconds
    return efforts, keeper.left


@given(st.floats(700, 5000))
def test_a_run_on_time_keeps_the_efforts_of_its_plan(budget: float) -> None:
    plan = make_plan(WORK, budget)
    efforts, left = run_with_clock(plan, WORK, 1.0)
    boxes = {name: effort.box for name, effort in plan.efforts.items() if effort.box is not None}
    assert {name: efforts[name].box for name in boxes} == pytest.approx(boxes, abs=0.2)
    assert {name: replace(effort, box=None) for name, effort in efforts.items()} == {
        name: replace(effort, box=None) for name, effort in plan.efforts.items()
    }
    assert left >= WORK.count_test_seconds(list(WORK.methods), BLOCK_ROWS) - 1e-6


@given(st.floats(1200, 5000), st.floats(1, 1.5))
def test_a_slow_run_keeps_time_for_the_test(budget: float, slow: float) -> None:
    """What one method does not use flows on, so a later one may get more than planned; the test keeps its time."""
    _, left = run_with_clock(make_plan(WORK, budget), WORK, slow)
    assert left >= WORK.count_test_seconds(list(WORK.methods), BLOCK_ROWS)
