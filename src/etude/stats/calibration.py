"""How far probabilities can be relied on: calibration error, Brier score, and what is right among the surest rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from etude.stats.intervals import estimate
from etude.stats.sample import FloatArray, summed, unit_weights
from etude.types import Estimate

BINS = 15
"""Bins of equally many rows."""
SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Shares of the rows, the surest ones, that are answered."""


def calibration_error(
    confidence: npt.ArrayLike, right: npt.ArrayLike, units: Sequence[Hashable] | None = None, bins: int = BINS
) -> Estimate:
    """Expected calibration error: how far the share of right answers is from the confidence, on average over bins.

    Bins hold equally many rows, but rows of one confidence stand in one bin. Chance alone makes it larger than 0, the
    more so the fewer rows there are. The interval is the basic bootstrap's over units, with the bins as they are.
    Guo et al. 2017; Nguyen and O'Connor 2015.
    """
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    begins = [len(sure) * number // bins for number in range(1, bins)]
    inside = np.searchsorted(np.sort(sure)[begins], sure, side="right")[:, None] == np.arange(bins)
    sums = summed(np.column_stack([inside * (hit - sure)[:, None], np.ones_like(sure)]), units)

    def error(totals: FloatArray) -> FloatArray:
        return np.asarray(np.abs(totals[..., :-1]).sum(axis=-1) / totals[..., -1])

    value = float(error(sums.sum(axis=0)))
    if len(sums) < 2:
        return Estimate(value, 0.0, 1.0, len(sums))
    far, near = np.quantile(error(unit_weights(len(sums)) @ sums), (0.975, 0.025))
    low, high = max(0.0, min(value, 2 * value - far)), min(1.0, max(value, 2 * value - near))
    if low == high:  # no resample differs: rows that are all right with certainty, say
        high = max(high, estimate(np.abs(hit - sure), units).high)
    return Estimate(value, float(low), float(high), len(sums))


def brier(
    confidence: npt.ArrayLike, right: npt.ArrayLike, units: Sequence[Hashable] | None = None
) -> Estimate:
    """Mean squared distance of the confidence in the label given from 1 where it is right and 0 where not.

    0 is best; a constant confidence of one half has 0.25. Brier 1950, for the label that was given alone.
    """
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    return estimate((sure - hit) ** 2, units)


def by_share_answered(
    confidence: npt.ArrayLike, right: npt.ArrayLike, units: Sequence[Hashable] | None = None
) -> Iterator[tuple[float, float, Estimate]]:
    """(share of the rows, least confidence among them, share that is right), for the surest rows of each of SHARES."""
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    order = np.argsort(-sure, kind="stable")
    for share in SHARES:
        kept = order[: max(1, round(share * len(order)))]
        inside = None if units is None else [units[row] for row in kept]
        yield share, float(sure[kept[-1]]), estimate(hit[kept], inside)
