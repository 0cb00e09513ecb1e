"""A judge compared with people: their agreement, and the judge's share of right answers, corrected
for its errors.
"""

import math

import numpy as np
import numpy.typing as npt

from etude.stats.intervals import Z, standard_error
from etude.stats.paired import count_agreement
from etude.stats.sample import EQUAL, RESAMPLES, SEED, FloatArray, UnitSums
from etude.types import Estimate

JEFFREYS = 0.5  # prior count of every cell of a table


def kappa(a: npt.ArrayLike, b: npt.ArrayLike) -> Estimate:
    """Cohen's kappa (1960) of two judges' answers, True or False for each row; 1 if both always say
    the same.

    The 95% interval comes from 2,000 draws of the table's shares (Dirichlet with Jeffreys' prior),
    widened to contain the value, so it is never of zero width. Raises ValueError if there are no
    rows.
    """
    table = _count_table(a, b)
    n = int(table.sum())
    tables = np.random.default_rng([SEED, n]).dirichlet(table.ravel() + JEFFREYS, size=RESAMPLES)
    low, high = np.quantile(_compute_kappas(tables.reshape(-1, 2, 2)), (0.025, 0.975))
    value = float(_compute_kappas(table[None] / n)[0])
    return Estimate(value, min(value, float(low)), max(value, float(high)), n)


def correct_share(judged: UnitSums, people: npt.ArrayLike, judge: npt.ArrayLike) -> Estimate | None:
    """Estimate the share of rows that people would call right, from rows that only the judge has
    `judged`, and from the answers of `people` and the `judge` to the same other rows.

    (share + specificity - 1) / (sensitivity + specificity - 1), Rogan and Gladen 1978, with the 95%
    interval of Lang and Reiczigel 2014 (Prev. Vet. Med. 113), inside 0 to 1. None if people called
    no row right or none wrong, or if the judge is no better than chance.
    """
    table = _count_table(people, judge)
    wrong, right = table.sum(axis=1)
    if not (wrong and right):
        return None
    informed = table[1, 1] / right + table[0, 0] / wrong - 1
    sensitivity = (table[1, 1] + 1) / (right + 2)
    specificity = (table[0, 0] + 1) / (wrong + 2)
    slope = sensitivity + specificity - 1
    if min(informed, slope) <= 0:
        return None
    share = judged.value
    n = judged.units
    error = standard_error(judged) if n > 1 else 0.0
    value = (share + table[0, 0] / wrong - 1) / informed
    rows = share * (1 - share) / error**2 if error > EQUAL and 0 < share < 1 else float(n)
    adjusted = (rows * share + Z * Z / 2) / (rows + Z * Z)
    adjusted_n = rows + Z * Z
    middle = (adjusted + specificity - 1) / slope
    sensitivity_variance = sensitivity * (1 - sensitivity) / (right + 2)
    specificity_variance = specificity * (1 - specificity) / (wrong + 2)
    spread = (
        math.sqrt(
            adjusted * (1 - adjusted) / adjusted_n
            + middle**2 * sensitivity_variance
            + (1 - middle) ** 2 * specificity_variance
        )
        / slope
    )
    middle += 2 * Z * Z * (middle * sensitivity_variance - (1 - middle) * specificity_variance)
    clipped = min(1.0, max(0.0, value))
    low, high = (min(1.0, max(0.0, middle + side * Z * spread)) for side in (-1, 1))
    return Estimate(clipped, min(clipped, low), max(clipped, high), n)


def _count_table(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """(2, 2) numbers of rows by the two answers, no before yes."""
    both, only_a, only_b, neither = count_agreement(a, b)
    return np.array([[neither, only_b], [only_a, both]], dtype=np.float64)


def _compute_kappas(tables: FloatArray) -> FloatArray:
    """(N, 2, 2) tables of shares to (N,) kappas."""
    observed = np.trace(tables, axis1=1, axis2=2)
    chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1)
    return np.where(chance < 1, (observed - chance) / np.maximum(1 - chance, 1e-300), 1.0)
