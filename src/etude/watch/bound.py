"""An upper bound on the share of wrong answers that holds however often one looks, and the random
draws behind it.

Each draw is uniform over the answers in the record at that time. Of these, let m be the share of
wrong ones and q the mean of their predicted probabilities of being wrong. For the drawn answer, x =
wrong - predicted has the mean m - q (prediction-powered inference: Angelopoulos et al. 2023). For a
guess g >= 0 made before the draw and a bet b < 1, the factor 1 + b (g - x) is positive, because x
<= 1, and its mean is at most exp(b (g - m + q)). So the product over draws of (1 + b (g - x))
exp(-b (g - m + q)) is a supermartingale, and by Ville's inequality it ever reaches 1 / ALPHA with a
probability of at most ALPHA (as in Waudby-Smith and Ramdas 2024). The wealth is its mean over
several bets, with and without predictions. It grows with the mean of m over the draws, so the bound
is the mean at which it is 1 / ALPHA. Nothing is assumed about the predictions, nor that the record
stays the same between draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from etude.base.files import append_line, list_lines
from etude.base.typed_json import from_json, to_json
from etude.stats import MOST_ADVISED, FloatArray

ALPHA = 0.05
BETS = np.array([0.06, 0.12, 0.24, 0.48, 0.95])
WEIGHTS = (0.0, 1.0)  # of the predictions; 0 bets on judged answers alone
DRAWS = "draws.jsonl"  # in the folder of the runs


@dataclass(frozen=True, slots=True)
class Draw:
    """A randomly drawn answer, without its text. Hashes are `RecordKey.hash_exchange` of input
    and answer.
    """

    assistant: str  # its fingerprint
    exchange: str  # the hash in the record
    masked: str  # the hash of the masked texts, which the studio shows
    wrong: float  # the predicted probability that it is wrong
    mean_wrong: float  # the mean of the predictions for all answers that could be drawn
    num_answers: int  # that could be drawn


@dataclass(frozen=True, slots=True)
class WrongBound:
    """Upper bounds on the share of wrong answers, 95% sure at all looks together."""

    high: float
    high_alone: float  # from the judged answers alone
    num_judged: int
    num_skipped: (
        int  # drawn before the last judged one, but without a judgement; they count as wrong
    )
    num_answers: int  # that could be drawn


def read_draws(folder: Path, assistant: str) -> list[Draw]:
    """Read the draws from answers of an assistant, by its fingerprint."""
    draws = [from_json(Draw, line) for line in list_lines(folder / DRAWS)]
    return [draw for draw in draws if draw.assistant == assistant]


def append_draw(folder: Path, draw: Draw) -> None:
    """Save a draw before anybody sees its answer, so that nobody can choose among draws."""
    append_line(folder / DRAWS, to_json(draw))


def find_vote(draw: Draw, votes: Mapping[str, float]) -> float | None:
    """Return the share of people who judged a drawn answer right; None if nobody did."""
    return votes.get(draw.masked, votes.get(draw.exchange))


def bound_draws(draws: Sequence[Draw], votes: Mapping[str, float]) -> WrongBound | None:
    """Bound the share of wrong answers by the draws up to the last judged one; None without judged
    draws.
    """
    shares = [find_vote(draw, votes) for draw in draws]
    while shares and shares[-1] is None:
        shares.pop()
    if not shares:
        return None
    wrong = np.array([float(share is None or share <= 0.5) for share in shares])
    predicted, means = np.array([(draw.wrong, draw.mean_wrong) for draw in draws[: len(shares)]]).T
    high = bound_share(wrong, predicted, means)
    alone = bound_share(wrong, predicted, means, (0.0,))
    num_skipped = shares.count(None)
    return WrongBound(
        high, alone, len(shares) - num_skipped, num_skipped, draws[len(shares) - 1].num_answers
    )


def bound_share(
    wrong: FloatArray, predicted: FloatArray, means: FloatArray, weights: Sequence[float] = WEIGHTS
) -> float:
    """Return the upper bound on the mean, over the draws, of the share of wrong answers among those
    to draw from.
    """

    def exceed(share: float) -> float:
        return float(compute_log_wealth(share, wrong, predicted, means, weights)[-1]) + math.log(
            ALPHA
        )

    if not len(wrong) or exceed(1.0) < 0:
        return 1.0
    return float(brentq(exceed, 0.0, 1.0)) if exceed(0.0) < 0 else 0.0


def compute_log_wealth(
    share: float | FloatArray,
    wrong: FloatArray,
    predicted: FloatArray,
    means: FloatArray,
    weights: Sequence[float] = WEIGHTS,
) -> FloatArray:
    """Return the logarithm of the wealth after each draw, if the mean share of wrong answers until
    then is `share`.
    """
    numbers = np.arange(1, len(wrong) + 1)
    logs = []
    for weight in weights:
        errors = wrong - weight * predicted
        guesses = np.maximum(0, (np.cumsum(errors) - errors) / numbers)
        gains = np.log1p(np.outer(guesses - errors, BETS))
        distances = share * numbers - np.cumsum(guesses + weight * means)
        logs.append(np.cumsum(gains, axis=0) + np.outer(distances, BETS))
    return np.asarray(logsumexp(np.hstack(logs), axis=1) - math.log(len(weights) * len(BETS)))


def count_needed(expected: FloatArray, predicted: FloatArray, bound: float) -> int | None:
    """Count the draws after which the bound is about `bound`, if answers are wrong with the
    `expected` probabilities.

    It uses the mean growth of the best bet. None if that takes more than 100,000 draws.
    """
    wrong, right = (np.log1p(np.outer(predicted - value, BETS)) for value in (1.0, 0.0))
    growth = (expected[:, None] * wrong + (1 - expected[:, None]) * right).mean(axis=0)
    best = float((growth + BETS * (bound - predicted.mean())).max())
    number = math.log(len(WEIGHTS) * len(BETS) / ALPHA) / best if best > 0 else math.inf
    return math.ceil(number) if number <= MOST_ADVISED else None
