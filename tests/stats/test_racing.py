"""Racing: a candidate that is clearly worse is dropped, and one that is best by the margin hardly
ever.
"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from etude.stats.racing import FIRST_BLOCK, find_beaten, iter_block_ends
from etude.stats.sample import UnitSums, make_score_sample

MARGIN = 0.02
NUM_RUNS = 300


def draw_scores(shares: list[float], num_rows: int, seed: int) -> list[list[float]]:
    """Right and wrong answers of candidates whose shares of right answers are `shares`."""
    draws = np.random.default_rng(seed).random((len(shares), num_rows))
    return [list((row < share).astype(float)) for row, share in zip(draws, shares, strict=True)]


def race(scores: list[list[float]]) -> set[int]:
    """Return the candidates that are dropped in any block."""
    ends = list(iter_block_ends(len(scores[0])))
    dropped: set[int] = set()
    for end in ends:
        running = [index for index in range(len(scores)) if index not in dropped]
        samples: list[UnitSums] = [make_score_sample(scores[index][:end]) for index in running]
        dropped |= {running[index] for index in find_beaten(samples, MARGIN, len(ends))}
    return dropped


@given(st.integers(1, 5_000))
def test_blocks_grow_and_end_with_all_rows(num_rows: int) -> None:
    ends = list(iter_block_ends(num_rows))
    assert ends == sorted(set(ends))
    assert ends[-1] == num_rows
    assert ends[0] == min(FIRST_BLOCK, num_rows)


def test_the_best_by_the_margin_is_dropped_in_at_most_one_of_a_hundred_races() -> None:
    losses = sum(
        0 in race(draw_scores([0.52, 0.5, 0.5, 0.5], 96, seed)) for seed in range(NUM_RUNS)
    )
    assert losses <= 0.01 * NUM_RUNS


def test_a_candidate_that_is_far_below_is_dropped() -> None:
    drops = sum(race(draw_scores([0.9, 0.2], 96, seed)) == {1} for seed in range(NUM_RUNS))
    assert drops >= 0.99 * NUM_RUNS
