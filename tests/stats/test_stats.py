"""The statistics against scipy, scikit-learn and published values, and their properties."""

import math
from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn.metrics import cohen_kappa_score, f1_score

from etude.stats import (
    UnitSums,
    choose,
    compare_paired,
    compute_joint_intervals,
    estimate,
    estimate_known,
    estimate_sample,
    make_kappa_sample,
    make_label_sample,
    make_score_sample,
    measure_disagreement,
    rows_to_decide,
    smallest_detectable,
    smallest_difference,
    smallest_ever_detectable,
    wilson,
)
from etude.stats.intervals import standard_error
from etude.stats.paired import (
    bootstrap_difference,
    compute_sign_flip_p,
    compute_swap_p,
    mcnemar_exact,
    newcombe_paired,
    solve_reach,
    standard_error_of_difference,
)
from etude.stats.sample import resample_units
from etude.types import Estimate

Floats = npt.NDArray[np.float64]

BITS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
SCORES = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 7)), min_size=2, max_size=40
).filter(lambda rows: len({unit for _, _, unit in rows}) > 1)


def columns(rows: list[tuple[bool, bool]]) -> tuple[Floats, Floats]:
    a, b = np.array(rows, dtype=float).T
    return a, b


def pair(rows: list[tuple[int, int, int]]) -> tuple[UnitSums, UnitSums]:
    units = [str(unit) for _, _, unit in rows]
    return make_score_sample([a / 20 for a, _, _ in rows], units), make_score_sample(
        [b / 20 for _, b, _ in rows], units
    )


def table(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[int], list[int]]:
    a = [1] * (both + only_a) + [0] * (only_b + neither)
    return a, [1] * both + [0] * only_a + [1] * only_b + [0] * neither


# one number


@given(st.integers(0, 200), st.integers(1, 200))
def test_wilson_is_scipys(successes: int, n: int) -> None:
    successes = min(successes, n)
    oracle = scipy_stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


@given(SCORES)
def test_an_estimate_contains_its_value_has_width_and_stays_within_0_and_1(
    rows: list[tuple[int, int, int]],
) -> None:
    for sample in pair(rows):
        interval = estimate_sample(sample)
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
        assert interval.high - interval.low > 0
        assert interval.n == len({unit for _, _, unit in rows})


@given(st.lists(st.tuples(st.none() | st.floats(0, 1), st.integers(0, 3)), max_size=20))
def test_rows_whose_score_is_not_known_take_no_part(rows: list[tuple[float | None, int]]) -> None:
    known = [(score, unit) for score, unit in rows if score is not None]
    interval = estimate_known([score for score, _ in rows], [unit for _, unit in rows])
    assert interval == (estimate([s for s, _ in known], [u for _, u in known]) if known else None)


@given(SCORES, st.randoms())
def test_an_estimate_does_not_hang_on_the_order_of_rows(
    rows: list[tuple[int, int, int]], random
) -> None:  # type: ignore[no-untyped-def]
    shuffled = random.sample(rows, len(rows))
    for one, other in zip(pair(rows), pair(shuffled), strict=True):
        assert estimate_sample(one).low == pytest.approx(estimate_sample(other).low, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_fewer_rows_give_a_wider_interval(value: float) -> None:
    widths = []
    for num in (4, 20, 100, 1_000):
        interval = estimate([value, 1 - value] * (num // 2) if value == 0.5 else [value] * num)
        widths.append(interval.high - interval.low)
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 4


def test_groups_that_agree_within_are_as_informative_as_their_number() -> None:
    scores = np.repeat([1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0], 5)
    grouped = estimate(scores, [str(row // 5) for row in range(60)])
    alone = estimate(scores[::5])
    assert grouped.n == alone.n == 12
    assert grouped.high - grouped.low >= alone.high - alone.low


def test_one_unit_says_nothing() -> None:
    interval = estimate([0.4, 0.6], ["a", "a"])
    assert (interval.value, interval.low, interval.high, interval.n) == (0.5, 0.0, 1.0, 1)


def test_the_standard_error_is_the_bootstraps() -> None:
    scores = np.random.default_rng(1).random(40)
    oracle = scipy_stats.bootstrap(
        (scores,), np.mean, n_resamples=20_000, rng=np.random.default_rng(2)
    )
    assert standard_error(make_score_sample(scores)) == pytest.approx(
        oracle.standard_error * math.sqrt(40 / 39), rel=0.03
    )


def test_estimates_of_grouped_rows_cover_the_truth() -> None:
    """10 groups of 5 with much in common: the percentile bootstrap covers about 88%."""
    rng = np.random.default_rng(3)
    covered = 0
    units = [str(row // 5) for row in range(50)]
    for _ in range(1_000):
        level = rng.beta(4, 2, size=(10, 1))
        interval = estimate((rng.random((10, 5)) < level).ravel().astype(float), units)
        covered += interval.low <= 4 / 6 <= interval.high
    assert covered >= 930


@pytest.mark.parametrize("scores", [[], [[1.0]], [float("nan")]])
def test_scores_that_are_none_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="one finite number per row"):
        make_score_sample(scores)


def test_units_must_be_as_many_as_rows() -> None:
    with pytest.raises(ValueError, match="1 units for 2 rows"):
        make_score_sample([1, 0], ["a"])


LEVEL = st.floats(0, 1, allow_subnormal=False)
GROUP_AND_LABEL = st.tuples(st.integers(0, 3), st.sampled_from("ab"))
TINY = st.lists(GROUP_AND_LABEL, min_size=1, max_size=8).map(
    lambda rows: [[*column] for column in zip(*rows, strict=True)]
)
"""The groups and the labels of 1 to 8 rows."""


def wide(low: float, high: float) -> bool:
    """Whether an interval is more than rounding."""
    return math.isfinite(low) and high - low > 1e-7


@given(TINY, LEVEL, LEVEL, st.booleans())
def test_no_interval_has_zero_width_where_all_rows_score_alike(
    rows: tuple[list[int], list[str]], one: float, other: float, grouped: bool
) -> None:
    """Constant scores, equal groups, constant differences, few of each: no n is enough to know for
    sure.
    """
    groups, labels = rows
    units = groups if grouped else None
    a, b = (make_score_sample([level] * len(groups), units) for level in (one, other))
    answers = (labels, ["a"] * len(labels), [None] * len(labels))
    f1 = [make_label_sample(labels, given, units) for given in answers]
    assert all(wide(found.low, found.high) for found in map(estimate_sample, (a, b, *f1)))
    for first, second in ((a, b), (a, a), (f1[0], f1[1]), (f1[1], f1[2]), (f1[0], f1[0])):
        result = compare_paired(first, second).difference
        assert wide(result.low, result.high)
    joint = compute_joint_intervals([a, b, a], resamples=200)
    bounds = [joint.difference(*two) for two in combinations(range(3), 2)]
    assert all(wide(found.low, found.high) for found in bounds)
    assert a.units == 1 or standard_error_of_difference(a, a) >= 1 / a.units


@given(st.integers(2, 60), LEVEL, st.integers(1, 5))
def test_the_rounding_of_sums_is_no_spread(num: int, level: float, size: int) -> None:
    """Rows that all score 0.1 have a mean of 0.1 and a rounding error; the interval is that of
    their number.
    """
    units = [str(row // size) for row in range(num)]
    interval = estimate([level] * num, units)
    if interval.n > 1:
        shares = wilson(level * interval.n, interval.n, scipy_stats.t.ppf(0.975, interval.n - 1))
        exact = wilson(level * num, num) if size == 1 and level in (0, 1) else shares
        assert (interval.low, interval.high) == pytest.approx(exact, abs=1e-6)


# macro-F1


LABELS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["a", "b", "c", "d", "other"])), min_size=1
)


@given(LABELS)
@settings(deadline=None)
def test_macro_f1_is_scikit_learns(rows: list[tuple[str, str]]) -> None:
    expected, predicted = [list(column) for column in zip(*rows, strict=True)]
    oracle = f1_score(
        expected, predicted, labels=sorted(set(expected)), average="macro", zero_division=0
    )
    assert make_label_sample(expected, predicted).value == pytest.approx(oracle)


def test_macro_f1_under_weights_is_scikit_learns() -> None:
    rng = np.random.default_rng(4)
    expected = rng.choice(list("aaabc"), 60)
    predicted = rng.choice(list("abcd"), 60)
    weights = resample_units(60)[:20]
    result = make_label_sample(expected.tolist(), predicted.tolist()).replicates(weights)
    for value, weight in zip(result, weights, strict=True):
        seen = sorted(set(expected[weight > 0]))
        oracle = f1_score(
            expected, predicted, labels=seen, average="macro", sample_weight=weight, zero_division=0
        )
        assert value == pytest.approx(oracle)


def test_swaps_are_scipys_paired_permutation_test() -> None:
    rng = np.random.default_rng(5)
    expected = np.array(list("aaabbccd"))
    first = rng.choice(list("abcd"), 8)
    second = expected.copy()

    def difference(one: npt.NDArray[np.str_], two: npt.NDArray[np.str_]) -> float:
        seen = sorted(set(expected))
        values = [
            f1_score(expected, x, labels=seen, average="macro", zero_division=0) for x in (one, two)
        ]
        return float(values[0] - values[1])

    values = []
    for swapped in product([False, True], repeat=8):
        one = np.where(swapped, second, first)
        two = np.where(swapped, first, second)
        values.append(difference(one, two))
    oracle = np.mean(np.abs(values) >= abs(difference(first, second)) - 1e-12)
    samples = [make_label_sample(expected.tolist(), labels.tolist()) for labels in (first, second)]
    assert compute_swap_p(*samples) == pytest.approx(oracle)


# kappa


def test_kappa_under_weights_is_scikit_learns() -> None:
    rng = np.random.default_rng(4)
    expected = rng.integers(0, 5, 60)
    predicted = np.clip(expected + rng.integers(-1, 2, 60), 0, 4)
    weights = resample_units(60)[:20]
    result = make_kappa_sample(expected, predicted).replicates(weights)
    for value, weight in zip(result, weights, strict=True):
        oracle = cohen_kappa_score(expected, predicted, weights="quadratic", sample_weight=weight)
        assert value == pytest.approx(oracle, abs=1e-9)


def test_kappa_in_groups_is_that_of_the_rows() -> None:
    expected = [0, 1, 2, 3, 3, 0]
    predicted = [0, 2, 2, 3, 1, 0]
    grouped = make_kappa_sample(expected, predicted, ["a", "a", "b", "b", "c", "c"])
    oracle = cohen_kappa_score(expected, predicted, weights="quadratic")
    assert (grouped.units, grouped.value) == (3, pytest.approx(oracle, abs=1e-9))


def test_agreement_below_chance_and_a_constant_have_no_kappa() -> None:
    assert make_kappa_sample([0, 4, 0, 4], [4, 0, 4, 0]).value == 0
    assert make_kappa_sample([0, 1, 2, 3], [2, 2, 2, 2]).value == 0
    assert make_kappa_sample([2, 2], [2, 2]).value == 1


@pytest.mark.parametrize(("agreement", "rows"), [(0.05, 50), (0.1, 30), (0.2, 30), (0.9, 50)])
def test_the_interval_of_kappa_covers_near_0_and_1(agreement: float, rows: int) -> None:
    """Answers are right with this probability and else even over five scores, so kappa is that
    probability.
    """
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        expected, random_scores = rng.integers(0, 5, (2, rows))
        predicted = np.where(rng.random(rows) < agreement, expected, random_scores)
        interval = estimate_sample(make_kappa_sample(expected, predicted))
        covered += interval.low <= agreement <= interval.high
    assert covered >= 0.87 * 200


def test_a_kappa_far_below_chance_has_an_interval_from_0() -> None:
    opposite = estimate_sample(make_kappa_sample([0, 4] * 20, [4, 0] * 20))
    assert (opposite.value, opposite.low) == (0, 0)
    assert 0 < opposite.high < 0.15


@pytest.mark.real
def test_the_interval_of_kappa_covers_and_equal_methods_differ_seldom() -> None:
    """400 samples of 150 rows whose answers are right with probability 0.6 and else even over five
    scores.
    """
    rng = np.random.default_rng(0)
    chance = np.full((5, 5), 0.4 / 25) + np.eye(5) * 0.6 / 5
    distance = (np.arange(5)[:, None] - np.arange(5)) ** 2
    truth = 1 - (chance * distance).sum() / (distance / 25).sum()
    covered = gains = 0
    for _ in range(400):
        expected = rng.integers(0, 5, 150)
        answers = [
            np.where(rng.random(150) < 0.6, expected, rng.integers(0, 5, 150)) for _ in range(2)
        ]
        first, second = (make_kappa_sample(expected, answer) for answer in answers)
        interval = estimate_sample(first)
        covered += interval.low <= truth <= interval.high
        gains += compare_paired(first, second).gains
    assert covered >= 0.92 * 400
    assert gains <= 20  # 2.5% are expected, 20 of 400 have a chance of under one in a hundred


# two methods


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        (
            (59, 6, 16, 80),
            -0.1186,
            -0.0046,
        ),  # Cavo et al. 2012, in Fagerland, Lydersen and Laake 2017
        (
            (1, 1, 7, 12),
            -0.507,
            -0.026,
        ),  # Bentur et al. 2009, in Fagerland, Lydersen and Laake 2014
        ((14, 5, 0, 22), 0.011, 0.226),  # Altman et al. 2000, table 6.2
    ],
)
def test_newcombe_gives_the_published_intervals(
    cells: tuple[int, ...], low: float, high: float
) -> None:
    result = newcombe_paired(*table(*cells))
    assert (result.low, result.high) == pytest.approx((low, high), abs=6e-4)


@given(BITS)
def test_newcombe_contains_its_value_has_width_and_mirrors(rows: list[tuple[bool, bool]]) -> None:
    check_difference(newcombe_paired, *columns(rows))


def check_difference(measure: Callable[..., Estimate], a: Any, b: Any) -> None:
    """An interval contains its value, has width and mirrors."""
    result = measure(a, b)
    mirrored = measure(b, a)
    assert -1 <= result.low <= result.value <= result.high <= 1
    assert result.high > result.low
    assert (result.value, result.low, result.high) == pytest.approx(
        (-mirrored.value, -mirrored.high, -mirrored.low)
    )


@given(BITS)
def test_mcnemar_is_scipys_binomial_test(rows: list[tuple[bool, bool]]) -> None:
    a, b = columns(rows)
    wins = int((a > b).sum())
    losses = int((a < b).sum())
    oracle = scipy_stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar_exact(a, b) == pytest.approx(oracle)


@given(BITS)
def test_sign_flips_of_right_and_wrong_are_mcnemar(rows: list[tuple[bool, bool]]) -> None:
    a, b = columns(rows)
    assert compute_sign_flip_p(a - b) == pytest.approx(mcnemar_exact(a, b))


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=10))
@settings(deadline=None)
def test_sign_flips_are_scipys_permutation_test(diffs: list[int]) -> None:
    values = np.array(diffs, dtype=float)
    oracle = scipy_stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="greater"
    )
    exact = np.mean(np.abs(oracle.null_distribution) >= abs(values.sum()) - 1e-9)
    assert compute_sign_flip_p(values) == pytest.approx(exact)
    assert compute_sign_flip_p(values / 7) == pytest.approx(exact)


def test_many_sign_flips_of_scores_come_near_the_exact_p() -> None:
    diffs = np.random.default_rng(6).integers(-3, 5, 60).astype(float)
    assert compute_sign_flip_p(diffs / 7) == pytest.approx(compute_sign_flip_p(diffs), abs=0.015)


@given(SCORES)
@settings(deadline=None)
def test_a_difference_contains_its_value_has_width_and_mirrors(
    rows: list[tuple[int, int, int]],
) -> None:
    a, b = pair(rows)
    check_difference(bootstrap_difference, a, b)
    headline = compare_paired(a, b)
    mirrored = compare_paired(b, a)
    assert headline.p == pytest.approx(mirrored.p)
    assert not (headline.gains and mirrored.gains)


def test_more_wins_mean_a_higher_interval_and_four_to_none_is_no_gain() -> None:
    lows = [newcombe_paired(*table(80, wins, 4, 16 - wins)).low for wins in range(16)]
    assert lows == sorted(lows)
    four, six = (
        compare_paired(*map(make_score_sample, table(190, wins, 0, 10 - wins))) for wins in (4, 6)
    )
    assert not four.gains
    assert six.gains


def test_methods_that_never_differ_are_not_known_to_be_equal() -> None:
    a = make_score_sample([0.5] * 20)
    result = bootstrap_difference(a, a)
    assert result.low < -0.1 < 0.1 < result.high
    assert compare_paired(a, a).p == 1
    joint = compute_joint_intervals(samples_of(np.ones((30, 3))))
    assert joint.critical >= 1.96
    assert joint.difference(0, 1).low < -0.1


@given(st.floats(1, 5), st.floats(1e-3, 1), st.floats(0, 1))
def test_an_interval_ends_where_it_is_critical_errors_away(
    critical: float, error: float, tilt: float
) -> None:
    x = solve_reach(critical, error, tilt)
    assert x**2 == pytest.approx(critical**2 * (error**2 + tilt * x))
    assert x >= critical * error * (1 - 1e-9)


def test_intervals_of_lopsided_differences_cover_the_truth() -> None:
    """5% of 60 rows are lost, none won: value ± 1.96 standard errors covers under 90%."""
    rng = np.random.default_rng(8)
    covered = 0
    lower = 0
    for _ in range(1_000):
        a = make_score_sample(1.0 - (rng.random(60) < 0.05))
        b = make_score_sample(np.ones(60))
        result = bootstrap_difference(a, b)
        covered += result.low <= -0.05 <= result.high
        lower += result.low > -0.05
    assert covered >= 950
    assert lower <= 37


@given(SCORES)
def test_a_difference_stays_within_what_the_intervals_of_both_values_allow(
    rows: list[tuple[int, int, int]],
) -> None:
    a, b = pair(rows)
    result = bootstrap_difference(a, b)
    alone_a = estimate_sample(a)
    alone_b = estimate_sample(b)
    if a.units < a.rows:
        assert result.low >= alone_a.low - alone_b.high - 1e-9
        assert result.high <= alone_a.high - alone_b.low + 1e-9


def test_a_unit_with_most_of_the_rows_does_not_hide_a_certain_difference() -> None:
    """18 units of one case and one of 30: all right against all wrong."""
    units = [*map(str, range(18)), *["large"] * 30]
    result = compare_paired(
        make_score_sample([1.0] * 48, units), make_score_sample([0.0] * 48, units)
    ).difference
    assert result.value == 1.0
    assert result.low > 0.5


@pytest.mark.real
def test_intervals_of_very_unequal_units_cover_the_truth() -> None:
    """A tenth of the units hold most of the rows; rows of a unit are alike."""
    rng = np.random.default_rng(3)
    covered = 0
    num = 0
    unequal = np.maximum(1, np.round(np.exp(rng.normal(0.5, 1.2, 60)))).astype(int)
    for sizes in (np.r_[np.ones(45, int), np.full(5, 12)], unequal):
        units = np.repeat(np.arange(len(sizes)), sizes)
        for share_a, share_b in ((0.9, 0.6), (0.7, 0.7)):
            for _ in range(500):
                chances = [
                    rng.beta(2 * share, 2 * (1 - share), len(sizes)) for share in (share_a, share_b)
                ]
                answers = [
                    (rng.random(len(units)) < chance[units]).astype(float) for chance in chances
                ]
                a, b = (make_score_sample(side, units.tolist()) for side in answers)
                result = bootstrap_difference(a, b)
                covered += result.low <= share_a - share_b <= result.high
                num += 1
    assert 0.94 <= covered / num <= 0.97


@pytest.mark.parametrize(("a", "b"), [([1, 0], [1]), ([], []), ([1, 0.5], [1, 0])])
def test_paired_right_and_wrong_is_checked(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match=r"same rows|0 or 1"):
        newcombe_paired(a, b)


# many methods


def samples_of(scores: Floats) -> list[UnitSums]:
    return [make_score_sample(column) for column in scores.T]


def test_joint_intervals_mirror_and_are_wider_than_single_ones() -> None:
    scores = np.random.default_rng(9).random((80, 4))
    joint = compute_joint_intervals(samples_of(scores))
    for a, b in combinations(range(4), 2):
        result = joint.difference(a, b)
        mirrored = joint.difference(b, a)
        single = bootstrap_difference(*samples_of(scores[:, [a, b]]))
        assert result.low == pytest.approx(-mirrored.high)
        assert result.low < single.low < result.value < single.high < result.high


def test_the_critical_value_is_near_tukeys() -> None:
    """For equal and independent methods it is the studentised range over root two, at many rows."""
    scores = np.random.default_rng(10).random((2_000, 5))
    assert compute_joint_intervals(samples_of(scores)).critical == pytest.approx(
        scipy_stats.studentized_range.ppf(0.95, 5, np.inf) / math.sqrt(2), rel=0.03
    )


def test_joint_intervals_hold_together() -> None:
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(400):
        scores = (rng.random((60, 4)) < np.array([0.5, 0.7, 0.8, 0.9])).astype(float)
        joint = compute_joint_intervals(samples_of(scores), 400)
        truth = np.array([0.5, 0.7, 0.8, 0.9])
        result = [
            (joint.difference(a, b), truth[a] - truth[b]) for a, b in combinations(range(4), 2)
        ]
        held += all(one.low <= true <= one.high for one, true in result)
    assert held >= 0.93 * 400


def test_macro_f1_goes_through_the_ladder() -> None:
    rng = np.random.default_rng(12)
    expected = rng.choice(list("aaaab"), 100).tolist()
    right = make_label_sample(expected, expected)
    wrong = make_label_sample(expected, ["a"] * 100)
    joint = compute_joint_intervals([wrong, right])
    assert joint.difference(1, 0).low > 0.3
    assert joint.errors[0, 1] == pytest.approx(standard_error_of_difference(wrong, right), rel=1e-6)


# choosing


@given(st.integers(30, 400), st.integers(0, 2**32), st.floats(0, 0.1))
@settings(max_examples=60, deadline=None)
def test_a_simpler_candidate_is_taken_only_if_it_is_sure_to_be_as_good_up_to_the_margin(
    num: int, seed: int, margin: float
) -> None:
    draw = np.random.default_rng(seed)
    difficulty = draw.random(num)
    rows = [
        (difficulty + draw.normal(0, 0.1, num) < share).astype(float) for share in (0.6, 0.75, 0.8)
    ]
    result = choose(
        [(str(index), make_score_sample(row)) for index, row in enumerate(rows)], margin
    )
    best = int(np.argmax([row.mean() for row in rows]))
    lows = [newcombe_paired(row, rows[best]).low for row in rows[:best]]
    assert result.index == next((index for index, low in enumerate(lows) if low > -margin), best)


def test_noise_is_no_reason_for_the_simpler_candidate() -> None:
    """Three rows of 64 less: within one standard error, but it may be 13 points worse."""
    simple, better = (make_score_sample(np.arange(64) < right) for right in (44, 47))
    assert choose([("simple", simple), ("better", better)]).index == 1
    many = [make_score_sample(np.arange(4_000) < right) for right in (3_000, 3_010)]
    choice = choose([("simple", many[0]), ("better", many[1])])
    assert choice.index == 0
    assert choice.reason.startswith(
        "simple (75% on dev) is simpler than better, and not worse by more than 2 points ("
    )


def test_of_equal_candidates_the_first_is_taken() -> None:
    sample = make_score_sample([1, 0, 1])
    assert choose([("a", sample), ("b", sample), ("c", sample)]).index == 0
    with pytest.raises(ValueError, match="at least one"):
        choose([])


# power


def test_the_smallest_difference_is_the_published_rule() -> None:
    assert smallest_difference(400, 0.2) == pytest.approx(2.8 * math.sqrt(0.2 / 400))
    assert smallest_difference(400, 0) == 0
    assert smallest_difference(2, 1) == 1
    assert smallest_difference(400, 0.2, units=400) == pytest.approx(
        smallest_difference(400, 0.2), rel=0.01
    )
    assert smallest_difference(50, 0.2, units=10) > smallest_difference(50, 0.2)
    assert smallest_difference(5, 0.2, units=2) == 1


def power_of_mcnemar(n: int, d: float, gain: float) -> float:
    """How often exact McNemar finds a gain: binomial rows of disagreement, and among them binomial
    losses.
    """
    apart = np.arange(n + 1)
    rejected = scipy_stats.binom.ppf(0.025, apart, 0.5)  # the fewest losses whose tail reaches 2.5%
    rejected -= scipy_stats.binom.cdf(rejected, apart, 0.5) > 0.025
    result = scipy_stats.binom.cdf(rejected, apart, (1 - gain / d) / 2)
    return float(scipy_stats.binom.pmf(apart, n, d) @ result)


@pytest.mark.parametrize("n", [20, 25, 30, 50, 80, 100, 200, 400])
def test_the_difference_a_test_shows_has_the_power_of_its_own_test(n: int) -> None:
    """Between 75 and 88% by exact McNemar; where nothing is shown, no gain has a power much over
    80%.
    """
    for d in np.arange(0.01, 0.96, 0.01):
        values = smallest_detectable(n, d)
        if values is None:
            assert power_of_mcnemar(n, d, d) < (0.86 if n < 50 else 0.82)
        else:
            assert 0.75 <= power_of_mcnemar(n, d, values) <= 0.88
            assert smallest_ever_detectable(n) <= values <= d


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.floats(0.001, 1), st.floats(0.001, 1))
def test_what_a_test_shows_grows_with_rows_and_shrinks_with_disagreement(
    n: int, m: int, d: float, e: float
) -> None:
    fewer, more = sorted((n, m))
    lower, higher = sorted((d, e))
    assert smallest_difference(more, d) <= smallest_difference(fewer, d)
    if (shown := smallest_detectable(fewer, lower)) is not None:
        assert (smallest_detectable(more, lower) or 1) <= shown
        assert (smallest_detectable(fewer, higher) or 0) >= shown
    assert smallest_detectable(400, 0.1) == smallest_difference(400, 0.1)
    assert smallest_detectable(3_080, 0.1) == smallest_difference(3_080, 0.1)


def test_rows_to_decide_is_the_formula_and_stops_at_a_hundred_thousand() -> None:
    assert rows_to_decide(400, 2.5, 0.02, 0.03) == math.ceil(
        400 * ((2.5 + 0.84) * 0.02 / 0.03) ** 2
    )
    assert rows_to_decide(400, 2.5, 0.02, -0.03) == rows_to_decide(400, 2.5, 0.02, 0.03)
    assert rows_to_decide(400, 2.5, 0.02, 0.001) is None
    assert rows_to_decide(400, 2.5, 0.02, 0) is None


def test_disagreement_of_rows_is_their_share_and_of_groups_what_gives_the_same_error() -> None:
    a, b = table(80, 10, 10, 100)
    assert measure_disagreement(make_score_sample(a), make_score_sample(b)) == pytest.approx(
        0.1, rel=0.01
    )
    units = [str(row // 2) for row in range(400)]
    grouped = (make_score_sample(np.repeat(scores, 2), units) for scores in (a, b))
    assert measure_disagreement(*grouped) == pytest.approx(0.2, rel=0.01)


def test_the_smallest_difference_of_scores_is_that_of_their_spread() -> None:
    """2.8 standard errors of the mean difference, whatever the scores are: as Student's test has
    it.
    """
    rng = np.random.default_rng(3)
    a = rng.normal(0.6, 0.05, 200)
    b = rng.normal(0.5, 0.05, 200)
    d = measure_disagreement(make_score_sample(a), make_score_sample(b))
    assert smallest_difference(200, d) == pytest.approx(2.8 * scipy_stats.sem(a - b), rel=0.01)
    same = make_score_sample([0.4] * 200)
    assert measure_disagreement(same, same) == pytest.approx(1 / 200)  # as if one row differed


def test_the_disagreement_of_macro_f1_weighs_rare_labels_more() -> None:
    expected = ["common"] * 95 + ["rare"] * 5
    often = make_label_sample(expected, expected)
    seldom = make_label_sample(expected, ["rare"] * 3 + expected[3:])
    shares = [make_score_sample(np.arange(100) >= first) for first in (0, 3)]
    assert measure_disagreement(often, seldom) > 2 * measure_disagreement(*shares)
