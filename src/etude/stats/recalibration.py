"""Maps from the confidence that a classifier states to one that holds, chosen by cross-validation.

There are two: a temperature, which multiplies the log-odds of the answered label (Guo et al. 2017),
and a slope with an intercept (Platt 1999). A map never changes which of two answers is surer.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import exp, log, log1p
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from etude.stats.intervals import mean_error
from etude.stats.sample import FloatArray, sum_by_unit

EDGE = 1e-6  # confidences are moved to at least this distance from 0 and 1
FOLDS = 5
MIN_UNITS = 30  # with fewer units, chance would decide between maps
Z = 1.6448536269514722  # one-sided 95%
MAX_SLOPE = 20.0
MIN_SLOPE = (
    0.1  # a flatter map gives answers of different confidence nearly the same, so it is not used
)
Bound = tuple[float | None, float | None]

MAPS = ("temperature", "Platt")
"""The simplest first: a slope, and a slope with an intercept."""


@dataclass(frozen=True, slots=True)
class Recalibration:
    """The log-odds of a recalibrated confidence: `slope` times those of the stated one, plus
    `intercept`.
    """

    kind: str
    slope: float
    intercept: float = 0.0

    def apply(self, confidence: float) -> float:
        """Recalibrate one confidence."""
        clipped = min(max(confidence, EDGE), 1 - EDGE)
        return 1 / (1 + exp(-self.slope * (log(clipped) - log1p(-clipped)) - self.intercept))

    def invert(self, probability: float) -> float:
        """Find the confidence that becomes a probability; 0 or 1 if none does."""
        log_odds = (log(probability) - log1p(-probability) - self.intercept) / max(self.slope, EDGE)
        return 1 / (1 + exp(min(max(-log_odds, -700.0), 700.0)))


class RecalibrationChoice(NamedTuple):
    """A map that helps, and the cross-validated Brier scores without and with it."""

    recalibration: Recalibration
    brier_before: float
    brier_after: float


def choose_recalibration(
    confidence: npt.ArrayLike,
    right: npt.ArrayLike,
    units: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> RecalibrationChoice | None:
    """Choose the map that lowers the Brier score by more than noise and still distinguishes sure
    from unsure answers. Returns None if no map does so, or if there are few units.

    The maps are tried from the simplest on. Each must beat the best map before it (at first: no
    map) on rows that it was not fitted on, in 5 folds of units. The mean gain must be above 0 with
    95% confidence, one-sided.
    """
    confidences = np.asarray(confidence, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    names = [str(unit) for unit in (range(len(hits)) if units is None else units)]
    unit_names, codes = np.unique(names, return_inverse=True)
    if len(unit_names) < MIN_UNITS:
        return None
    fold_of = (np.random.default_rng(seed).permutation(len(unit_names)) % FOLDS)[codes]
    best: Recalibration | None = None
    losses = (confidences - hits) ** 2
    before = float(losses.mean())
    for kind in MAPS:
        recalibration = fit_recalibration(kind, confidences, hits)
        mapped = np.empty_like(confidences)
        for fold in range(FOLDS):
            fitted = fit_recalibration(kind, confidences[fold_of != fold], hits[fold_of != fold])
            held_out = fold_of == fold
            mapped[held_out] = [fitted.apply(value) for value in confidences[held_out]]
        mapped_losses = (mapped - hits) ** 2
        sums = sum_by_unit(np.column_stack([losses - mapped_losses, np.ones_like(losses)]), names)
        gain = float(sums[:, 0].sum() / sums[:, 1].sum())
        error = mean_error((sums[:, 0] - gain * sums[:, 1]) / sums[:, 1].mean())
        is_flat = recalibration.slope < MIN_SLOPE and np.ptp(confidences) > 0
        if gain > Z * error and not is_flat:
            best = recalibration
            losses = mapped_losses
    return RecalibrationChoice(best, before, float(losses.mean())) if best else None


def fit_recalibration(kind: str, confidence: npt.ArrayLike, right: npt.ArrayLike) -> Recalibration:
    """Fit one of MAPS. Slopes are not negative."""
    clipped = np.clip(np.asarray(confidence, dtype=np.float64), EDGE, 1 - EDGE)
    hits = np.asarray(right, dtype=np.float64)
    log_odds = np.log(clipped) - np.log1p(-clipped)
    num = 2 if kind == "Platt" else 1
    features = np.column_stack([log_odds, np.ones_like(log_odds)])[:, :num]
    bounds: Sequence[Bound] = [(0.0, MAX_SLOPE), (None, None)]
    return Recalibration(
        kind, *fit_logistic(features, hits, [1.0, 0.0][:num], bounds[:num]).tolist()
    )


def fit_logistic(
    features: FloatArray,
    hits: FloatArray,
    start: Sequence[float],
    bounds: Sequence[Bound],
    penalty: FloatArray | float = 0.0,
) -> FloatArray:
    """Fit the weights of a logistic regression within bounds, by maximum likelihood with an L2
    penalty. Platt's smoothed targets keep the fit finite if all rows are right or all are wrong.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    num_right = hits.sum()
    num_wrong = (1 - hits).sum()
    num = len(hits)
    targets = np.where(hits == 1, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))

    def compute_loss(weights: FloatArray) -> tuple[float, FloatArray]:
        logits = features @ weights
        loss = (np.logaddexp(0, logits) - targets * logits).mean() + 0.5 * (
            penalty * weights**2
        ).sum() / num
        gradient = (features.T @ (expit(logits) - targets) + penalty * weights) / num
        return float(loss), np.asarray(gradient)

    result = minimize(
        compute_loss,
        np.array(start),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-16, "gtol": 1e-10},
    )
    return np.asarray(result.x)
