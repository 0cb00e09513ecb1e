"""What the statistics are computed from: one method's results, summed within each unit.

Both aggregates that Étude knows, the mean score and macro-F1, are functions of sums over units.
So one object serves both: resampling units is a matrix product of unit weights with those sums.

Shapes: G units, k sums per unit, R resamples, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

FloatArray = npt.NDArray[np.float64]
Aggregate = Literal["mean", "macro_f1"]

RESAMPLES = 2_000
"""Bootstrap resamples; the Monte Carlo error of a standard error is then 1.6%."""
SEED = 20_240_611
"""Fixed: the same rows always give the same verdict."""
EQUAL = 1e-6
"""Scores and standard errors up to this count as no difference at all: far below what is shown, far above the
rounding of sums, which would else pass for a spread and give an interval of no width."""
_MAX_CELLS = 24_000_000
"""Weights held at once, units x resamples (192 MB); above it fewer resamples are drawn."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One method's results on some rows, as sums per unit. Make one with `score_sample` or `label_sample`."""

    sums: FloatArray
    """(G, k). Mean: score and rows. Macro-F1: right, predicted and expected rows of each class, k = 3C."""
    aggregate: Aggregate
    right_wrong: bool
    """Every score is 0 or 1 and every row its own unit: the case with exact methods."""
    rows: int

    @property
    def units(self) -> int:
        """Independent units: groups where rows are grouped, else rows."""
        return len(self.sums)

    @property
    def value(self) -> float:
        """The aggregate over all rows, 0 to 1."""
        return float(self.of(self.sums.sum(axis=0)))

    @cached_property
    def pulls(self) -> FloatArray:
        """How far each unit pulls the mean, (G,): zero on average, linear in the scores. Not for macro-F1."""
        scores, rows = self.sums[:, 0], self.sums[:, 1]
        return np.asarray((scores - self.value * rows) / rows.mean())

    def of(self, totals: FloatArray) -> FloatArray:
        """The aggregate of weighted sums: (..., k) to (...). Classes of zero weight take no part."""
        if self.aggregate == "mean":
            return np.asarray(totals[..., 0] / totals[..., 1])
        right, predicted, expected = np.split(totals, 3, axis=-1)
        present = expected > 0
        f1 = np.where(present, 2 * right / np.maximum(predicted + expected, 1e-12), 0.0)
        return np.asarray(f1.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1))

    def replicates(self, weights: FloatArray) -> FloatArray:
        """The aggregate under each row of `weights`: (R, G) to (R,)."""
        return self.of(weights @ self.sums)


def score_sample(scores: npt.ArrayLike, units: Sequence[Hashable] | None = None) -> Sample:
    """The sample whose aggregate is the mean of `scores` (one per row, 0 to 1).

    `units` names each row's unit; rows of one unit are resampled together. The mean is over rows, so a
    larger unit weighs more. Raises ValueError for no rows, or scores that are not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"scores must be one finite number per row, and at least one row (got {values!r})")
    sums = np.column_stack([values, np.ones_like(values)])
    codes = _codes(units, len(values))
    single = codes is None or codes.max() + 1 == len(values)
    right_wrong = single and bool(((values == 0) | (values == 1)).all())
    return Sample(_within(sums, codes), "mean", right_wrong, len(values))


def label_sample(
    expected: Sequence[str], predicted: Sequence[str | None], units: Sequence[Hashable] | None = None
) -> Sample:
    """The sample whose aggregate is macro-F1 over the labels that occur in `expected`.

    A prediction outside those labels, or None, is wrong for its row and makes no class of its own. This is
    scikit-learn's `f1_score(..., labels=sorted(set(expected)), average="macro", zero_division=0)`.
    """
    if not expected or len(expected) != len(predicted):
        raise ValueError(
            f"{len(expected)} expected and {len(predicted)} predicted labels must be equal, not 0"
        )
    classes = {label: code for code, label in enumerate(sorted(set(expected)))}
    truth = _one_hot([classes[label] for label in expected], len(classes))
    guess = _one_hot([-1 if label is None else classes.get(label, -1) for label in predicted], len(classes))
    sums = np.hstack([truth * guess, guess, truth])
    return Sample(_within(sums, _codes(units, len(expected))), "macro_f1", False, len(expected))


def f1_sample(counts: npt.ArrayLike, units: Sequence[Hashable] | None = None) -> Sample:
    """The sample whose aggregate is F1 of one thing: (N, 3), how often it is right, given and wanted in each row."""
    sums = np.asarray(counts, dtype=np.float64)
    return Sample(summed(sums, units), "macro_f1", False, len(sums))


def summed(sums: FloatArray, units: Sequence[Hashable] | None) -> FloatArray:
    """Rows of numbers (N, k) summed within each unit, (G, k)."""
    return _within(sums, _codes(units, len(sums)))


@lru_cache(maxsize=8)
def unit_weights(units: int, resamples: int = RESAMPLES, seed: int = SEED) -> FloatArray:
    """(R, G) multinomial weights of bootstrap resamples of `units` units. Cached and read-only."""
    num = max(200, min(resamples, _MAX_CELLS // units))
    draws = np.random.default_rng([seed, units]).multinomial(units, np.full(units, 1 / units), size=num)
    weights = draws.astype(np.float64)
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=4096)
def t_quantile(units: int, z: float = 1.959963984540054) -> float:
    """The Student quantile (units - 1 degrees of freedom) at the level of the normal quantile `z`.

    Infinite for one unit: nothing can be said about the spread between units then.
    """
    if units < 2:
        return math.inf
    return max(z, float(stdtrit(units - 1, ndtr(z))))


def _codes(units: Sequence[Hashable] | None, rows: int) -> npt.NDArray[np.intp] | None:
    """Each row's unit as a number in sorted order of the names, so that an interval depends on no order of the rows;
    None where units have no names."""
    if units is None:
        return None
    if len(units) != rows:
        raise ValueError(f"{len(units)} units for {rows} rows: give every row its unit")
    return np.unique(np.asarray([str(unit) for unit in units]), return_inverse=True)[1]


def _within(sums: FloatArray, codes: npt.NDArray[np.intp] | None) -> FloatArray:
    if codes is None:
        return sums
    total = np.zeros((int(codes.max()) + 1, sums.shape[1]))
    order = np.lexsort((*sums.T, codes))  # sums round alike whatever the order of the rows
    np.add.at(total, codes[order], sums[order])
    return total


def _one_hot(codes: Sequence[int], num: int) -> FloatArray:
    hot: FloatArray = (np.asarray(codes)[:, None] == np.arange(num)).astype(np.float64)
    return hot
