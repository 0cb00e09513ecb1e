"""Several training runs of one method against another method, on the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from etude.stats.paired import Headline
from etude.stats.sample import RESAMPLES, SEED, Sample, unit_weights
from etude.types import Estimate

TWO_LEVELS = "bootstrap over training runs and rows"


def over_seeds(runs: Sequence[Sample], other: Sample) -> Headline:
    """Mean of two or more `runs` minus `other`, from a bootstrap that resamples the runs and the units.

    The spread of few runs is raised by S / (S - 1), and Student's quantile has the degrees of freedom of both
    levels together (Satterthwaite 1946). That rows and runs are crossed makes the interval a little too wide, never
    too narrow (Owen 2007, "The pigeonhole bootstrap"). The spread over units is at least one unit's. One unit: -1 to 1.
    """
    num, units = len(runs), other.units
    value = sum(run.value for run in runs) / num - other.value
    if units < 2:
        return Headline(Estimate(value, -1.0, 1.0, units), 1.0, TWO_LEVELS)
    weights = unit_weights(units, RESAMPLES)
    each = np.stack([run.replicates(weights) for run in runs])
    drawn = (
        np.random.default_rng([SEED, num]).multinomial(num, np.full(num, 1 / num), size=len(weights)) / num
    )
    by_rows = float(np.std(each.mean(axis=0) - other.replicates(weights))) * math.sqrt(units / (units - 1))
    by_runs = float(np.std(((drawn - 1 / num) * each.T).sum(axis=1))) * math.sqrt(num / (num - 1))
    by_rows = max(by_rows, 1 / units)
    error = math.hypot(by_rows, by_runs)
    freedom = error**4 / (by_rows**4 / (units - 1) + by_runs**4 / (num - 1))
    reach, p = float(stdtrit(freedom, 0.975)) * error, 2 * float(stdtr(freedom, -abs(value) / error))
    return Headline(Estimate(value, max(-1.0, value - reach), min(1.0, value + reach), units), p, TWO_LEVELS)
