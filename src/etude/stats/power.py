"""The smallest difference that a test of some size can show, and the rows needed to decide."""

import math

from etude.stats.sample import t_quantile

# Nobody collects more rows than this to decide between two near-equal methods.
MOST_ADVISED = 100_000
# Normal quantile of 80% power. Published formulas use two digits of it, and so does
# `rows_to_decide`.
POWER_Z = 0.8416212335729143
# With up to this many units, Student's t has no finite standard deviation, so no difference is
# detectable.
_MIN_UNITS = 3
# 1.96 + 0.84: if a difference is this many standard errors, a 95% interval excludes zero in 80% of
# tests.
DETECT = 2.8


def smallest_difference(n: int, d: float, units: int | None = None) -> float:
    """The smallest difference that a test of `n` rows shows in 80% of cases: 2.8 sqrt(d / n).

    `d` is the share of rows on which two methods disagree; for scores, grouped rows and macro-F1,
    see `measure_disagreement`. `n` counts rows. With `units` groups, `_compute_factor` replaces
    2.8. At most 1. Miller 2024 (arXiv 2411.00640).
    """
    if n < 1 or not 0 <= d < math.inf:
        raise ValueError(f"need n >= 1 rows and a finite d of 0 or more (got n={n}, d={d})")
    factor = DETECT if units is None else _compute_factor(units)
    return min(1.0, factor * math.sqrt(d / n)) if d else 0.0


def smallest_detectable(n: int, d: float, units: int | None = None) -> float | None:
    """`smallest_difference` of right and wrong answers; None if the test cannot show any
    difference.

    No difference exceeds the share d of rows on which two methods disagree. So a test with fewer
    than 2.8² = 7.84 such rows shows nothing: exact McNemar needs at least six rows in one
    direction, and even a gain in every row of disagreement is detected in at most about 80% of
    cases. Otherwise the power at this difference is 74 to 87%, for n from 20
    (`tests/stats/test_stats.py`).
    """
    difference = smallest_difference(n, d, units)
    return difference if difference <= d else None


def smallest_ever_detectable(n: int) -> float:
    """The smallest difference of right and wrong answers that `n` ungrouped rows can ever show:
    7.84 / n.

    It is the d at which `smallest_difference` equals d: a gain in every row of disagreement.
    """
    return min(1.0, DETECT**2 / n)


def _compute_factor(units: int) -> float:
    """Student's quantiles in place of 1.96 and 0.84, widened by the standard deviation of Student's
    t.

    The widening accounts for the power that skewed differences and the exact test lose with few
    units: without it, 40 groups of 5 detected 74% of such gains in simulation, not 80%.
    """
    if units <= _MIN_UNITS:
        return math.inf
    student = t_quantile(units) + t_quantile(units, POWER_Z)
    return student * math.sqrt((units - 1) / (units - 3))


def rows_to_decide(n: int, critical: float, error: float, distance: float) -> int | None:
    """The number of rows with which a difference that is now `distance` from its bound is decided
    in 80% of tests.

    N = n ((critical + 0.84) error / |distance|)², at least one more than the `n` rows that gave
    `error` and did not decide; None above 100,000. It ignores the skewness of the intervals, which
    can make more rows necessary.
    """
    if distance == 0 or not math.isfinite(critical):
        return None
    rows = n * ((critical + round(POWER_Z, 2)) * error / abs(distance)) ** 2
    return max(n + 1, math.ceil(rows)) if rows <= MOST_ADVISED else None
