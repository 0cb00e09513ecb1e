"""The probability that a text is a right answer, from signals such as the log-probabilities of its
tokens.

A logistic regression with slopes that are not negative: more of a signal never makes an answer less
likely to be right.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
import numpy.typing as npt

from etude.stats.recalibration import Bound, fit_logistic
from etude.stats.sample import FloatArray

FOLDS = 5
# Lower values than this quantile count as the quantile, so that a few outliers do not set the
# slope; not for signals that only say yes or no.
LOW_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class AnswerConfidence:
    """The log-odds that an answer is right: `intercept` plus each signal times its slope."""

    signals: tuple[str, ...]
    lowest: tuple[float, ...]
    """For each signal, the value that lower values, and answers without the signal, are raised
    to.
    """
    slopes: tuple[float, ...]
    intercept: float

    def apply(self, signals: Mapping[str, float]) -> float:
        """Compute the probability that the answer with these signals is right."""
        rows = zip(self.signals, self.lowest, self.slopes, strict=True)
        log_odds = self.intercept + sum(
            slope * max(signals.get(name, lowest), lowest) for name, lowest, slope in rows
        )
        return 1 / (1 + exp(min(max(-log_odds, -700.0), 700.0)))


def fit_confidence(
    rows: Sequence[Mapping[str, float]],
    right: npt.ArrayLike,
    units: Sequence[Hashable],
    seed: int = 0,
) -> tuple[AnswerConfidence, list[float]]:
    """Fit the confidence on the signals of answers (at least one) that are right (1) or wrong (0).
    Also return the confidence of each row by a fit without the rows of its fold (5 folds of units).
    """
    hits = np.asarray(right, dtype=np.float64)
    names, codes = np.unique([str(unit) for unit in units], return_inverse=True)
    # Every fold gets the same share of right answers: a fold with more would leave fewer for its
    # own fit, whose confidences would be too low.
    draw = np.random.default_rng(seed).permutation(len(names))
    means = np.bincount(codes, hits) / np.bincount(codes)
    folds = np.empty(len(names), dtype=np.intp)
    folds[draw[np.argsort(means[draw], kind="stable")]] = np.arange(len(names)) % FOLDS
    fold_of = folds[codes]
    held_out = np.empty(len(rows))
    for fold in np.unique(fold_of):
        others = fold_of != fold if len(names) > 1 else fold_of == fold
        fitted = _fit([rows[row] for row in np.flatnonzero(others).tolist()], hits[others])
        for row in np.flatnonzero(fold_of == fold).tolist():
            held_out[row] = fitted.apply(rows[row])
    return _fit(rows, hits), held_out.tolist()


def make_constant_confidence(right: Sequence[bool]) -> AnswerConfidence:
    """Make one confidence for all answers: the share that is right, moved a little towards one
    half.
    """
    num_right = sum(right)
    return AnswerConfidence((), (), (), log((num_right + 1) / (len(right) - num_right + 1)))


def _fit(rows: Sequence[Mapping[str, float]], hits: FloatArray) -> AnswerConfidence:
    """Fit with an L2 penalty of 1 on the slopes of standardised signals."""
    names = sorted({name for row in rows for name in row})
    values = np.array([[row.get(name, np.nan) for name in names] for row in rows]).reshape(
        len(rows), -1
    )
    is_switch = np.array(
        [len(set(column[~np.isnan(column)])) <= 2 for column in values.T], dtype=bool
    )
    lowest = np.where(
        is_switch, np.nanmin(values, axis=0), np.nanquantile(values, LOW_SHARE, axis=0)
    )
    values = np.maximum(np.where(np.isnan(values), lowest, values), lowest)
    means = values.mean(axis=0)
    scales = values.std(axis=0)
    varies = scales > 1e-9
    features = np.column_stack([(values - means)[:, varies] / scales[varies], np.ones(len(rows))])
    num = int(varies.sum())
    start = [0.0] * num + [log((hits.sum() + 1) / ((1 - hits).sum() + 1))]
    bounds: list[Bound] = [(0.0, None)] * num + [(None, None)]
    weights = fit_logistic(features, hits, start, bounds, penalty=np.array([1.0] * num + [0.0]))
    slopes = np.zeros(len(names))
    slopes[varies] = weights[:-1] / scales[varies]
    used = np.flatnonzero(slopes > 0).tolist()
    return AnswerConfidence(
        tuple(names[index] for index in used),
        tuple(lowest[used].tolist()),
        tuple(slopes[used].tolist()),
        float(weights[-1] - slopes @ means),
    )
