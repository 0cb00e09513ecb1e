"""The confidence in texts: equal to another implementation, monotone, and honest about rows it was
not fitted on.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from etude.stats.answer_confidence import AnswerConfidence, fit_confidence
from etude.stats.calibration import compute_auroc, estimate_auroc


def draw_answers(num: int, seed: int) -> tuple[list[dict[str, float]], np.ndarray]:
    """Signals of answers, the first two of which say how likely an answer is right."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num, 3)) * (2.0, 0.1, 5.0)
    chance = 1 / (1 + np.exp(-values[:, 0] - 10 * values[:, 1]))
    rows = [dict(zip(("logprob", "lead", "noise"), row, strict=True)) for row in values.tolist()]
    return rows, (rng.random(num) < chance).astype(float)


def test_the_fit_is_that_of_scikit_learn() -> None:
    rows, right = draw_answers(600, 1)
    rows = [{name: row[name] for name in ("lead", "logprob")} for row in rows]
    fitted, _ = fit_confidence(rows, right, range(len(rows)))
    values = np.array([[row["lead"], row["logprob"]] for row in rows])
    values = np.maximum(values, np.quantile(values, 0.02, axis=0))
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    num_right = right.sum()
    num_wrong = (1 - right).sum()
    target = np.where(right == 1, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))
    oracle = LogisticRegression(C=1.0, tol=1e-8).fit(
        np.vstack([scaled, scaled]), [1] * 600 + [0] * 600, np.concatenate([target, 1 - target])
    )
    expected = oracle.predict_proba(scaled)[:, 1]
    assert [fitted.apply(row) for row in rows] == pytest.approx(expected, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    name=st.sampled_from(("logprob", "lead", "noise")),
    more=st.floats(0, 9),
)
def test_more_of_a_signal_is_never_less_sure(seed: int, name: str, more: float) -> None:
    rows, right = draw_answers(60, seed)
    fitted, _ = fit_confidence(rows, right, range(60))
    changed = {**rows[0], name: rows[0][name] + more}
    assert 0 <= fitted.apply(rows[0]) <= fitted.apply(changed) <= 1
    without = {key: value for key, value in rows[0].items() if key != name}
    assert fitted.apply(without) <= fitted.apply(rows[0])


def test_held_out_confidences_know_nothing_where_there_is_nothing_to_know() -> None:
    """With many signals and few rows, the fit looks good on its own rows; the held-out figures do
    not.
    """
    rng = np.random.default_rng(0)
    inside = []
    outside = []
    for seed in range(40):
        rows = [
            {str(name): value for name, value in enumerate(row)}
            for row in rng.normal(size=(60, 12))
        ]
        right = (rng.random(60) < 0.5).astype(float)
        fitted, held_out = fit_confidence(rows, right, range(60), seed)
        inside.append(compute_auroc([fitted.apply(row) for row in rows], right))
        outside.append(compute_auroc(held_out, right))
    assert np.mean(inside) > 0.65
    assert 0.42 < np.mean(outside) < 0.53


def test_rows_of_one_unit_are_in_one_fold() -> None:
    rows, right = draw_answers(100, 2)
    _, held_out = fit_confidence(rows * 2, [*right, *right], [*range(100), *range(100)], 3)
    assert held_out[:100] == held_out[100:]


def test_a_rare_no_lowers_the_confidence() -> None:
    rows = [{"form": float(number > 0), "logprob": number / 100} for number in range(100)]
    fitted, _ = fit_confidence(rows, [0.0, *[1.0] * 99], range(100))
    assert (
        fitted.apply({"form": 0.0, "logprob": 0.5})
        < fitted.apply({"form": 1.0, "logprob": 0.5}) - 0.05
    )


@pytest.mark.parametrize("right", [[1.0] * 8, [0.0] * 8])
def test_rows_that_are_all_alike_have_a_finite_fit(right: list[float]) -> None:
    fitted, held_out = fit_confidence([{"form": 1.0}] * 8, right, range(8))
    assert fitted.signals == ()
    assert held_out == pytest.approx([0.9 if right[0] else 0.1] * 8, abs=0.05)
    assert AnswerConfidence((), (), (), 0.0).apply({"form": 1.0}) == 0.5


def test_the_interval_of_auroc_covers_in_95_of_100_draws() -> None:
    def draw(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        sure = rng.beta(3, 1, num)
        return sure, (rng.random(num) < sure).astype(float)

    sure, right = draw(200_000, 10_000)
    truth = roc_auc_score(right, sure)
    intervals = [estimate_auroc(*draw(150, seed)) for seed in range(400)]
    assert (
        0.93 <= np.mean([interval.low <= truth <= interval.high for interval in intervals]) <= 0.99
    )
    assert intervals[0].value == pytest.approx(roc_auc_score(draw(150, 0)[1], draw(150, 0)[0]))


def test_copies_of_rows_make_auroc_no_surer() -> None:
    rng = np.random.default_rng(5)
    sure = rng.random(80)
    right = (rng.random(80) < 0.6).astype(float)
    once = estimate_auroc(sure, right)
    copies = estimate_auroc([*sure] * 4, [*right] * 4, [*range(80)] * 4)
    assert copies.value == pytest.approx(once.value)
    assert copies.high - copies.low > 0.9 * (once.high - once.low)
    assert estimate_auroc([0.1, 0.9, 0.8], [0, 1, 1]).low == 0.0
