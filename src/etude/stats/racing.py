"""Racing: which of several candidates need no further rows, since another one is surely better.

Successive elimination (Maron and Moore 1994, "Hoeffding Races"; Even-Dar et al. 2006): all candidates answer the same
growing blocks of rows, and one whose upper bound lies more than the margin below another's lower bound is out.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import ndtri

from etude.stats.ladder import compute_joint_intervals
from etude.stats.sample import UnitSums, t_quantile

# Rows of the first block; fewer tell too little, since one row moves a share by more than four points.
FIRST_BLOCK = 24
# How often a race may drop a candidate that is better by the margin, over all of its blocks.
ERROR_RATE = 0.01
# Units that must favour the rival: with fewer, chance alone could do it, whatever the standard error says.
MIN_DISAGREEMENTS = 6


def iter_block_ends(num_rows: int) -> Iterator[int]:
    """Where the blocks of a race end: 24 rows, then twice as many each time, and at last all."""
    end = FIRST_BLOCK
    while end < num_rows:
        yield end
        end *= 2
    yield num_rows


def find_beaten(samples: Sequence[UnitSums], margin: float, num_looks: int = 1) -> set[int]:
    """Indices of the samples that are out of the race: by their simultaneous interval they are more than `margin`
    below another one.

    `samples` rest on the same rows. `num_looks` is how often this race is looked at in all: the level is shared among
    the looks (Bonferroni).
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
        if any(_num_favouring(samples[int(rival)], samples[index]) >= MIN_DISAGREEMENTS for rival in rivals):
            beaten.add(index)
    return beaten


def _num_favouring(better: UnitSums, worse: UnitSums) -> int:
    """Units in which `better` scores higher."""
    if better.aggregate != "mean":
        return MIN_DISAGREEMENTS  # macro-F1 has no score of a single unit; its replicates carry the spread
    return int((better.sums[:, 0] - worse.sums[:, 0] > 1e-9).sum())
