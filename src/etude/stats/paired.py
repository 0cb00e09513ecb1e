"""Two methods on the same rows: the interval of their difference and the test of equality."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from etude.stats.intervals import corrected, spread_of_mean, wilson
from etude.stats.sample import EQUAL, SEED, FloatArray, Sample, t_quantile, unit_weights
from etude.types import Estimate

ALPHA = 0.05
EXACT = "exact McNemar"
"""The test of ungrouped right and wrong answers."""
_EXACT_UNITS = 12
"""Up to this many units that differ, all 4,096 sign patterns are gone through."""
_PATTERNS = 4_095
"""Sign patterns drawn beyond that; p is then right to about 0.003 near 0.05."""
_SLACK = 1e-12
"""Two statistics closer than this are equal: sums of floats in another order differ by less."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The one comparison declared in advance: tuned minus untuned."""

    difference: Estimate
    p: float
    """Two-sided p of "the two are equal"."""
    test: str
    """`EXACT`, "sign flips" or "swaps"."""

    @property
    def gains(self) -> bool:
        """Whether "tuning gains" may be said: the interval lies above 0, and chance is ruled out too.

        The interval alone, being approximate, would call up to 3.5% of equal methods a gain for some
        numbers of differing rows (7 to 1, for one); the exact p keeps it to 2.5% whatever the data.
        """
        return self.difference.low > 0 and self.p <= ALPHA


def headline(tuned: Sample, untuned: Sample) -> Headline:
    """Difference tuned - untuned on the same rows, with interval and p. See verdict.md, "On the test".

    Ungrouped right/wrong: `newcombe_paired` and exact McNemar. Else `bootstrap_difference` with sign flips
    over units, or with swaps of predictions for macro-F1.
    """
    if tuned.right_wrong and untuned.right_wrong:
        a, b = tuned.sums[:, 0], untuned.sums[:, 0]
        return Headline(newcombe_paired(a, b), mcnemar_exact(a, b), EXACT)
    if tuned.aggregate == "macro_f1":
        p, test = swaps(tuned, untuned), "swaps"
    else:
        p, test = sign_flips(tuned.sums[:, 0] - untuned.sums[:, 0]), "sign flips"
    return Headline(bootstrap_difference(tuned, untuned), p, test)


def newcombe_paired(a: npt.ArrayLike, b: npt.ArrayLike) -> Estimate:
    """Share right of `a` minus share right of `b`, 0/1 per row, same rows, with its 95% interval.

    Newcombe 1998 (Stat. Med. 17, 2635), method 10: Wilson's limits of both shares, joined under the
    correlation phi with its continuity correction. Never of zero width; swapping a and b mirrors it.
    """
    both, only_a, only_b, neither = _table(a, b)
    n = both + only_a + only_b + neither
    share_a, share_b = (both + only_a) / n, (both + only_b) / n
    low_a, high_a = wilson(both + only_a, n)
    low_b, high_b = wilson(both + only_b, n)
    phi = _phi(both, only_a, only_b, neither)
    value = (only_a - only_b) / n
    low = value - _joined(share_a - low_a, high_b - share_b, phi)
    high = value + _joined(high_a - share_a, share_b - low_b, phi)
    return Estimate(value, max(-1.0, low), min(1.0, high), n)


def mcnemar_exact(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Two-sided exact p of "a and b are right equally often", 0/1 per row. McNemar 1947.

    Binomial over the rows on which they disagree; 1 when they never do.
    """
    _, only_a, only_b, _ = _table(a, b)
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def sign_flips(diffs_by_unit: npt.ArrayLike) -> float:
    """Two-sided p of "swapping the two methods within any unit changes nothing", from summed differences.

    Exact for whole-number differences (all patterns by convolution) and for up to 12 units that differ;
    else from 4,095 seeded patterns, the observed one counted among them (Phipson and Smyth 2010). For
    ungrouped right/wrong it is exact McNemar.
    """
    diffs = np.asarray(diffs_by_unit, dtype=np.float64)
    diffs = diffs[np.abs(diffs) > _SLACK]
    if not diffs.size:
        return 1.0
    if (diffs == np.round(diffs)).all():
        return _whole_flips(np.abs(diffs).astype(np.int64), abs(int(diffs.sum())))
    signs = sign_patterns(len(diffs))
    return float(np.mean(np.abs(signs @ diffs) >= abs(diffs.sum()) - _SLACK))


def swaps(a: Sample, b: Sample) -> float:
    """Two-sided p of equality for any aggregate, swapping the predictions of `a` and `b` within units.

    Exact for up to 12 units that differ, else from 4,095 seeded patterns and the observed one.
    """
    differ = (a.sums != b.sums).any(axis=1)
    if not differ.any():
        return 1.0
    change = (sign_patterns(int(differ.sum())) - 1) / 2 @ (a.sums - b.sums)[differ]
    values = a.of(a.sums.sum(axis=0) + change) - b.of(b.sums.sum(axis=0) - change)
    return float(np.mean(np.abs(values) >= abs(a.value - b.value) - _SLACK))


def bootstrap_difference(a: Sample, b: Sample) -> Estimate:
    """Value of `a` minus value of `b` with its 95% interval from the bootstrap over units.

    See `Spread`; the number of standard errors is Student's quantile for G - 1, as with few units the
    percentiles of a bootstrap cover too little. One unit: -1 to 1.
    """
    value, critical, spread = a.value - b.value, t_quantile(a.units), difference_spread(a, b)
    low, high = value - spread.down(critical), value + spread.up(critical)
    return Estimate(value, max(-1.0, low), min(1.0, high), a.units)


@dataclass(frozen=True, slots=True)
class Spread:
    """How uncertain a difference is, and how much more so if the truth lies lower or higher than observed.

    Where the units that differ mostly differ in one direction, a truth further in that direction goes with
    more such units and so with a larger variance: error² + tilt x distance, the first-order change under
    exponential tilting, whose slope is third over second central moment (Efron 1981, Can. J. Stat. 9;
    DiCiccio and Romano 1990). An interval ends where the distance is `critical` standard errors as they
    would be there, as Wilson's does. Without skewness this is value ± critical x error.
    """

    error: float
    """Standard error of the difference; never 0, infinite for one unit."""
    tilt_down: float
    """Variance gained per unit of distance below the observed difference, 0 or more."""
    tilt_up: float

    def down(self, critical: float) -> float:
        """How far below the difference the interval reaches."""
        return reach(critical, self.error, self.tilt_down)

    def up(self, critical: float) -> float:
        """How far above the difference the interval reaches."""
        return reach(critical, self.error, self.tilt_up)


def reach(critical: float, error: float, tilt: float) -> float:
    """The distance x with x² = critical² (error² + tilt x); infinite where nothing is known."""
    if math.isinf(critical) or math.isinf(error):
        return math.inf
    half = critical * critical * tilt / 2
    return math.hypot(half, critical * error) + half


def difference_spread(a: Sample, b: Sample, replicates: FloatArray | None = None) -> Spread:
    """Spread of value(a) - value(b) from the bootstrap over units, with a floor.

    The floor: as if one unit differed, by as much as the most different one does, by 1 where none does; and
    to both sides the skewness that one more such unit would bring. So an interval has width even where no
    unit differs. For means the moments are the bootstrap's limits for infinitely many resamples; for
    macro-F1 those of `replicates` (R,) of the difference, drawn here where none are given.
    """
    units = a.units
    if units < 2:
        return Spread(math.inf, 0.0, 0.0)
    if a.aggregate == "mean":
        pulls = a.pulls - b.pulls
        second, third, size = (
            spread_of_mean(pulls) ** 2,
            float(pulls * pulls @ pulls) / units**3,
            _largest(a, b),
        )
    else:
        if replicates is None:
            weights = unit_weights(units)
            replicates = a.replicates(weights) - b.replicates(weights)
        centred = replicates - replicates.mean()
        second, third, size = corrected(replicates, units) ** 2, float((centred**3).mean()), 1.0
    one = size / units
    least = one**3 / (second + one**2)
    skew = third / second if second else 0.0
    return Spread(max(math.sqrt(second), one), max(least, -skew), max(least, skew))


def difference_error(a: Sample, b: Sample) -> float:
    """Standard error of value(a) - value(b); see `difference_spread`."""
    return difference_spread(a, b).error


def disagreement(a: Sample, b: Sample) -> float:
    """The d of `smallest_difference` as these rows show it: n times the squared error of a - b.

    For ungrouped right/wrong without a gain this is the share of rows on which a and b disagree; for scores,
    groups and macro-F1 it is the share that would give the same standard error, and can pass 1. Never 0:
    methods that do not differ on these rows may differ on others, see `difference_spread`.
    """
    return a.rows * difference_error(a, b) ** 2 if a.units > 1 else 1.0


@lru_cache(maxsize=64)
def sign_patterns(num: int) -> FloatArray:
    """(P, num) patterns of ±1, the first all +1: every one for few units, else seeded draws. Read-only."""
    if num <= _EXACT_UNITS:
        bits = (np.arange(2**num)[:, None] >> np.arange(num)) & 1
    else:
        drawn = np.random.default_rng([SEED, num]).integers(0, 2, size=(_PATTERNS, num))
        bits = np.vstack([np.zeros((1, num), dtype=np.int64), drawn])
    signs = np.asarray(1.0 - 2.0 * bits, dtype=np.float64)
    signs.setflags(write=False)
    return signs


def _largest(a: Sample, b: Sample) -> float:
    """The largest difference of a unit in units of the mean; 1 where no unit differs."""
    largest = float(np.abs(a.sums[:, 0] - b.sums[:, 0]).max() / a.sums[:, 1].mean())
    return largest if largest > EQUAL else 1.0


def _whole_flips(sizes: npt.NDArray[np.int64], observed: int) -> float:
    """Exact two-sided p: the distribution of the sum of ±sizes is a convolution of stretched binomials."""
    law = np.ones(1)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        stretched = np.zeros(size * count + 1)
        stretched[::size] = _fair_binomial(int(count))
        law = np.convolve(law, stretched)
    least = (int(sizes.sum()) - observed) // 2
    tail = float(law[: least + 1].sum())
    return min(1.0, 2 * tail)


@lru_cache(maxsize=4096)
def _fair_binomial(count: int) -> FloatArray:
    heads = np.arange(count + 1)
    rising: FloatArray = np.diff(bdtr(heads, count, 0.5), prepend=0.0).astype(np.float64)
    # The upper half of a difference of a distribution function has lost its digits; the law is symmetric.
    law: FloatArray = np.minimum(rising, rising[::-1])
    law.setflags(write=False)
    return law


def _table(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[int, int, int, int]:
    """Rows right by both, by a only, by b only, by neither."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(f"need the same rows, at least one (got shapes {first.shape} and {second.shape})")
    if not (np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()):
        raise ValueError("need right/wrong, 0 or 1, in every row; use bootstrap_difference for scores")
    both, only_a = int(first @ second), int(first @ (1 - second))
    only_b = int((1 - first) @ second)
    return both, only_a, only_b, len(first) - both - only_a - only_b


def _phi(both: int, only_a: int, only_b: int, neither: int) -> float:
    n = both + only_a + only_b + neither
    margins = math.prod([both + only_a, only_b + neither, both + only_b, only_a + neither])
    excess = float(both * neither - only_a * only_b)
    if excess > 0:
        excess = max(0.0, excess - n / 2)
    return excess / math.sqrt(margins) if margins else 0.0


def _joined(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(0.0, first**2 - 2 * phi * first * second + second**2))
