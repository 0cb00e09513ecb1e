"""Many methods on the same rows: joint intervals of all pairs, and the choice of the simplest
near-best method.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from etude.base.formatting import format_gap, format_points, format_share
from etude.stats.intervals import Z
from etude.stats.paired import estimate_difference, measure_spread
from etude.stats.sample import RESAMPLES, SEED, FloatArray, UnitSums, resample_units, t_quantile
from etude.types import Estimate

# Values are compared after rounding to this many digits, so that rounding errors do not decide.
DIGITS = 12
MARGIN = 0.02  # the default margin of a task


@dataclass(frozen=True, eq=False)
class JointIntervals:
    """Simultaneous intervals for all pairs of M methods: with probability 95%, all of them contain
    the truth.
    """

    values: FloatArray
    """(M,) each method's value on the rows that it answered."""
    differences: FloatArray
    """(M, M) value of [a] minus value of [b] on the rows that both answered."""
    errors: FloatArray
    """(M, M) standard error of each difference; 0 on the diagonal, symmetric."""
    reach_down: FloatArray
    """(M, M) at [a, b], how far the interval reaches below the difference of a and b; at [b, a],
    how far above.
    """
    critical: float
    """The number of standard errors that an interval reaches to each side, without the part from
    skewness.
    """
    units: npt.NDArray[np.intp]
    """(M, M) number of units behind each difference."""

    def select(self, indices: Sequence[int]) -> JointIntervals:
        """Return the same intervals for some of the methods."""
        grid = np.ix_(indices, indices)
        matrices = self.differences[grid], self.errors[grid], self.reach_down[grid]
        return JointIntervals(self.values[indices], *matrices, self.critical, self.units[grid])

    def difference(self, a: int, b: int) -> Estimate:
        """Value of method `a` minus value of method `b`, with its simultaneous interval."""
        value = float(self.differences[a, b])
        low = value - float(self.reach_down[a, b])
        high = value + float(self.reach_down[b, a])
        return Estimate(value, max(-1.0, low), min(1.0, high), int(self.units[a, b]))


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of several candidates is chosen, and why."""

    index: int
    reason: str
    """A sentence with the numbers behind the choice."""


def compute_joint_intervals(
    samples: Sequence[UnitSums], resamples: int = RESAMPLES, seed: int = SEED
) -> JointIntervals:
    """Simultaneous 95% intervals for the differences of all pairs, from one joint bootstrap over
    units.

    Every resample weighs all methods in the same way. The critical value is the 95% quantile of the
    largest |t| over the pairs (Romano and Wolf 2005), raised for few units in the ratio of
    Student's to the normal quantile, and never below that of a single interval. For standard
    errors, their floor and the effect of skewness, see `Spread`. All samples must come from the
    same rows. With one method, the critical value is that of one interval.
    """
    units = samples[0].units
    num = len(samples)
    pairs = list(combinations(range(num), 2))
    replicates = (
        _compute_deviations(samples, resample_units(units, resamples, seed)) if units > 1 else None
    )
    deviations = {
        (a, b): None if replicates is None else replicates[:, a] - replicates[:, b]
        for a, b in pairs
    }
    values = np.array([sample.value for sample in samples])
    return _join_pairs(
        values, {(a, b): (samples[a], samples[b]) for a, b in pairs}, deviations, units
    )


def compute_nested_intervals(
    make_sample: Callable[[int, int], UnitSums],
    num_rows: Sequence[int],
    units: Sequence[Hashable],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> JointIntervals:
    """`compute_joint_intervals` for methods that answered prefixes of different length of one list
    of rows.

    `make_sample(method, n)` is the method's sample on the first n rows; `num_rows` are the rows
    that each method answered, and `units` names the unit of each row of the longest prefix. A pair
    is compared on the rows that both answered; the bootstrap weighs the units of the longest prefix
    once for all pairs.
    """
    num = len(num_rows)
    samples = [make_sample(method, rows) for method, rows in enumerate(num_rows)]
    if len(set(num_rows)) == 1:
        return compute_joint_intervals(samples, resamples, seed)
    names = [str(unit) for unit in units[: max(num_rows)]]
    all_units = np.unique(names)
    weights = resample_units(len(all_units), resamples, seed)
    pairs: dict[tuple[int, int], tuple[UnitSums, UnitSums]] = {}
    deviations: dict[tuple[int, int], FloatArray | None] = {}
    for a, b in combinations(range(num), 2):
        rows = min(num_rows[a], num_rows[b])
        pairs[a, b] = first, second = make_sample(a, rows), make_sample(b, rows)
        # Units are sorted by name in every sample, so those of a prefix are a subset in the same
        # order.
        columns = np.searchsorted(all_units, np.unique(names[:rows]))
        replicates = (
            _compute_deviations([first, second], weights[:, columns]) if first.units > 1 else None
        )
        deviations[a, b] = None if replicates is None else replicates[:, 0] - replicates[:, 1]
    min_units = min(first.units for first, _ in pairs.values())
    return _join_pairs(np.array([sample.value for sample in samples]), pairs, deviations, min_units)


def _join_pairs(
    values: FloatArray,
    pairs: Mapping[tuple[int, int], tuple[UnitSums, UnitSums]],
    deviations: Mapping[tuple[int, int], FloatArray | None],
    min_units: int,
) -> JointIntervals:
    """Compute intervals of all pairs from each pair's samples on common rows and its (R,) bootstrap
    deviations.

    `min_units`: the smallest number of units of any pair. With few units, Student's quantile raises
    the critical value.
    """
    num = len(values)
    differences = np.zeros((num, num))
    errors = np.zeros((num, num))
    down = np.zeros((num, num))
    units = np.zeros((num, num), dtype=np.intp)
    spreads = {pair: measure_spread(*samples, deviations[pair]) for pair, samples in pairs.items()}
    for (a, b), (first, second) in pairs.items():
        differences[a, b] = first.value - second.value
        differences[b, a] = second.value - first.value
        errors[a, b] = errors[b, a] = spreads[a, b].error
        units[a, b] = units[b, a] = first.units
    ratios = [
        np.abs(deviation) / errors[pair]
        for pair, deviation in deviations.items()
        if deviation is not None
    ]
    critical = max(Z, float(np.quantile(np.max(ratios, axis=0), 0.95))) if ratios else Z
    critical = t_quantile(min_units, critical)
    for (a, b), spread in spreads.items():
        down[a, b] = spread.reach_down(critical)
        down[b, a] = spread.reach_up(critical)
    return JointIntervals(values, differences, errors, down, critical, units)


def choose(
    candidates: Sequence[tuple[str, UnitSums]], margin: float = MARGIN, rows: str = "on dev"
) -> Choice:
    """The simplest candidate that is not worse than the best by more than the margin, on the same
    rows.

    `candidates` are ordered from the simplest to the most complex, each with its name; `rows` says
    in words which rows they answered. A simpler one is taken only if the paired 95% interval of its
    difference to the best is above minus the margin, or if both are equal: with few rows, noise is
    no reason for it. Raises ValueError without any.
    """
    if not candidates:
        raise ValueError("choose needs at least one candidate")
    best = int(np.argmax(np.round([sample.value for _, sample in candidates], DIGITS)))
    best_name, top = candidates[best]
    gaps = [estimate_difference(sample, top) for _, sample in candidates[:best]]
    index = next((index for index, gap in enumerate(gaps) if gap.low > -margin), best)
    name, sample = candidates[index]
    share = format_share(sample.value)
    if index != best:
        gap = gaps[index]
        reason = (
            f"{name} ({share} {rows}) is simpler than {best_name}, and not worse by more than "
            f"{format_points(margin)} points ({format_gap(gap, signed=True)})"
        )
    elif len(candidates) == 1:
        reason = f"{name} was the only choice"
    else:
        simpler = "no simpler candidate is sure to be as good" if best else "is the simplest"
        reason = f"{name} is best {rows} ({share}, n = {sample.units:,}), and {simpler}"
    return Choice(index, reason)


def choose_unbeaten(
    num_rows: Sequence[int], beats: npt.NDArray[np.bool_], may_be_chosen: Sequence[bool]
) -> int | None:
    """Choose the simplest of the methods with the most evidence that no other method has been shown
    to beat.

    `num_rows`: the rows that each method answered, the simplest method first. `beats[a, b]`: a is
    shown to be better than b. A method that answered fewer than half as many rows as another method
    is chosen only if it clearly beats a method with more rows, and if no unbeaten method has more
    rows.
    """
    methods = list(range(len(num_rows)))
    while methods:
        measured = [
            method
            for method in methods
            if 2 * num_rows[method] >= max(num_rows[m] for m in methods)
        ]
        for method in measured:
            if may_be_chosen[method] and not beats[:, method].any():
                return method
        methods = [m for m in methods if m not in measured and beats[m, measured].any()]
    return None


def _compute_deviations(samples: Sequence[UnitSums], weights: FloatArray) -> FloatArray:
    """(R, M) the replicates of each method minus its value; for means, to first order in the
    weights.
    """
    if samples[0].aggregate == "mean":
        pulls = np.column_stack([sample.residuals for sample in samples])
        return np.asarray(weights @ pulls / samples[0].units)
    return np.column_stack(
        [sample.replicates(weights) - sample.unbounded_value for sample in samples]
    )
