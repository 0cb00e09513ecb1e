"""Whether confidences can be trusted: calibration error, reliability, Brier score, accuracy of the
surest rows, and the threshold above which errors are rare enough. Pure functions of arrays.

Shapes: n answers, each with a confidence in [0, 1] and right as 1 or wrong as 0.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, stdtrit

from etude.stats.intervals import estimate, mean_error, wilson
from etude.stats.sample import FloatArray, resample_units, sum_by_unit, t_quantile
from etude.types import Estimate

BINS = 15  # with equally many rows each
SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)  # shares of the rows that are answered, the surest first
# A threshold can be at this many equally spaced shares of the answers. Fixed before dev is looked
# at, as are the shares at which a sequence of steps starts.
STEPS = 20
STARTS = (0.0, 0.5)


def measure_calibration_error(
    confidence: npt.ArrayLike,
    right: npt.ArrayLike,
    units: Sequence[Hashable] | None = None,
    bins: int = BINS,
) -> Estimate:
    """Expected calibration error: how far the share of right answers is from the confidence, on
    average over bins.

    Bins hold equally many rows, but rows with the same confidence share a bin. With few rows,
    chance alone makes it larger than 0. The interval is the basic bootstrap's over units, with the
    bins as they are. Guo et al. 2017; Nguyen and O'Connor 2015.
    """
    confidences = np.asarray(confidence, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    in_bin = assign_bins(confidences, bins)[:, None] == np.arange(bins)
    sums = sum_by_unit(
        np.column_stack([in_bin * (hits - confidences)[:, None], np.ones_like(confidences)]), units
    )

    def error(totals: FloatArray) -> FloatArray:
        return np.asarray(np.abs(totals[..., :-1]).sum(axis=-1) / totals[..., -1])

    value = float(error(sums.sum(axis=0)))
    if len(sums) < 2:
        return Estimate(value, 0.0, 1.0, len(sums))
    upper, lower = np.quantile(error(resample_units(len(sums)) @ sums), (0.975, 0.025))
    low = max(0.0, min(value, 2 * value - upper))
    high = min(1.0, max(value, 2 * value - lower))
    if low == high:  # no resample differs, for example if all rows are right with confidence 1
        spread = estimate(np.abs(hits - confidences), units)
        low = min(low, spread.low)
        high = max(high, spread.high)
    return Estimate(value, float(low), float(high), len(sums))


def assign_bins(confidences: FloatArray, bins: int) -> npt.NDArray[np.intp]:
    """Number the bin of each confidence, 0 to `bins` - 1: equally many rows each, equal confidences
    in one bin.
    """
    starts = [len(confidences) * number // bins for number in range(1, bins)]
    return np.searchsorted(np.sort(confidences)[starts], confidences, side="right")


def list_reliability(
    confidence: npt.ArrayLike,
    right: npt.ArrayLike,
    units: Sequence[Hashable] | None = None,
    bins: int = 10,
) -> list[tuple[float, Estimate]]:
    """List (mean confidence, share that is right) of each bin that has rows, the least sure
    first.
    """
    confidences = np.asarray(confidence, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    bin_of = assign_bins(confidences, bins)
    points = []
    for rows in (np.flatnonzero(bin_of == number).tolist() for number in np.unique(bin_of)):
        row_units = None if units is None else [units[row] for row in rows]
        points.append((float(confidences[rows].mean()), estimate(hits[rows], row_units)))
    return points


def measure_overconfidence(
    confidence: npt.ArrayLike, right: npt.ArrayLike, units: Sequence[Hashable] | None = None
) -> Estimate:
    """Mean confidence minus the share that is right, -1 to 1: above 0 the confidences promise too
    much.
    """
    excess = np.asarray(confidence, dtype=np.float64) - np.asarray(right, dtype=np.float64)
    sums = sum_by_unit(np.column_stack([excess, np.ones_like(excess)]), units)
    value = float(excess.mean())
    if len(sums) < 2:
        return Estimate(value, -1.0, 1.0, len(sums))
    reach = t_quantile(len(sums)) * mean_error(
        (sums[:, 0] - value * sums[:, 1]) / sums[:, 1].mean()
    )
    return Estimate(value, max(-1.0, value - reach), min(1.0, value + reach), len(sums))


def brier_score(
    confidence: npt.ArrayLike, right: npt.ArrayLike, units: Sequence[Hashable] | None = None
) -> Estimate:
    """Mean squared distance of the confidence from 1 if the label is right, 0 if not.

    0 is best; a constant confidence of one half has 0.25. Brier 1950, for the answered label alone.
    """
    confidences = np.asarray(confidence, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    return estimate((confidences - hits) ** 2, units)


def iter_surest(
    confidence: npt.ArrayLike, right: npt.ArrayLike, units: Sequence[Hashable] | None = None
) -> Iterator[tuple[float, float, Estimate]]:
    """Yield (share of the rows, their lowest confidence, share that is right) for the surest rows
    of each of SHARES.
    """
    confidences = np.asarray(confidence, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    order = np.argsort(-confidences, kind="stable")
    for share in SHARES:
        rows = order[: max(1, round(share * len(order)))]
        row_units = None if units is None else [units[row] for row in rows]
        yield share, float(confidences[rows[-1]]), estimate(hits[rows], row_units)


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """If only the surest answers are given: their share, the share of them that is right, and their
    lowest confidence.
    """

    share: float
    right: float
    confidence: float


def compute_auroc(confidence: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Area under the ROC curve by ranks (Mann and Whitney 1947)."""
    confidences, hits = _check_inputs(confidence, right)
    num_right = float(hits.sum())
    num_wrong = len(hits) - num_right
    if not num_right or not num_wrong:
        return 0.5
    from scipy.stats import rankdata  # 0.5 s to import, and few runs need it

    ranks = rankdata(confidences)
    return float(
        (ranks[hits == 1].sum() - num_right * (num_right + 1) / 2) / (num_right * num_wrong)
    )


def estimate_auroc(
    confidence: npt.ArrayLike, right: npt.ArrayLike, units: Sequence[Hashable] | None = None
) -> Estimate:
    """`compute_auroc` with its interval; n counts units.

    The error is that of DeLong et al. 1988, with the contributions of a unit's rows added together.
    The interval is Wilson's at the effective number of rows, so it never has zero width and covers
    everything if fewer than two rows are right or wrong.
    """
    confidences, hits = _check_inputs(confidence, right)
    value = compute_auroc(confidences, hits)
    is_right = hits == 1
    num_right = int(is_right.sum())
    num_wrong = int((~is_right).sum())
    if min(num_right, num_wrong) < 2:
        return Estimate(value, 0.0, 1.0, len(hits))
    from scipy.stats import rankdata

    # for each row, the share of the rows of the other kind that it is ranked rightly against
    ranks = rankdata(confidences)
    shares = np.empty(len(hits))
    shares[is_right] = (ranks[is_right] - rankdata(confidences[is_right])) / num_wrong
    shares[~is_right] = 1 - (ranks[~is_right] - rankdata(confidences[~is_right])) / num_right
    parts = (shares - value) / np.where(is_right, num_right, num_wrong)
    sums = sum_by_unit(parts[:, None], units)[:, 0]
    num_units = len(sums)
    variance = float((sums**2).sum()) * num_units / max(1, num_units - 1)
    spread = value * (1 - value)
    smaller = float(min(num_right, num_wrong))
    effective = spread / variance if variance > 0 and spread > 0 else smaller
    low, high = wilson(value * effective, effective, t_quantile(smaller))
    return Estimate(value, low, high, num_units)


def compute_risk_coverage(confidence: npt.ArrayLike, right: npt.ArrayLike) -> list[RiskPoint]:
    """Return one point for each number of answers that can be given, the surest first; ties are
    given together.
    """
    confidences, hit = _check_inputs(confidence, right)
    order = np.argsort(-confidences, kind="stable")
    hits = np.cumsum(hit[order])
    values = confidences[order]
    ends = [
        index
        for index in range(len(values))
        if index + 1 == len(values) or values[index + 1] < values[index]
    ]
    return [
        RiskPoint((end + 1) / len(values), float(hits[end] / (end + 1)), float(values[end]))
        for end in ends
    ]


def choose_threshold(
    confidence: npt.ArrayLike, right: npt.ArrayLike, max_errors: float
) -> float | None:
    """Return the lowest confidence above which at most the share `max_errors` of the answers is
    wrong, or None.

    Goes from few answers to all in `STEPS` steps, the surest first, while the one-sided bound of
    the error rate (Clopper and Pearson 1934) stays below `max_errors`. This is fixed sequence
    testing with several `STARTS`, which share the 5%: with probability 95% the error rate on such
    rows is below `max_errors` (Angelopoulos et al. 2021, Learn then Test). A sequence from half of
    the answers also finds a threshold if an error is among the surest few. Steps are skipped if
    they have too few answers to show this even without errors. None if the first other step of each
    sequence does not show it.
    """
    confidences, hits = _check_inputs(confidence, right)
    order = np.argsort(-confidences, kind="stable")
    level = 0.05 / len(STARTS)
    min_size = count_needed_answers(max_errors)
    thresholds = []
    for start in STARTS:
        for size in (math.ceil(len(confidences) * step / STEPS) for step in range(1, STEPS + 1)):
            if size < max(min_size, start * len(confidences)):
                continue
            lowest = confidences[order[size - 1]]
            is_answered = confidences >= lowest
            num_wrong = float((1 - hits[is_answered]).sum())
            num = int(is_answered.sum())
            if (
                num_wrong == num
                or float(betaincinv(num_wrong + 1, num - num_wrong, 1 - level)) > max_errors
            ):
                break
            thresholds.append(float(lowest))
    return min(thresholds, default=None)


def count_needed_answers(max_errors: float) -> int:
    """Count the answers from which `choose_threshold` can find a threshold if none of them is
    wrong.
    """
    return math.ceil(math.log(0.05 / len(STARTS)) / math.log1p(-max_errors))


def choose_floor(scores: npt.ArrayLike, max_share: float) -> tuple[float, float]:
    """Return a floor for scores, and the maximum share of further scores below it, with probability
    95%.

    The floor is the k-th lowest of n exchangeable scores. The share of further scores below it is
    Beta(k, n - k + 1) (Wilks 1941); k is the largest number for which this share is at most
    `max_share` with 95%, so k depends only on n.

    With too few scores for any k, k is the largest number for which the average share k / (n + 1)
    is at most `max_share`, and at least 1. Then the returned share is larger than `max_share`. The
    floor is lowered if normally distributed scores would be below it too often (the one-sided
    prediction interval of one further score).
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    shares = betaincinv(np.arange(1, len(ordered) + 1), np.arange(len(ordered), 0, -1), 0.95)
    num_sure = int((shares <= max_share).sum())
    num_expected = int(max_share * (len(ordered) + 1))
    rank = max(num_sure or num_expected, 1) - 1
    floor = float(ordered[rank])
    num = len(ordered)
    if not num_sure and num > 1:
        margin = -stdtrit(num - 1, max_share) * ordered.std(ddof=1) * math.sqrt(1 + 1 / num)
        floor = min(floor, float(ordered.mean() - margin))
    return floor, float(shares[rank])


def _check_inputs(confidence: npt.ArrayLike, right: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    confidences = np.asarray(confidence, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    if confidences.ndim != 1 or confidences.shape != hits.shape or not confidences.size:
        raise ValueError(
            f"need one confidence and one 0 or 1 per answer (got shapes {confidences.shape} and "
            f"{hits.shape})"
        )
    if not (np.isin(hits, (0, 1)).all() and (confidences >= 0).all() and (confidences <= 1).all()):
        raise ValueError("confidences lie between 0 and 1, and right is 0 or 1")
    return confidences, hits
