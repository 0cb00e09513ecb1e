"""One method's results, summed within each unit: the input of all statistics.

All aggregates (the mean score, macro-F1, quadratic weighted kappa) are functions of sums over
units. So one class serves all, and resampling units is a matrix product of unit weights with those
sums.

Shapes: G units, k sums per unit, R resamples, C classes.
"""

import math
import random
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

FloatArray = npt.NDArray[np.float64]
Aggregate = Literal["mean", "macro_f1", "kappa", "average"]

RESAMPLES = 2_000  # bootstrap resamples: the Monte Carlo error of a standard error is 1.6%
SEED = 20_240_611  # fixed: the same rows always give the same verdict
# Scores and standard errors up to this count as zero. It is far below what is reported and far
# above rounding errors of sums, which would otherwise give an interval without width.
EQUAL = 1e-6
# Weights held at once, units x resamples (192 MB); above it fewer resamples are drawn.
_MAX_CELLS = 24_000_000


def order_by_strata(strata: Sequence[Hashable], draw: random.Random) -> list[int]:
    """Shuffle positions, but with one of each stratum first, so that the first positions cover
    every stratum.
    """
    order = draw.sample(range(len(strata)), len(strata))
    firsts = {*{strata[position]: position for position in reversed(order)}.values()}
    return sorted(order, key=lambda position: position not in firsts)


@dataclass(frozen=True, eq=False)
class UnitSums:
    """One method's results on some rows, as sums per unit. Make one with `make_score_sample` or
    `make_label_sample`.
    """

    sums: FloatArray
    """(G, k). Mean: score and rows. Macro-F1: right, predicted and expected rows of each class, k =
    3C. Kappa: squared distance, expected and predicted score, the squares of both, and rows.
    Average: its `parts`, side by side.
    """
    aggregate: Aggregate
    right_wrong: bool
    """Whether every score is 0 or 1 and every row its own unit: the case with exact methods."""
    rows: int
    parts: tuple["UnitSums", ...] = ()
    """The samples whose aggregates are averaged, if this is an average."""

    @property
    def units(self) -> int:
        """Number of independent units: groups if rows are grouped, else rows."""
        return len(self.sums)

    @property
    def effective_units(self) -> float:
        """The number of equally large units with the same information (Kish 1965); `units` if all
        are equally large.
        """
        if self.aggregate != "mean":
            return self.units
        sizes = self.sums[:, 1]
        return float(sizes.sum()) ** 2 / float(sizes @ sizes)

    @property
    def value(self) -> float:
        """The aggregate over all rows, 0 to 1. Agreement below chance counts as 0."""
        return max(0.0, self.unbounded_value)

    @property
    def unbounded_value(self) -> float:
        """Like `value`, but kappa is negative if agreement is below chance, so that resampling has
        its full spread.
        """
        return float(self.aggregate_totals(self.sums.sum(axis=0)))

    @cached_property
    def residuals(self) -> FloatArray:
        """The influence of each unit on the mean, (G,): zero on average, linear in the scores. Only
        for the mean.
        """
        scores = self.sums[:, 0]
        rows = self.sums[:, 1]
        return np.asarray((scores - self.value * rows) / rows.mean())

    def aggregate_totals(self, totals: FloatArray) -> FloatArray:
        """The aggregate of weighted sums: (..., k) to (...). Classes of zero weight do not
        count.
        """
        if self.aggregate == "mean":
            return np.asarray(totals[..., 0] / totals[..., 1])
        if self.aggregate == "kappa":
            distance, expected, predicted, squares, other_squares, rows = np.moveaxis(totals, -1, 0)
            by_chance = squares + other_squares - 2 * expected * predicted / np.maximum(rows, 1e-12)
            kappa = 1 - distance / np.maximum(by_chance, 1e-12)
            return np.where(by_chance > 1e-9, kappa, np.where(distance > 0, 0.0, 1.0))
        if self.aggregate == "average":
            ends = np.cumsum([part.sums.shape[1] for part in self.parts])[:-1]
            pairs = zip(self.parts, np.split(totals, ends, axis=-1), strict=True)
            return np.asarray(
                np.mean([part.aggregate_totals(sums) for part, sums in pairs], axis=0)
            )
        right, predicted, expected = np.split(totals, 3, axis=-1)
        present = expected > 0
        f1 = np.where(present, 2 * right / np.maximum(predicted + expected, 1e-12), 0.0)
        return np.asarray(f1.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1))

    def replicates(self, weights: FloatArray) -> FloatArray:
        """The aggregate under each row of `weights`: (R, G) to (R,)."""
        return self.aggregate_totals(weights @ self.sums)


def make_score_sample(scores: npt.ArrayLike, units: Sequence[Hashable] | None = None) -> UnitSums:
    """The sample whose aggregate is the mean of `scores` (one per row, 0 to 1).

    `units` are the rows' units; rows of one unit are resampled together. The mean is over rows, so
    a larger unit weighs more. Raises ValueError for no rows, or scores that are not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(
            f"scores must be one finite number per row, and at least one row (got {values!r})"
        )
    sums = np.column_stack([values, np.ones_like(values)])
    codes = _encode_units(units, len(values))
    single = codes is None or codes.max() + 1 == len(values)
    right_wrong = single and bool(((values == 0) | (values == 1)).all())
    return UnitSums(_sum_within(sums, codes), "mean", right_wrong, len(values))


def make_label_sample(
    expected: Sequence[str],
    predicted: Sequence[str | None],
    units: Sequence[Hashable] | None = None,
) -> UnitSums:
    """The sample whose aggregate is macro-F1 over the labels that occur in `expected`.

    A prediction outside those labels, or None, is wrong for its row and makes no class of its own.
    This is scikit-learn's `f1_score(..., labels=sorted(set(expected)), average="macro",
    zero_division=0)`.
    """
    return make_label_lists_sample(
        [(label,) for label in expected],
        [() if label is None else (label,) for label in predicted],
        units,
    )


def make_label_lists_sample(
    expected: Sequence[Collection[str]],
    predicted: Sequence[Collection[str]],
    units: Sequence[Hashable] | None = None,
) -> UnitSums:
    """The sample whose aggregate is macro-F1 over the labels that occur in `expected`, of which a
    row has any number.

    This is scikit-learn's `f1_score` of the 0/1 matrices of those labels with average="macro",
    zero_division=0.
    """
    if not expected or len(expected) != len(predicted):
        raise ValueError(
            f"need as many predicted as expected labels, at least one (got {len(predicted)} and "
            f"{len(expected)})"
        )
    names = sorted({label for labels in expected for label in labels})
    truth, guesses = (encode_label_lists(rows, names) for rows in (expected, predicted))
    sums = np.hstack([truth * guesses, guesses, truth])
    return UnitSums(sum_by_unit(sums, units), "macro_f1", False, len(expected))


def make_kappa_sample(
    expected: npt.ArrayLike, predicted: npt.ArrayLike, units: Sequence[Hashable] | None = None
) -> UnitSums:
    """The sample whose aggregate is the quadratic weighted kappa of scores, given as positions on
    their scale.

    Cohen 1968: 1 minus the mean squared distance over the one that both scores would have if they
    were independent, so a ratio of sums over rows. This is scikit-learn's `cohen_kappa_score(...,
    weights="quadratic")`; where that is undefined, as all scores are the same, it is 1.
    """
    first = np.asarray(expected, dtype=np.float64)
    second = np.asarray(predicted, dtype=np.float64)
    sums = np.column_stack(
        [(first - second) ** 2, first, second, first**2, second**2, np.ones_like(first)]
    )
    return UnitSums(sum_by_unit(sums, units), "kappa", False, len(first))


def make_ratio_sample(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, units: Sequence[Hashable] | None = None
) -> UnitSums:
    """The sample whose aggregate is a ratio of two sums over rows, such as precision over the
    values of answers.
    """
    sums = np.column_stack([numerators, denominators]).astype(np.float64)
    return UnitSums(sum_by_unit(sums, units), "mean", False, len(sums))


def make_f1_sample(counts: npt.ArrayLike, units: Sequence[Hashable] | None = None) -> UnitSums:
    """The sample whose aggregate is F1 over values: (N, 3), how many are right, answered and
    expected.
    """
    sums = np.asarray(counts, dtype=np.float64)
    return UnitSums(sum_by_unit(sums, units), "macro_f1", False, len(sums))


def make_average_sample(samples: Sequence[UnitSums]) -> UnitSums:
    """The sample whose aggregate is the mean of those of `samples`, which have the same rows and
    units.
    """
    sums = np.hstack([sample.sums for sample in samples])
    return UnitSums(sums, "average", False, samples[0].rows, tuple(samples))


def sum_by_unit(sums: FloatArray, units: Sequence[Hashable] | None) -> FloatArray:
    """Sum rows of numbers (N, k) within each unit, (G, k)."""
    return _sum_within(sums, _encode_units(units, len(sums)))


@lru_cache(maxsize=8)
def resample_units(units: int, resamples: int = RESAMPLES, seed: int = SEED) -> FloatArray:
    """(R, G) multinomial weights of bootstrap resamples of `units` units. Cached and read-only."""
    num = max(200, min(resamples, _MAX_CELLS // units))
    draws = np.random.default_rng([seed, units]).multinomial(
        units, np.full(units, 1 / units), size=num
    )
    weights = draws.astype(np.float64)
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=4096)
def t_quantile(units: float, z: float = 1.959963984540054) -> float:
    """The Student quantile (units - 1 degrees of freedom, at least 1) at the level of the normal
    quantile `z`.

    Infinite for one unit, because nothing is known about the spread between units then.
    """
    if units <= 1:
        return math.inf
    return max(z, float(stdtrit(max(float(units) - 1, 1.0), float(ndtr(z)))))


def _encode_units(units: Sequence[Hashable] | None, rows: int) -> npt.NDArray[np.intp] | None:
    # Codes in the sorted order of the names, so that intervals do not depend on the order of rows;
    # None without names.
    if units is None:
        return None
    if len(units) != rows:
        raise ValueError(f"{len(units)} units for {rows} rows: give every row its unit")
    return np.unique(np.asarray([str(unit) for unit in units]), return_inverse=True)[1]


def _sum_within(sums: FloatArray, codes: npt.NDArray[np.intp] | None) -> FloatArray:
    if codes is None:
        return sums
    total = np.zeros((int(codes.max()) + 1, sums.shape[1]))
    # fixes the order of summation, so that rounding does not depend on the order of rows
    order = np.lexsort((*sums.T, codes))
    np.add.at(total, codes[order], sums[order])
    return total


def encode_label_lists(rows: Sequence[Collection[str]], names: Sequence[str]) -> FloatArray:
    """1 for each label of a row that is among the `names`, shape (rows, names)."""
    classes = {label: code for code, label in enumerate(names)}
    hot = np.zeros((len(rows), len(names)))
    for row, labels in enumerate(rows):
        hot[row, [classes[label] for label in labels if label in classes]] = 1
    return hot
