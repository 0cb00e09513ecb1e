"""Recalibration: equal to scikit-learn's, applied only where it helps, and never a change of
order.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.calibration import _SigmoidCalibration, calibration_curve
from sklearn.linear_model import LogisticRegression

from etude.stats.calibration import (
    brier_score,
    list_reliability,
    measure_calibration_error,
    measure_overconfidence,
)
from etude.stats.recalibration import (
    EDGE,
    MAPS,
    MIN_SLOPE,
    Recalibration,
    choose_recalibration,
    fit_recalibration,
)

Floats = np.ndarray


def draw_rows(num: int, seed: int, slope: float = 1.0, shift: float = 0.0) -> tuple[Floats, Floats]:
    """Confidences whose log-odds are `slope` times the true ones plus `shift`, and right
    answers.
    """
    rng = np.random.default_rng(seed)
    true = rng.beta(4, 1.5, num)
    sure = np.clip(expit(slope * logit(true) + shift), EDGE, 1 - EDGE)
    return sure, (rng.random(num) < true).astype(float)


def smooth(right: Floats) -> Floats:
    return np.where(right == 1, (right.sum() + 1) / (right.sum() + 2), 1 / ((1 - right).sum() + 2))


@pytest.mark.parametrize("seed", range(3))
def test_platts_map_is_that_of_scikit_learn(seed: int) -> None:
    sure, right = draw_rows(300, seed, slope=2.0, shift=0.5)
    expected = _SigmoidCalibration().fit(logit(sure), right)
    found = fit_recalibration("Platt", sure, right)
    assert found.slope == pytest.approx(-expected.a_, abs=1e-5)
    assert found.intercept == pytest.approx(-expected.b_, abs=1e-5)
    residuals = expit(found.slope * logit(sure) + found.intercept) - smooth(right)
    assert [residuals.sum(), residuals @ logit(sure)] == pytest.approx([0, 0], abs=1e-6)


def test_the_temperature_is_that_of_scikit_learn() -> None:
    sure, right = draw_rows(300, 1, slope=1.7, shift=0.4)
    features = logit(sure)[:, None]
    targets = smooth(right)
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=10_000)
    model.fit(
        np.vstack([features, features]),
        np.r_[np.ones_like(right), np.zeros_like(right)],
        sample_weight=np.r_[targets, 1 - targets],
    )
    found = fit_recalibration("temperature", sure, right)
    assert (found.slope, found.intercept) == (
        pytest.approx(float(model.coef_[0, 0]), abs=1e-5),
        0.0,
    )


@pytest.mark.parametrize("kind", MAPS)
@given(rows=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40))
def test_a_map_keeps_the_order_and_stays_a_probability(
    kind: str, rows: list[tuple[float, bool]]
) -> None:
    sure, right = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    fitted = fit_recalibration(kind, sure, right)
    mapped = [fitted.apply(value) for value in sorted(sure)]
    assert all(0 < value < 1 for value in mapped)
    assert mapped == sorted(mapped)
    assert fitted.apply(0.0) == fitted.apply(EDGE)


def test_calibrated_rows_are_left_alone_and_too_sure_ones_are_not() -> None:
    assert sum(choose_recalibration(*draw_rows(300, seed)) is not None for seed in range(10)) <= 1
    fresh, fresh_right = draw_rows(5_000, 99, slope=3.0)
    for seed in range(3):
        choice = choose_recalibration(*draw_rows(300, seed, slope=3.0))
        assert choice.brier_after < choice.brier_before
        mapped = [choice.recalibration.apply(value) for value in fresh]
        assert brier_score(mapped, fresh_right).value < brier_score(fresh, fresh_right).value
        error = measure_calibration_error(mapped, fresh_right)
        assert error.value < 0.06 < measure_calibration_error(fresh, fresh_right).value


@given(slope=st.floats(0.2, 5), intercept=st.floats(-3, 3), probability=st.floats(0.05, 0.95))
def test_one_slope_can_be_inverted(slope: float, intercept: float, probability: float) -> None:
    fitted = Recalibration("Platt", slope, intercept)
    confidence = fitted.invert(probability)
    if EDGE < confidence < 1 - EDGE:
        assert fitted.apply(confidence) == pytest.approx(probability, abs=1e-9)


def test_a_map_that_gives_every_answer_the_same_confidence_is_not_used() -> None:
    for seed in range(5):
        sure, _ = draw_rows(300, seed)
        right = (np.random.default_rng(seed).random(300) < 0.94).astype(float)
        assert fit_recalibration("Platt", sure, right).slope < 0.3
        choice = choose_recalibration(sure, right)
        slopes = [choice.recalibration.slope] if choice else []
        assert all(slope >= MIN_SLOPE for slope in slopes)
        against = choose_recalibration(
            sure, 1 - (np.argsort(np.argsort(sure)) > 20)
        )  # the surest are wrong
        assert against is None


def test_few_units_are_left_alone() -> None:
    sure, right = draw_rows(300, 1, slope=5.0)
    assert choose_recalibration(sure, right, [str(row // 15) for row in range(300)]) is None
    assert choose_recalibration(sure, right) is not None


def test_reliability_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    sure = rng.permutation(np.arange(1, 401)) / 401
    right = (rng.random(400) < sure).astype(float)
    share, mean = calibration_curve(right, sure, n_bins=10, strategy="quantile")
    points = list_reliability(sure, right)
    assert [point for point, _ in points] == pytest.approx(mean, abs=1e-9)
    assert [estimate.value for _, estimate in points] == pytest.approx(share, abs=1e-9)


def test_overconfidence_is_the_mean_excess_and_covers_the_truth() -> None:
    assert measure_overconfidence([0.9, 0.8], [1, 0]).value == pytest.approx(0.35)
    num_covered = 0
    for seed in range(100):
        excess = measure_overconfidence(*draw_rows(200, seed))
        num_covered += excess.low <= 0 <= excess.high
    assert 88 <= num_covered <= 100
