"""Many methods on the same rows: joint intervals of all pairs, and the simplest of near-equals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from etude.stats.intervals import corrected, residuals
from etude.stats.paired import difference_error
from etude.stats.sample import RESAMPLES, SEED, FloatArray, Sample, t_quantile, unit_weights
from etude.types import Estimate


@dataclass(frozen=True, eq=False)
class Joint:
    """All pairs of M methods with intervals that hold together: 95% for the whole set, not for each."""

    values: FloatArray
    """(M,) each method's value."""
    errors: FloatArray
    """(M, M) standard error of each difference; 0 on the diagonal, symmetric."""
    critical: float
    """The number of standard errors that every interval reaches to both sides."""
    units: int

    def difference(self, a: int, b: int) -> Estimate:
        """Value of method `a` minus value of method `b`, with its simultaneous interval."""
        value = float(self.values[a] - self.values[b])
        half = self.critical * float(self.errors[a, b])
        return Estimate(value, max(-1.0, value - half), min(1.0, value + half), self.units)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of several candidates is taken, and why."""

    index: int
    reason: str
    """A sentence with the numbers the choice rests on."""


def simultaneous(samples: Sequence[Sample], resamples: int = RESAMPLES, seed: int = SEED) -> Joint:
    """Simultaneous 95% intervals for the differences of all pairs, from one joint bootstrap over units.

    Every resample weighs all methods alike; the critical value is the 95% quantile of the largest |t| over
    the pairs (Romano and Wolf 2005), raised for few units as Student's quantile is above the normal one,
    and never below a single interval's. Standard errors have the floor of `difference_error`.
    All samples must come from the same rows. One method: no pairs, the critical value of one interval.
    """
    units = samples[0].units
    pairs = list(combinations(range(len(samples)), 2))
    errors = np.zeros((len(samples), len(samples)))
    critical = t_quantile(units)
    if pairs:
        replicates = _centred(samples, unit_weights(units, resamples, seed)) if units > 1 else None
        for a, b in pairs:
            errors[a, b] = errors[b, a] = _error(samples[a], samples[b], replicates, a, b)
        if replicates is not None:
            critical = t_quantile(units, _critical(replicates, errors, pairs))
    return Joint(np.array([sample.value for sample in samples]), errors, critical, units)


def choose(candidates: Sequence[tuple[str, Sample]]) -> Choice:
    """The simplest candidate that is within one standard error of the best, on the same (dev) rows.

    `candidates` go from the simplest to the most complex, each with its name. The standard error is that
    of the paired difference to the best (the rule of Breiman et al. 1984, sharpened by pairing). Among
    equal values the simpler one is the best. Raises ValueError for no candidates.
    """
    if not candidates:
        raise ValueError("choose needs at least one candidate")
    values = [sample.value for _, sample in candidates]
    best = int(np.argmax(np.round(values, 12)))
    top = candidates[best][1]
    for index, (_, sample) in enumerate(candidates[:best]):
        error = difference_error(top, sample)
        if values[best] - values[index] <= error:
            return Choice(index, _near_enough(candidates, index, best, error))
    return Choice(best, _best_reason(candidates, best))


def _error(first: Sample, second: Sample, replicates: FloatArray | None, a: int, b: int) -> float:
    """`difference_error`, with macro-F1's costly replicates taken from the joint bootstrap."""
    if replicates is None or first.aggregate == "mean":
        return difference_error(first, second)
    return math.hypot(corrected(replicates[:, a] - replicates[:, b], first.units), 1 / first.units)


def _centred(samples: Sequence[Sample], weights: FloatArray) -> FloatArray:
    """(R, M) each method's replicates minus its value; for means, to first order in the weights."""
    if samples[0].aggregate == "mean":
        pulls = np.column_stack([residuals(sample) for sample in samples])
        return np.asarray(weights @ pulls / samples[0].units)
    return np.column_stack([sample.replicates(weights) - sample.value for sample in samples])


def _critical(replicates: FloatArray, errors: FloatArray, pairs: Sequence[tuple[int, int]]) -> float:
    """95% quantile over resamples of the largest |difference| in standard errors."""
    first, second = np.array(pairs).T
    t = np.abs(replicates[:, first] - replicates[:, second]) / errors[first, second]
    return float(np.quantile(t.max(axis=1), 0.95))


def _near_enough(candidates: Sequence[tuple[str, Sample]], index: int, best: int, error: float) -> str:
    (name, sample), (top_name, top) = candidates[index], candidates[best]
    gap = 100 * (top.value - sample.value)
    return (
        f"{name} ({100 * sample.value:.1f}% on dev) is {gap:.1f} points below {top_name}, within one "
        f"standard error ({100 * error:.1f} points, n = {sample.units}), and simpler"
    )


def _best_reason(candidates: Sequence[tuple[str, Sample]], best: int) -> str:
    name, sample = candidates[best]
    if len(candidates) == 1:
        return f"{name} is the only candidate"
    simpler = " and no simpler one is within one standard error" if best else " and is the simplest"
    return f"{name} is best on dev ({100 * sample.value:.1f}%, n = {sample.units}){simpler}"
