"""Features of style on which answers are split with no relation to their input.

A model trained on such a set gives the feature by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from etude.checks.material import Material, in_turn
from etude.checks.record import FREE, family, finds
from etude.checks.style.features import NO_OCCASION, STYLES, Style
from etude.checks.style.telling import is_split, is_untold, told_by_inputs
from etude.types import Excerpt, Finding

MOST_OTHERWISE = 0.1
"""Answers that two features part otherwise, as a share of those that stand apart, up to which they are one finding."""
MOST_SIDES = 4
"""Sides that are named."""
Sides = NDArray[np.int8]


@finds(
    *family(
        "style",
        dict.fromkeys((one.name for one in STYLES), "a feature of style that no input explains"),
        "warning",
    ),
    tasks=FREE,
)
def split_style(material: Material) -> Iterator[Finding]:
    """Features of free answers that some of them have and some have not, and nothing in the input tells which."""
    yield from _joined(material, list(_splits(material)))


@dataclass(frozen=True)
class Split:
    """A feature on which answers are split."""

    style: Style
    sides: Sides
    """The side of each answer."""
    counts: NDArray[np.int64]
    """Answers of each side."""
    area: float

    @property
    def usual(self) -> NDArray[np.bool_]:
        """Which answers stand on the most usual side."""
        return np.equal(self.sides, self.counts.argmax())


def _splits(material: Material) -> Iterator[Split]:
    for style, sides in zip(STYLES, _sides(material), strict=True):
        occasions = np.flatnonzero(sides != NO_OCCASION)
        counts = np.bincount(sides[occasions], minlength=len(style.said))
        usual = int(counts.argmax())
        if not is_split(len(occasions) - int(counts[usual]), len(occasions)):
            continue
        is_usual = (sides[occasions] == usual).tolist()
        area = told_by_inputs(material, occasions.tolist(), is_usual, partial(_own_side, style))
        if is_untold(area, is_usual):
            yield Split(style, sides, counts, area)


def _sides(material: Material) -> Sides:
    """The side on which each answer stands, for each style: styles by answers. The answers are read once."""
    found = np.empty((len(STYLES), len(material.rows)), np.int8)
    for row, text in enumerate(material.outputs):
        found[:, row] = [style.side(text) for style in STYLES]
    return found


def _own_side(style: Style, text: str) -> list[float]:
    """The side of an input as numbers, one of which is 1: an answer may follow its input."""
    side = style.side(text)
    return [float(place == side) for place in range(NO_OCCASION, len(style.said))]


def _joined(material: Material, splits: Sequence[Split]) -> Iterator[Finding]:
    """One finding for features that part the answers alike: a phrase that some of them have brings several."""
    left = list(splits)
    while left:
        first = left.pop(0)
        alike = [split for split in left if _part_alike(first, split)]
        left = [split for split in left if not any(split is one for one in alike)]
        yield _finding(material, first, alike)


def _part_alike(one: Split, other: Split) -> bool:
    """Whether nearly the same answers stand apart; the usual side of one may be the unusual one of the other."""
    share = float(np.mean(one.usual == other.usual))
    apart = min(np.mean(~one.usual), np.mean(one.usual))
    return bool(max(share, 1 - share) >= 1 - MOST_OTHERWISE * apart)


def _finding(material: Material, split: Split, alike: Sequence[Split]) -> Finding:
    style, sides, counts = split.style, split.sides, split.counts
    order = [int(side) for side in np.argsort(-counts, kind="stable") if counts[side]]
    others = np.flatnonzero((sides != order[0]) & (sides != NO_OCCASION))
    total = int(counts.sum())
    said = "; by the same rows, ".join(_said(one.style, one.counts, len(sides)) for one in (split, *alike))
    found = material.finding(
        f"style_{style.name}",
        "warning",
        others.tolist(),
        f"{said}; nothing in the input tells which.",
        "Decide which it shall be and rewrite the others, or say in the input when it is wanted.",
        evidence=_evidence(material, style, [np.flatnonzero(sides == side) for side in order[:MOST_SIDES]]),
        numbers={"rows": len(others), "share": len(others) / total, "told": split.area, "of": total},
    )
    return replace(found, other_kinds=tuple(f"style_{one.style.name}" for one in alike))


def _said(style: Style, counts: NDArray[np.int64], rows: int) -> str:
    """`48% of the answers give a price and 52% do not`; the form before its lack, else the most usual first."""
    total = int(counts.sum())
    order = [int(side) for side in np.argsort(-counts, kind="stable") if counts[side]]
    named = sorted(order) if style.lack else list(order[:MOST_SIDES])
    shares = [f"{counts[side] / total:.0%}" for side in named]
    occasion = "answers" if total == rows else f"{total:,} answers where this comes up"
    verb = f"{style.verb} " if style.verb else ""
    parts = [f"{share} {style.said[side]}" for share, side in zip(shares, named, strict=True)]
    parts[0] = f"{shares[0]} of the {occasion} {verb}{style.said[named[0]]}"
    return ", ".join(parts[:-1]) + f" and {parts[-1]}"


def _evidence(material: Material, style: Style, sides: Sequence[NDArray[np.int64]]) -> Iterator[Excerpt]:
    """Answers of each side in turn."""
    for row in in_turn(*(side.tolist() for side in sides)):
        yield material.shown_output(row, style.marks(material.outputs[row]))
