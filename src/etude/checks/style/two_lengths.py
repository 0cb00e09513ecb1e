"""Answers of two lengths with few between, and nothing in the input that tells which.

The logarithms of the lengths as a mixture of two normal distributions; how far apart these stand is Ashman's D
(Ashman, Bird and Zepf 1994), of which over 2 means that they hardly overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etude.checks.language.identification import num_words
from etude.checks.material import Material, in_turn
from etude.checks.record import FREE, FindingKind, finds
from etude.checks.style.telling import LEAST_ROWS, is_split, is_untold, told_by_inputs
from etude.types import Finding

APART = 3.0
"""Ashman's D, at least."""
TIMES = 2.0
"""The longer answers' typical length by the shorter ones', at least."""
NOISE = 0.02
"""Variance below which no group's falls, in squared powers of two: a tenth of a length."""


@dataclass(frozen=True)
class Halves:
    """Two groups of lengths."""

    long: NDArray[np.bool_]
    """Which lengths belong to the longer group."""
    typical: tuple[float, float]
    """The geometric mean of each group."""
    apart: float
    """Ashman's D."""


@finds(FindingKind("style_length", "warning", "answers of two lengths that no input explains"), tasks=FREE)
def two_lengths(material: Material) -> Iterator[Finding]:
    """Free answers of which some are short and some are long."""
    if len(material.rows) < LEAST_ROWS:
        return
    lengths = np.fromiter(map(num_words, material.outputs), np.int64)
    found = halves(lengths)
    if found is None or found.apart < APART or found.typical[1] < TIMES * found.typical[0]:
        return
    longer = int(found.long.sum())
    if not is_split(min(longer, len(lengths) - longer), len(lengths)):
        return
    area = told_by_inputs(material, range(len(lengths)), found.long.tolist())
    if is_untold(area, found.long.tolist()):
        yield _finding(material, found, area)


def halves(lengths: Sequence[int] | NDArray[np.int64]) -> Halves | None:
    """The lengths in two groups; None where they are too much alike to be parted."""
    from sklearn.mixture import GaussianMixture

    values = np.log2(np.asarray(lengths) + 1.0)[:, None]
    low, high = np.quantile(values, [0.2, 0.8])
    if high - low < np.sqrt(NOISE):
        return None
    fitted = GaussianMixture(2, means_init=[[low], [high]], reg_covar=NOISE, random_state=0).fit(values)
    order = fitted.means_.ravel().argsort()
    (short, long), spread = fitted.means_.ravel()[order], np.sqrt(fitted.covariances_.ravel()[order])
    cut = short + (long - short) * spread[0] / spread.sum()
    return Halves(
        long=values.ravel() > cut,
        typical=(float(2.0**short - 1), float(2.0**long - 1)),
        apart=float((long - short) / np.sqrt((spread**2).mean())),
    )


def _finding(material: Material, found: Halves, area: float) -> Finding:
    share, total = float(found.long.mean()), len(found.long)
    short, long = np.flatnonzero(~found.long), np.flatnonzero(found.long)
    fewer = long if share <= 0.5 else short
    return material.finding(
        "style_length",
        "warning",
        fewer.tolist(),
        f"{1 - share:.0%} of the answers are short (about {found.typical[0]:,.0f} words) and {share:.0%} long (about "
        f"{found.typical[1]:,.0f}), with few between; nothing in the input tells which.",
        "Decide how long an answer shall be and rewrite the others, or say in the input how long it is wanted.",
        evidence=map(material.shown_output, in_turn(short.tolist(), long.tolist())),
        numbers={
            "rows": len(fewer),
            "share": len(fewer) / total,
            "told": area,
            "apart": found.apart,
            "of": total,
        },
    )
