"""Intervals, paired comparison, the ladder's joint intervals, and power. Pure functions of arrays."""

from __future__ import annotations

from etude.stats.agreement import kappa
from etude.stats.intervals import estimate, estimate_known, estimate_sample, standard_error, wilson
from etude.stats.ladder import Choice, Joint, choose, simultaneous
from etude.stats.paired import (
    ALPHA,
    EXACT,
    Headline,
    bootstrap_difference,
    difference_error,
    disagreement,
    headline,
    mcnemar_exact,
    newcombe_paired,
    sign_flips,
    swaps,
)
from etude.stats.power import (
    DETECT,
    MOST_ADVISED,
    least_shown,
    rows_to_decide,
    smallest_difference,
    smallest_shown,
)
from etude.stats.sample import RESAMPLES, SEED, Sample, label_sample, score_sample
from etude.stats.seeds import TWO_LEVELS, over_seeds

__all__ = [
    "ALPHA",
    "DETECT",
    "EXACT",
    "MOST_ADVISED",
    "RESAMPLES",
    "SEED",
    "TWO_LEVELS",
    "Choice",
    "Headline",
    "Joint",
    "Sample",
    "bootstrap_difference",
    "choose",
    "difference_error",
    "disagreement",
    "estimate",
    "estimate_known",
    "estimate_sample",
    "headline",
    "kappa",
    "label_sample",
    "least_shown",
    "mcnemar_exact",
    "newcombe_paired",
    "over_seeds",
    "rows_to_decide",
    "score_sample",
    "sign_flips",
    "simultaneous",
    "smallest_difference",
    "smallest_shown",
    "standard_error",
    "swaps",
    "wilson",
]
