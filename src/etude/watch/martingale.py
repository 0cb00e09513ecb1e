"""A test of whether a stream of scores is like a reference, which may be looked at after every
score.

Each score gets a p-value: its rank among the reference and all earlier scores, with ties broken at
random. If all scores are exchangeable, the p-values are independent and uniform, whatever the size
of the reference (Vovk, Gammerman and Shafer 2005, Theorem 8.2). A martingale bets against this: its
wealth starts at 1, and by Ville's inequality it ever reaches 1 / share with a probability of at
most `share`. The bets are on small p-values (scores higher than before), and capital moves among
them as in the Composite Jumper (Vovk et al. 2021, arXiv 2102.10439).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from etude.stats.sample import FloatArray

BETS = tuple((share, width) for width in (0.01, 0.05, 0.2) for share in (0.05, 0.2, 0.6))
"""A bet gains if the p-value is at most `width`. It is best if a `share` of the p-values are that
small and the others uniform. One more bet keeps its capital.
"""
JUMPS = np.array([[1e-4], [1e-3], [1e-2]])
"""Shares of each third of the capital that are spread anew over its bets before each p-value."""


@dataclass(frozen=True, slots=True)
class ChangeTest:
    """The result for a stream, whose positions count from 0."""

    wealth: float  # the highest so far
    alarm: int | None = None  # the score at which the alarm was raised
    change: int | None = None  # the likeliest first score after the change


def compute_p_values(
    reference: Iterable[float], scores: Iterable[float], rng: np.random.Generator
) -> FloatArray:
    """Rank each score among the reference and the scores before it; a small p-value means a high
    score.
    """
    earlier = sorted(reference)
    p_values = list[float]()
    for score in scores:
        low = bisect_left(earlier, score)
        high = bisect_right(earlier, score)
        num_higher = len(earlier) - high
        num_equal = high - low + 1
        p_values.append((num_higher + rng.random() * num_equal) / (len(earlier) + 1))
        earlier.insert(high, score)
    return np.array(p_values, dtype=np.float64)


def compute_gains(p_values: FloatArray) -> FloatArray:
    """Return the factor of each bet's capital for each p-value, (p-values, bets), the bet that
    keeps it first.
    """
    gains = np.ones((len(p_values), 1 + len(BETS)))
    for column, (share, width) in enumerate(BETS, 1):
        gains[:, column] = 1 - share + share / width * (p_values <= width)
    return gains


def compute_log_wealth(gains: FloatArray) -> FloatArray:
    """Return the logarithm of the martingale's wealth after each p-value."""
    capital = np.full((len(JUMPS), gains.shape[1]), 1 / (len(JUMPS) * gains.shape[1]))
    factors = np.empty(len(gains))
    for position, gain in enumerate(gains):
        capital = ((1 - JUMPS) * capital + JUMPS * capital.mean(axis=1, keepdims=True)) * gain
        factors[position] = capital.sum()
        capital /= factors[position]
    return np.asarray(np.cumsum(np.log(factors)))


def detect_change(
    reference: Iterable[float], scores: Sequence[float], false_alarms: float, seed: int = 0
) -> ChangeTest:
    """Test scores in their order. Without a change, an alarm is ever raised with a probability of
    `false_alarms`.
    """
    gains = compute_gains(compute_p_values(reference, scores, np.random.default_rng(seed)))
    log_wealth = compute_log_wealth(gains)
    wealth = math.exp(min(700.0, log_wealth.max(initial=0.0)))
    above = np.flatnonzero(log_wealth >= -math.log(false_alarms))
    if not len(above):
        return ChangeTest(wealth)
    # The change is where the bet that has gained most since its minimum has this minimum (Page
    # 1954).
    alarm = int(above[0])
    sums = np.cumsum(np.log(np.vstack([np.ones(gains.shape[1]), gains[: alarm + 1]])), axis=0)
    best = int((sums[-1] - sums.min(axis=0)).argmax())
    return ChangeTest(wealth, alarm, int(sums[:, best].argmin()))
