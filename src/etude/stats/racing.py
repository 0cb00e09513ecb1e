"""Racing: which of several candidates need no further rows, because another one is clearly better.

Successive elimination (Maron and Moore 1994, "Hoeffding Races"; Even-Dar et al. 2006): all
candidates answer the same growing blocks of rows. A candidate is dropped if, by its interval,
another one is better by more than the margin.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import ndtri

from etude.stats.ladder import compute_joint_intervals
from etude.stats.sample import UnitSums, t_quantile

# Rows of the first block: few enough for a first figure of every method early in a budget.
FIRST_BLOCK = 12
# Probability that a race wrongly drops a candidate, over all of its blocks.
ERROR_RATE = 0.01
# The rival must score higher in at least this many units; fewer could be chance, whatever the
# standard error is.
MIN_DISAGREEMENTS = 6


def iter_block_ends(num_rows: int) -> Iterator[int]:
    """Yield the ends of a race's blocks: 12 rows, then twice as many each time, and finally all
    rows.
    """
    end = FIRST_BLOCK
    while end < num_rows:
        yield end
        end *= 2
    yield num_rows


def find_beaten(samples: Sequence[UnitSums], margin: float, num_looks: int = 1) -> set[int]:
    """Return the indices of the samples to drop: by simultaneous intervals they are more than
    `margin` below another.

    All `samples` have the same rows. `num_looks` is how often this race is evaluated in total; the
    error rate is divided by it (Bonferroni).
    """
    if len(samples) < 2 or samples[0].units < 2:
        return set()
    joint = compute_joint_intervals(samples)
    num_pairs = len(samples) * (len(samples) - 1) / 2
    level = ERROR_RATE / (2 * num_looks * num_pairs)
    critical = max(joint.critical, t_quantile(samples[0].units, float(-ndtri(level))))
    beaten = set()
    for index in range(len(samples)):
        upper = joint.differences[index] + critical * joint.errors[index]
        rivals = np.flatnonzero(upper < -margin)
        if any(
            _num_favouring(samples[int(rival)], samples[index]) >= MIN_DISAGREEMENTS
            for rival in rivals
        ):
            beaten.add(index)
    return beaten


def _num_favouring(better: UnitSums, worse: UnitSums) -> int:
    if better.aggregate != "mean":
        # macro-F1 has no score of a single unit; its replicates carry the spread
        return MIN_DISAGREEMENTS
    return int((better.sums[:, 0] - worse.sums[:, 0] > 1e-9).sum())
