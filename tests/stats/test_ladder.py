"""Joint intervals of methods that answered prefixes of different length of one list of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.stats import compute_joint_intervals, compute_nested_intervals, make_score_sample
from etude.stats.sample import UnitSums

RESAMPLES = 400


def draw_scores(seed: int, shares: list[float], num_rows: int) -> np.ndarray:
    """(methods, rows) right or wrong, alike between methods as answers to one row are."""
    draw = np.random.default_rng(seed)
    difficulty = draw.random(num_rows)
    noise = draw.normal(0, 0.2, (len(shares), num_rows))
    return (difficulty + noise < np.array(shares)[:, None]).astype(float)


def build_sample(scores: np.ndarray, units: list[str], method: int, num_rows: int) -> UnitSums:
    return make_score_sample(
        [float(score) for score in scores[method, :num_rows]], units[:num_rows]
    )


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_with_equal_rows_they_are_the_joint_ones(seed: int, rows_in_unit: int) -> None:
    scores = draw_scores(seed, [0.3, 0.5, 0.6], 60)
    units = [f"u{row // rows_in_unit}" for row in range(60)]
    samples = [build_sample(scores, units, method, 60) for method in range(3)]
    joint = compute_joint_intervals(samples, RESAMPLES)
    nested = compute_nested_intervals(
        lambda method, rows: build_sample(scores, units, method, rows), [60] * 3, units, RESAMPLES
    )
    assert (nested.reach_down == joint.reach_down).all()
    assert (nested.differences == joint.differences).all()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.tuples(*[st.integers(20, 90)] * 3))
def test_a_pair_is_compared_on_the_rows_that_both_answered(
    seed: int, num_rows: tuple[int, ...]
) -> None:
    scores = draw_scores(seed, [0.3, 0.5, 0.6], 90)
    units = [f"u{row}" for row in range(90)]
    nested = compute_nested_intervals(
        lambda method, rows: build_sample(scores, units, method, rows), num_rows, units, RESAMPLES
    )
    for a in range(3):
        for b in range(3):
            rows = min(num_rows[a], num_rows[b])
            difference = float((scores[a, :rows] - scores[b, :rows]).mean())
            assert nested.differences[a, b] == pytest.approx(difference)
            if a != b:
                assert nested.units[a, b] == rows
                assert nested.difference(a, b).low <= difference <= nested.difference(a, b).high


@pytest.mark.real
def test_all_pairs_hold_together_about_as_often_as_stated() -> None:
    shares = [0.35, 0.55, 0.6]
    num_rows = (300, 60, 120)
    true = np.array([draw_scores(seed, shares, 20_000).mean(axis=1) for seed in range(5)]).mean(
        axis=0
    )
    units = [f"u{row}" for row in range(300)]
    num_covered = 0
    for seed in range(200):
        scores = draw_scores(100 + seed, shares, 300)
        nested = compute_nested_intervals(
            lambda method, rows, scores=scores: build_sample(scores, units, method, rows),
            num_rows,
            units,
            RESAMPLES,
        )
        pairs = [(a, b) for a in range(3) for b in range(a)]
        num_covered += all(
            nested.difference(a, b).low <= true[a] - true[b] <= nested.difference(a, b).high
            for a, b in pairs
        )
    assert num_covered >= 182, "95% of 200, less three standard errors"
