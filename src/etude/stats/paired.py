"""Two methods on the same rows: the interval of their difference and the test of equality."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from etude.stats.intervals import bootstrap_error, estimate_sample, mean_error, wilson
from etude.stats.sample import EQUAL, SEED, FloatArray, UnitSums, resample_units, t_quantile
from etude.types import Estimate

ALPHA = 0.05
EXACT = "exact McNemar"  # The test of ungrouped right and wrong answers.
_EXACT_UNITS = 12  # Up to this many differing units, all 4,096 sign patterns are used.
_PATTERNS = 4_095  # Sampled sign patterns beyond that; near 0.05 the error of p is about 0.003.
# Two statistics closer than this count as equal: sums of floats in another order differ by less.
_SLACK = 1e-12


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A comparison of two methods: tuned minus untuned."""

    difference: Estimate
    p: float
    """Two-sided p of "the two are equal"."""
    test: str
    """`EXACT`, "sign flips" or "swaps"."""

    @property
    def gains(self) -> bool:
        """Whether this counts as a gain: the interval lies above 0, and p is at most 5%.

        The interval alone is approximate: for some numbers of differing rows (such as 7 to 1) it
        would call up to 3.5% of equal methods a gain. The exact p keeps this to 2.5% whatever the
        data.
        """
        return self.difference.low > 0 and self.p <= ALPHA


def compare_paired(tuned: UnitSums, untuned: UnitSums) -> PairedTest:
    """Difference tuned - untuned on the same rows, with interval and p. See verdict.md, "On the
    test".

    Ungrouped right/wrong: `newcombe_paired` and exact McNemar. Else `bootstrap_difference` with
    sign flips over units, or with swaps of predictions for macro-F1 and kappa.
    """
    if tuned.right_wrong and untuned.right_wrong:
        p = mcnemar_exact(tuned.sums[:, 0], untuned.sums[:, 0])
        return PairedTest(estimate_difference(tuned, untuned), p, EXACT)
    if tuned.aggregate != "mean":
        p = compute_swap_p(tuned, untuned)
        test = "swaps"
    else:
        p = compute_sign_flip_p(tuned.sums[:, 0] - untuned.sums[:, 0])
        test = "sign flips"
    return PairedTest(estimate_difference(tuned, untuned), p, test)


def estimate_difference(a: UnitSums, b: UnitSums) -> Estimate:
    """Value of `a` minus value of `b` on the same rows, with its 95% interval: that of
    `compare_paired`.
    """
    if a.right_wrong and b.right_wrong:
        return newcombe_paired(a.sums[:, 0], b.sums[:, 0])
    return bootstrap_difference(a, b)


def newcombe_paired(a: npt.ArrayLike, b: npt.ArrayLike) -> Estimate:
    """Share right of `a` minus share right of `b`, 0/1 per row, same rows, with its 95% interval.

    Newcombe 1998 (Stat. Med. 17, 2635), method 10: Wilson's limits of both shares, joined under the
    correlation phi with its continuity correction. Never of zero width; swapping a and b mirrors
    it.
    """
    num_both, num_a, num_b, num_neither = count_agreement(a, b)
    n = num_both + num_a + num_b + num_neither
    share_a = (num_both + num_a) / n
    share_b = (num_both + num_b) / n
    low_a, high_a = wilson(num_both + num_a, n)
    low_b, high_b = wilson(num_both + num_b, n)
    phi = _compute_phi(num_both, num_a, num_b, num_neither)
    value = (num_a - num_b) / n
    low = value - _join_limits(share_a - low_a, high_b - share_b, phi)
    high = value + _join_limits(high_a - share_a, share_b - low_b, phi)
    return Estimate(value, max(-1.0, low), min(1.0, high), n)


def mcnemar_exact(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Two-sided exact p of "a and b are right equally often", 0/1 per row. McNemar 1947.

    Binomial over the rows on which they disagree; 1 when they never do.
    """
    _, only_a, only_b, _ = count_agreement(a, b)
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def compute_sign_flip_p(diffs_by_unit: npt.ArrayLike) -> float:
    """Two-sided p of "swapping the two methods within any unit changes nothing", from summed
    differences.

    Exact for whole-number differences (all patterns by convolution) and for up to 12 units that
    differ; else from 4,095 seeded patterns plus the observed one (Phipson and Smyth 2010). For
    ungrouped right/wrong it equals exact McNemar.
    """
    diffs = np.asarray(diffs_by_unit, dtype=np.float64)
    diffs = diffs[np.abs(diffs) > _SLACK]
    if not diffs.size:
        return 1.0
    if (diffs == np.round(diffs)).all():
        return _flip_whole_numbers(np.abs(diffs).astype(np.int64), abs(int(diffs.sum())))
    signs = make_sign_patterns(len(diffs))
    return float(np.mean(np.abs(signs @ diffs) >= abs(diffs.sum()) - _SLACK))


def compute_swap_p(a: UnitSums, b: UnitSums) -> float:
    """Two-sided p of equality for any aggregate, swapping the predictions of `a` and `b` within
    units.

    Exact for up to 12 units that differ, else from 4,095 seeded patterns plus the observed one.
    """
    differ = (a.sums != b.sums).any(axis=1)
    if not differ.any():
        return 1.0
    change = (make_sign_patterns(int(differ.sum())) - 1) / 2 @ (a.sums - b.sums)[differ]
    values = a.aggregate_totals(a.sums.sum(axis=0) + change) - b.aggregate_totals(
        b.sums.sum(axis=0) - change
    )
    return float(
        np.mean(np.abs(values) >= abs(values[0]) - _SLACK)
    )  # the first pattern swaps nothing


def bootstrap_difference(a: UnitSums, b: UnitSums) -> Estimate:
    """Value of `a` minus value of `b` with its 95% interval from the bootstrap over units.

    See `Spread`. The number of standard errors is Student's quantile for the effective number of
    units less 1, because with few units the percentiles of a bootstrap cover too little. The
    interval of grouped rows is cut to what the intervals of the two values allow: low(a) - high(b)
    to high(a) - low(b). With one unit it is -1 to 1.
    """
    value = a.value - b.value
    critical = t_quantile(a.effective_units)
    spread = measure_spread(a, b)
    low = value - spread.reach_down(critical)
    high = value + spread.reach_up(critical)
    if a.units < a.rows and a.aggregate == "mean":
        alone_a = estimate_sample(a)
        alone_b = estimate_sample(b)
        low = max(low, alone_a.low - alone_b.high)
        high = min(high, alone_a.high - alone_b.low)
    return Estimate(value, max(-1.0, low), min(1.0, high), a.units)


@dataclass(frozen=True, slots=True)
class Spread:
    """The uncertainty of a difference, and how it grows if the true difference is lower or higher
    than observed.

    If the units that differ mostly differ in one direction, a true difference further in that
    direction means more such units, and so a larger variance: error² + tilt x distance. This is the
    first-order change under exponential tilting, whose slope is the third over the second central
    moment (Efron 1981, Can. J. Stat. 9; DiCiccio and Romano 1990). An interval ends at the true
    difference from which the observed one is `critical` standard errors away, with the error that
    belongs to this true difference, as in Wilson's interval. Without skewness it is value ±
    critical x error.
    """

    error: float
    """Standard error of the difference; never 0, infinite for one unit."""
    tilt_down: float
    """Variance gained per unit of distance below the observed difference, 0 or more."""
    tilt_up: float

    def reach_down(self, critical: float) -> float:
        """How far below the difference the interval reaches."""
        return solve_reach(critical, self.error, self.tilt_down)

    def reach_up(self, critical: float) -> float:
        """How far above the difference the interval reaches."""
        return solve_reach(critical, self.error, self.tilt_up)


def solve_reach(critical: float, error: float, tilt: float) -> float:
    """Return the distance x with x² = critical² (error² + tilt x); infinite if `critical` or
    `error` is.
    """
    if math.isinf(critical) or math.isinf(error):
        return math.inf
    half = critical * critical * tilt / 2
    return math.hypot(half, critical * error) + half


def measure_spread(a: UnitSums, b: UnitSums, replicates: FloatArray | None = None) -> Spread:
    """Return the spread of value(a) - value(b) from the bootstrap over units, with a floor.

    The floor is the spread if a single unit differed: in each of its rows by as much as the most
    different unit does on average, or by 1 if no unit differs. Its size is the root mean square of
    all sizes, so that one very large unit does not decide alone. To both sides, the skewness of one
    more such unit is added. So an interval has a width even if no unit differs. For means, the
    moments are the limits of the bootstrap for infinitely many resamples; for macro-F1, they are
    those of `replicates` (R,) of the difference, which are drawn here if they are None.
    """
    units = a.units
    if units < 2:
        return Spread(math.inf, 0.0, 0.0)
    if a.aggregate == "mean":
        pulls = (a.residuals - b.residuals) * _scale_by_size(a)
        second = mean_error(pulls) ** 2
        third = float(pulls * pulls @ pulls) / units**3
        largest = _largest_difference(a, b)
    else:
        if replicates is None:
            weights = resample_units(units)
            replicates = a.replicates(weights) - b.replicates(weights)
        centred = replicates - replicates.mean()
        second = bootstrap_error(replicates, units) ** 2
        third = float((centred**3).mean())
        largest = 1.0
    one_unit = largest / units
    min_tilt = one_unit**3 / (second + one_unit**2)
    skew = third / second if second else 0.0
    return Spread(max(math.sqrt(second), one_unit), max(min_tilt, -skew), max(min_tilt, skew))


def standard_error_of_difference(a: UnitSums, b: UnitSums) -> float:
    """Standard error of value(a) - value(b); see `measure_spread`."""
    return measure_spread(a, b).error


def measure_disagreement(a: UnitSums, b: UnitSums) -> float:
    """Estimate the d of `smallest_difference` from these rows: n times the squared error of a - b.

    For ungrouped right/wrong without a gain, this is the share of rows on which a and b disagree.
    For scores, groups and macro-F1, it is the share that would give the same standard error, and
    can be above 1. Never 0, because methods that do not differ on these rows may differ on others;
    see `measure_spread`.
    """
    return a.rows * standard_error_of_difference(a, b) ** 2 if a.units > 1 else 1.0


@lru_cache(maxsize=64)
def make_sign_patterns(num: int) -> FloatArray:
    """(P, num) patterns of ±1, the first all +1: every one for few units, else seeded draws.
    Read-only.
    """
    if num <= _EXACT_UNITS:
        bits = (np.arange(2**num)[:, None] >> np.arange(num)) & 1
    else:
        draws = np.random.default_rng([SEED, num]).integers(0, 2, size=(_PATTERNS, num))
        bits = np.vstack([np.zeros((1, num), dtype=np.int64), draws])
    signs = np.asarray(1.0 - 2.0 * bits, dtype=np.float64)
    signs.setflags(write=False)
    return signs


def _scale_by_size(sample: UnitSums) -> FloatArray:
    """Return how much more each unit changes the mean against the other units' mean; equal sizes:
    1.

    With this factor the error is that of the jackknife over units: a large unit pulls the overall
    mean towards itself.
    """
    shares = sample.sums[:, 1] / sample.sums[:, 1].sum()
    return np.asarray((1 - 1 / sample.units) / (1 - shares))


def _largest_difference(a: UnitSums, b: UnitSums) -> float:
    """Return the largest average difference of a unit's rows (1 if no unit differs), times the root
    mean square of the units' sizes over their mean.
    """
    sizes = a.sums[:, 1]
    largest = float((np.abs(a.sums[:, 0] - b.sums[:, 0]) / sizes).max())
    size = math.sqrt(float(sizes @ sizes) / len(sizes)) / float(sizes.mean())
    return (largest if largest > EQUAL else 1.0) * size


def _flip_whole_numbers(sizes: npt.NDArray[np.int64], observed: int) -> float:
    """Exact two-sided p: the distribution of the sum of ±sizes is a convolution of stretched
    binomials.
    """
    law = np.ones(1)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        stretched = np.zeros(size * count + 1)
        stretched[::size] = _fair_binomial(int(count))
        law = np.convolve(law, stretched)
    max_heads = (int(sizes.sum()) - observed) // 2
    tail = float(law[: max_heads + 1].sum())
    return min(1.0, 2 * tail)


@lru_cache(maxsize=4096)
def _fair_binomial(count: int) -> FloatArray:
    heads = np.arange(count + 1)
    rising: FloatArray = np.diff(bdtr(heads, count, 0.5), prepend=0.0).astype(np.float64)
    # Differences in the upper half lose precision, so the lower half is mirrored: the distribution
    # is symmetric.
    law: FloatArray = np.minimum(rising, rising[::-1])
    law.setflags(write=False)
    return law


def count_agreement(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[int, int, int, int]:
    """Rows right by both, by a only, by b only, by neither."""
    first = np.asarray(a, dtype=np.float64)
    second = np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(
            f"both need the same rows, at least one (got shapes {first.shape} and {second.shape})"
        )
    if not (np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()):
        raise ValueError(
            "need right/wrong, 0 or 1, in every row; use bootstrap_difference for scores"
        )
    both = int(first @ second)
    only_a = int(first @ (1 - second))
    only_b = int((1 - first) @ second)
    return both, only_a, only_b, len(first) - both - only_a - only_b


def _compute_phi(num_both: int, only_a: int, only_b: int, num_neither: int) -> float:
    n = num_both + only_a + only_b + num_neither
    margins = math.prod(
        [num_both + only_a, only_b + num_neither, num_both + only_b, only_a + num_neither]
    )
    excess = float(num_both * num_neither - only_a * only_b)
    if excess > 0:
        excess = max(0.0, excess - n / 2)
    return excess / math.sqrt(margins) if margins else 0.0


def _join_limits(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(0.0, first**2 - 2 * phi * first * second + second**2))
