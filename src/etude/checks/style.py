"""Features of style on which answers are split with no relation to their input.

A model trained on such a set gives the feature by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from etude.checks.features import NO_OCCASION, STYLES, Style
from etude.checks.material import Material, in_turn
from etude.checks.telling import is_split, is_untold, told_by_inputs
from etude.types import Evidence, Finding

MOST_SIDES = 4
"""Sides that are named."""
Sides = NDArray[np.int8]


def split_style(material: Material) -> Iterator[Finding]:
    """Features of free answers that some of them have and some have not, and nothing in the input tells which."""
    if not material.free:
        return
    for style, sides in zip(STYLES, _sides(material.outputs), strict=True):
        occasions = np.flatnonzero(sides != NO_OCCASION)
        counts = np.bincount(sides[occasions], minlength=len(style.said))
        usual = int(counts.argmax())
        if not is_split(len(occasions) - int(counts[usual]), len(occasions)):
            continue
        is_usual = (sides[occasions] == usual).tolist()
        told = told_by_inputs(material, occasions.tolist(), is_usual, partial(_own_side, style))
        if is_untold(told, is_usual):
            yield _finding(material, style, sides, counts, told)


def _sides(outputs: Sequence[str]) -> Sides:
    """The side on which each answer stands, for each style: styles by answers. The answers are read once."""
    found = np.empty((len(STYLES), len(outputs)), np.int8)
    for row, text in enumerate(outputs):
        found[:, row] = [style.side(text) for style in STYLES]
    return found


def _own_side(style: Style, text: str) -> list[float]:
    """The side of an input as numbers, one of which is 1: an answer may follow its input."""
    side = style.side(text)
    return [float(place == side) for place in range(NO_OCCASION, len(style.said))]


def _finding(
    material: Material, style: Style, sides: Sides, counts: NDArray[np.int64], told: float
) -> Finding:
    order = [int(side) for side in np.argsort(-counts, kind="stable") if counts[side]]
    others = np.flatnonzero((sides != order[0]) & (sides != NO_OCCASION))
    total = int(counts.sum())
    return material.finding(
        f"style_{style.name}",
        "warning",
        others.tolist(),
        f"{_said(style, counts, order, len(sides))}; nothing in the input tells which.",
        "Decide which it shall be and rewrite the others, or say in the input when it is wanted.",
        evidence=_evidence(material, style, [np.flatnonzero(sides == side) for side in order[:MOST_SIDES]]),
        numbers={"rows": len(others), "share": len(others) / total, "told": told, "of": total},
    )


def _said(style: Style, counts: NDArray[np.int64], order: Sequence[int], rows: int) -> str:
    """`48% of the answers give a price and 52% do not`; the form before its lack, else the most usual first."""
    total = int(counts.sum())
    named = sorted(order) if style.lack else list(order[:MOST_SIDES])
    shares = [f"{counts[side] / total:.0%}" for side in named]
    occasion = "answers" if total == rows else f"{total:,} answers that give occasion for it"
    verb = f"{style.verb} " if style.verb else ""
    parts = [f"{share} {style.said[side]}" for share, side in zip(shares, named, strict=True)]
    parts[0] = f"{shares[0]} of the {occasion} {verb}{style.said[named[0]]}"
    return ", ".join(parts[:-1]) + f" and {parts[-1]}"


def _evidence(material: Material, style: Style, sides: Sequence[NDArray[np.int64]]) -> Iterator[Evidence]:
    """Answers of each side in turn."""
    for row in in_turn(*(side.tolist() for side in sides)):
        yield material.shown_output(row, style.marks(material.outputs[row]))
