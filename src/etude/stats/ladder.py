"""Many methods on the same rows: joint intervals of all pairs, and the simplest of near-equals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from etude.base.wording import points, share
from etude.stats.intervals import Z
from etude.stats.paired import Spread, difference_error, difference_spread
from etude.stats.sample import RESAMPLES, SEED, FloatArray, Sample, t_quantile, unit_weights
from etude.types import Estimate

DIGITS = 12
"""Values are compared after rounding to so many digits: one row more is exactly one error of one row."""


@dataclass(frozen=True, eq=False)
class Joint:
    """All pairs of M methods with intervals that hold together: 95% for the whole set, not for each."""

    values: FloatArray
    """(M,) each method's value."""
    errors: FloatArray
    """(M, M) standard error of each difference; 0 on the diagonal, symmetric."""
    down: FloatArray
    """(M, M) how far below the difference [a] - [b] its interval reaches; [b, a] is how far above."""
    critical: float
    """The number of standard errors that an interval reaches to both sides, skewness apart."""
    units: int

    def only(self, kept: Sequence[int]) -> Joint:
        """The same intervals, of some of the methods."""
        among = np.ix_(kept, kept)
        return Joint(self.values[kept], self.errors[among], self.down[among], self.critical, self.units)

    def difference(self, a: int, b: int) -> Estimate:
        """Value of method `a` minus value of method `b`, with its simultaneous interval."""
        value = float(self.values[a] - self.values[b])
        low, high = value - float(self.down[a, b]), value + float(self.down[b, a])
        return Estimate(value, max(-1.0, low), min(1.0, high), self.units)


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
    and never below a single interval's. Standard errors, their floor and what skewness adds: `Spread`.
    All samples must come from the same rows. One method: no pairs, the critical value of one interval.
    """
    units, num = samples[0].units, len(samples)
    pairs = list(combinations(range(num), 2))
    replicates = _centred(samples, unit_weights(units, resamples, seed)) if units > 1 else None
    spreads = {(a, b): _spread(samples, replicates, a, b) for a, b in pairs}
    errors, down = np.zeros((num, num)), np.zeros((num, num))
    for (a, b), spread in spreads.items():
        errors[a, b] = errors[b, a] = spread.error
    critical = t_quantile(units)
    if pairs and replicates is not None:
        critical = t_quantile(units, _critical(replicates, errors, pairs))
    for (a, b), spread in spreads.items():
        down[a, b], down[b, a] = spread.down(critical), spread.up(critical)
    return Joint(np.array([sample.value for sample in samples]), errors, down, critical, units)


def choose(candidates: Sequence[tuple[str, Sample]]) -> Choice:
    """The simplest candidate that is within one standard error of the best, on the same (dev) rows.

    `candidates` go from the simplest to the most complex, each with its name. The standard error is that
    of the paired difference to the best (the rule of Breiman et al. 1984, sharpened by pairing). Among
    equal values the simpler one is the best. Raises ValueError for no candidates.
    """
    if not candidates:
        raise ValueError("choose needs at least one candidate")
    values = [sample.value for _, sample in candidates]
    best = int(np.argmax(np.round(values, DIGITS)))
    top = candidates[best][1]
    for index, (_, sample) in enumerate(candidates[:best]):
        error = difference_error(top, sample)
        if round(values[best] - values[index] - error, DIGITS) <= 0:
            return Choice(index, _near_enough(candidates, index, best, error))
    return Choice(best, _best_reason(candidates, best))


def _spread(samples: Sequence[Sample], replicates: FloatArray | None, a: int, b: int) -> Spread:
    """`difference_spread`, with macro-F1's costly replicates taken from the joint bootstrap."""
    joint = None if replicates is None else replicates[:, a] - replicates[:, b]
    return difference_spread(samples[a], samples[b], joint)


def _centred(samples: Sequence[Sample], weights: FloatArray) -> FloatArray:
    """(R, M) each method's replicates minus its value; for means, to first order in the weights."""
    if samples[0].aggregate == "mean":
        pulls = np.column_stack([sample.pulls for sample in samples])
        return np.asarray(weights @ pulls / samples[0].units)
    return np.column_stack([sample.replicates(weights) - sample.value for sample in samples])


def _critical(replicates: FloatArray, errors: FloatArray, pairs: Sequence[tuple[int, int]]) -> float:
    """95% quantile over resamples of the largest |difference| in standard errors."""
    first, second = np.array(pairs).T
    t = np.abs(replicates[:, first] - replicates[:, second]) / errors[first, second]
    return max(Z, float(np.quantile(t.max(axis=1), 0.95)))


def _near_enough(candidates: Sequence[tuple[str, Sample]], index: int, best: int, error: float) -> str:
    (name, sample), (top_name, top) = candidates[index], candidates[best]
    return (
        f"{name} ({share(sample.value)} on dev) is {points(top.value - sample.value)} points below {top_name}, within "
        f"one standard error ({points(error)} points, n = {sample.units}), and comes before it from simple to complex"
    )


def _best_reason(candidates: Sequence[tuple[str, Sample]], best: int) -> str:
    name, sample = candidates[best]
    if len(candidates) == 1:
        return f"{name} is the only candidate"
    simpler = " and no simpler one is within one standard error" if best else " and is the simplest"
    return f"{name} is best on dev ({share(sample.value)}, n = {sample.units}){simpler}"
