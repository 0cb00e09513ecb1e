"""Intervals of one number: a share, a mean score or a macro-F1."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from etude.stats.sample import (
    EQUAL,
    FloatArray,
    UnitSums,
    make_score_sample,
    resample_units,
    t_quantile,
)
from etude.types import Estimate

Z = 1.959963984540054  # Normal quantile of a 95% interval.


def wilson(successes: float, n: float, z: float = Z) -> tuple[float, float]:
    """Wilson's 95% score interval of a share, (low, high). Neither number need be whole.

    Wilson 1927. Never of zero width for finite n > 0.
    """
    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"successes must lie between 0 and n > 0 (got {successes} of {n})")
    share = successes / n
    scale = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def estimate(scores: npt.ArrayLike, units: Sequence[Hashable] | None = None) -> Estimate:
    """Mean score of rows (0 to 1) with its 95% interval; n counts units. See `estimate_sample`."""
    return estimate_sample(make_score_sample(scores, units))


def estimate_known(
    scores: Sequence[float | None], units: Sequence[Hashable] | None = None
) -> Estimate | None:
    """Return the `estimate` of the rows whose score is known; None if no score is."""
    known_scores = {index: float(score) for index, score in enumerate(scores) if score is not None}
    if not known_scores:
        return None
    return estimate(
        list(known_scores.values()),
        None if units is None else [units[index] for index in known_scores],
    )


def estimate_sample(sample: UnitSums) -> Estimate:
    """The aggregate of a sample with its 95% interval, inside 0 to 1 and never of zero width.

    Ungrouped right/wrong: Wilson. Else Wilson's interval at the effective number of rows value(1 -
    value) / SE², with SE from the bootstrap over units and Student's quantile instead of the normal
    one, which keeps its coverage near 0 and 1 and with few units, unlike percentiles of the
    bootstrap (Korn and Graubard 1998; compared by Franco et al. 2019, J. Surv. Stat. Methodol. 7).
    If no unit differs, the effective number of rows is the number of units.

    Kappa can be negative, unlike a share, so Wilson's interval would be too narrow near 0. Its
    interval is symmetric on Fisher's z scale, as that of the concordance correlation, which
    quadratic weighted kappa is (Lin 1989, Biometrics 45), and is then cut at 0.
    """
    value = sample.value
    units = sample.units
    if sample.right_wrong:
        low, high = wilson(sample.sums[:, 0].sum(), units)
        return Estimate(value, low, high, units)
    if units < 2:
        return Estimate(value, 0.0, 1.0, units)
    error = standard_error(sample)
    unbounded = sample.unbounded_value
    if sample.aggregate == "kappa" and error > EQUAL and abs(unbounded) < 1 - EQUAL:
        reach = t_quantile(units) * error / (1 - unbounded**2)
        low, high = (math.tanh(math.atanh(unbounded) + side * reach) for side in (-1, 1))
        if high > EQUAL:
            return Estimate(value, max(0.0, low), high, units)
    spread = value * (1 - value)
    effective = spread / error**2 if error > EQUAL and spread > 0 else units
    low, high = wilson(value * effective, effective, t_quantile(units))
    return Estimate(value, low, high, units)


def scale_estimate(estimate: Estimate, factor: float) -> Estimate:
    """Return the estimate times a factor, which may be negative."""
    low, high = sorted((factor * estimate.low, factor * estimate.high))
    return Estimate(factor * estimate.value, low, high, estimate.n)


def standard_error(sample: UnitSums) -> float:
    """Bootstrap standard error of a sample's aggregate, resampling units, times sqrt(G / (G -
    1)).
    """
    if sample.aggregate == "mean":
        return mean_error(sample.residuals)
    return bootstrap_error(sample.replicates(resample_units(sample.units)), sample.units)


def mean_error(residuals: FloatArray) -> float:
    """Standard error of a mean over units from their `residuals`: the limit of the bootstrap for
    infinitely many resamples, with G / (G - 1) (Efron and Tibshirani 1993, chapter 6).
    """
    units = len(residuals)
    return math.sqrt(float(residuals @ residuals) / (units * (units - 1)))


def bootstrap_error(replicates: FloatArray, units: int) -> float:
    """Standard deviation of bootstrap replicates, times sqrt(G / (G - 1))."""
    return float(np.std(replicates)) * math.sqrt(units / (units - 1))
