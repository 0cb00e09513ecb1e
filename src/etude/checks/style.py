"""Features of style on which answers are split with no relation to their input.

A model trained on such a set gives the feature by chance. Whether the input tells is measured: a classifier on the
words of the inputs, cross-validated; an area under the ROC curve near one half is a coin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from etude.checks.features import STYLES, Style
from etude.checks.material import Material
from etude.types import Finding

MINORITY = 0.1
"""Share of the answers that the smaller side has at least."""
LEAST_ROWS = 60
"""Answers that give occasion for a feature, below which nothing is said."""
TOLD = 0.7
"""Area under the curve from which the input is taken to tell which it will be."""
MOST_ROWS = 4_000
"""Answers looked at for whether the input tells, evenly taken."""
Ints = NDArray[np.int64]


def split_style(material: Material) -> Iterator[Finding]:
    """Features of free answers that half of them have and half have not, and nothing in the input tells which."""
    if not material.free:
        return
    for style in STYLES:
        looked = np.fromiter((_as_number(style.look(text)) for text in material.outputs), np.int8)
        rows, have = np.flatnonzero(looked >= 0), np.flatnonzero(looked == 1)
        share = len(have) / max(len(rows), 1)
        if len(rows) < LEAST_ROWS or not MINORITY <= share <= 1 - MINORITY:
            continue
        step = -(-len(rows) // MOST_ROWS)
        looked_at = rows[::step].tolist()
        told = how_told([material.inputs[row] for row in looked_at], [looked[row] == 1 for row in looked_at])
        if told < TOLD:
            yield _finding(material, style, rows, have, told)


def _as_number(found: bool | None) -> int:
    """1 for yes, 0 for no, -1 where there is no occasion."""
    return -1 if found is None else int(found)


def _finding(material: Material, style: Style, rows: Ints, have: Ints, told: float) -> Finding:
    share = len(have) / len(rows)
    lack = np.setdiff1d(rows, have, assume_unique=True)
    minority = have if share <= 0.5 else lack
    total = len(material.rows)
    occasion = "answers" if len(rows) == total else f"{len(rows):,} answers that give occasion for it"
    return material.finding(
        f"style_{style.name}",
        "warning",
        minority.tolist(),
        f"{share:.0%} of the {occasion} {style.have} and {1 - share:.0%} {style.lack}; nothing in the input tells "
        "which.",
        "Decide which it shall be and rewrite the others, or say in the input when it is wanted.",
        evidence=(
            material.shown_output(row)
            for pair in zip(have.tolist(), lack.tolist(), strict=False)
            for row in pair
        ),
        numbers={"rows": len(minority), "share": share, "told": told, "of": len(rows)},
    )


def how_told(inputs: Sequence[str], found: Sequence[bool]) -> float:
    """How well inputs tell a yes from a no: the cross-validated area under the ROC curve, 0.5 for a coin.

    The same input is never in training and judged at once.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold

    gold: NDArray[np.bool_] = np.array(found)
    number = {text: place for place, text in enumerate(dict.fromkeys(inputs))}
    groups = [number[text] for text in inputs]
    if len(number) < 10:
        return 0.5
    short = [text[:2000] for text in inputs]
    matrix = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+").fit_transform(short)
    scores = np.zeros(len(gold))
    for train, held in StratifiedGroupKFold(4, shuffle=True, random_state=0).split(short, gold, groups):
        if len(set(gold[train].tolist())) > 1:
            scores[held] = (
                LogisticRegression(C=3).fit(matrix[train], gold[train]).decision_function(matrix[held])
            )
    return float(roc_auc_score(gold, scores))
