"""How far confidences can be trusted, and from which confidence on an error rate holds. Pure functions of arrays.

Shapes: n answers, with a confidence in [0, 1] and right as 1 or wrong as 0 for each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv
from scipy.stats import rankdata

from etude.stats.sample import FloatArray

STEPS = 20
"""Shares of the answers at which a threshold may lie, equally spaced: fixed before dev is looked at."""


@dataclass(frozen=True, slots=True)
class Point:
    """If only the surest answers are given: their share, how many of them are right, and the least confidence."""

    share: float
    right: float
    confidence: float


def auroc(confidence: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Area under the ROC curve by ranks (Mann and Whitney 1947)."""
    sure, hit = _checked(confidence, right)
    num_right = float(hit.sum())
    num_wrong = len(hit) - num_right
    if not num_right or not num_wrong:
        return 0.5
    ranks = rankdata(sure)
    return float((ranks[hit == 1].sum() - num_right * (num_right + 1) / 2) / (num_right * num_wrong))


def risk_coverage(confidence: npt.ArrayLike, right: npt.ArrayLike) -> list[Point]:
    """One point for each number of answers that can be given, the surest first; ties are given together."""
    sure, hit = _checked(confidence, right)
    order = np.argsort(-sure, kind="stable")
    hits, values = np.cumsum(hit[order]), sure[order]
    ends = [at for at in range(len(values)) if at + 1 == len(values) or values[at + 1] < values[at]]
    return [Point((at + 1) / len(values), float(hits[at] / (at + 1)), float(values[at])) for at in ends]


def threshold(confidence: npt.ArrayLike, right: npt.ArrayLike, most_errors: float) -> float | None:
    """The least confidence at which answers may be given, so that at most the share `most_errors` of them is wrong.

    From few answers to all in `STEPS` steps, the surest first, as long as the one-sided 95% bound of the error rate
    (Clopper and Pearson 1934) stays below: fixed sequence testing, which keeps the promise with probability 95% on rows
    like these (Angelopoulos et al. 2021, Learn then Test). Steps of too few answers to show it even without an error
    are passed over. None if the first of the others does not show it.
    """
    sure, hit = _checked(confidence, right)
    order = np.argsort(-sure, kind="stable")
    least = math.log(0.05) / math.log1p(-most_errors)
    chosen = None
    for size in (math.ceil(len(sure) * step / STEPS) for step in range(1, STEPS + 1)):
        lowest = sure[order[size - 1]]
        given = sure >= lowest
        wrong, num = float((1 - hit[given]).sum()), int(given.sum())
        if size < least:
            continue
        if wrong == num or float(betaincinv(wrong + 1, num - wrong, 0.95)) > most_errors:
            break
        chosen = float(lowest)
    return chosen


def _checked(confidence: npt.ArrayLike, right: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if sure.ndim != 1 or sure.shape != hit.shape or not sure.size:
        raise ValueError(
            f"one confidence and one 0 or 1 per answer (got shapes {sure.shape} and {hit.shape})"
        )
    if not (np.isin(hit, (0, 1)).all() and (sure >= 0).all() and (sure <= 1).all()):
        raise ValueError("confidences lie between 0 and 1, and right is 0 or 1")
    return sure, hit
