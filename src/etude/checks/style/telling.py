"""Whether answers are split in two, and whether their inputs tell which side an answer stands on.

Measured, not judged: a linear classifier on the words of the inputs, cross-validated. An area under the ROC curve of
0.5 is a coin, 1 is certainty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.checks.material import Material
from etude.stats.intervals import wilson

MINORITY = 0.1
"""Share of the answers that do not stand on the most usual side: the lower end of its interval, at least."""
LEAST_ROWS = 40
"""Answers below which nothing is said."""
TOLD = 0.7
"""Area under the curve from which the input is taken to tell the side: the area and what few answers leave open."""
OPEN = 1.28
"""Standard errors that are added to the area."""
MOST_ROWS = 4_000
"""Answers looked at for whether the input tells, evenly taken."""
FOLDS = 4
LEAST_INPUTS = 10
"""Different inputs below which nothing can be said."""
MOST_TEXT = 2_000
"""Characters of an input that are read."""
Bools = NDArray[np.bool_]


def is_split(fewer: int, total: int) -> bool:
    """Whether `fewer` of `total` answers, those on another side than most, are surely more than some exceptions."""
    return total >= LEAST_ROWS and wilson(fewer, total)[0] >= MINORITY


def told_by_inputs(
    material: Material,
    rows: Sequence[int],
    found: Sequence[bool],
    own: Callable[[str], Sequence[float]] | None = None,
) -> float:
    """`how_told` of the rows at these positions, of an even sample where they are many; `own` reads an input."""
    step = -(-len(rows) // MOST_ROWS)
    inputs = [material.inputs[row] for row in rows[::step]]
    return how_told(inputs, found[::step], [own(text) for text in inputs] if own else None)


def is_untold(area: float, found: Sequence[bool]) -> bool:
    """Whether the upper bound of the area is below TOLD.

    By the standard error of an area of one half (Mann and Whitney 1947).
    """
    yes, total = sum(found), len(found)
    error = math.sqrt((total + 1) / (12 * yes * (total - yes)))
    return area + OPEN * error < TOLD


def how_told(
    inputs: Sequence[str], found: Sequence[bool], own: Sequence[Sequence[float]] | None = None
) -> float:
    """How well inputs tell a yes from a no: the cross-validated area under the ROC curve.

    Beside the words of an input stand its length and `own`, further numbers from 0 to 1 for each input. The same
    input is never in training and judged at once. 0.5 where there are too few different inputs.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    gold: Bools = np.array(found)
    number = {text: place for place, text in enumerate(sorted(set(inputs)))}
    if len(number) < LEAST_INPUTS or min(gold.sum(), (~gold).sum()) < FOLDS:
        return 0.5
    fold = _folds(np.array([number[text] for text in inputs]), gold)
    matrix = _told_by(inputs, own)
    scores = np.zeros(len(gold))
    for held in (fold == one for one in range(FOLDS)):
        if 0 < gold[~held].sum() < (~held).sum():
            model = LogisticRegression(C=3, max_iter=300).fit(matrix[~held], gold[~held])
            scores[held] = model.decision_function(matrix[held])
    return float(roc_auc_score(gold, scores))


def _folds(groups: NDArray[np.int64], gold: Bools) -> NDArray[np.int64]:
    """The fold of each row: a group in one alone, and groups that are alike in `gold` dealt out in turn."""
    size = int(groups.max()) + 1
    likeness = np.bincount(groups, gold, size) / np.bincount(groups, minlength=size)
    order = np.lexsort((np.random.default_rng(0).permutation(size), likeness))
    fold = np.empty(size, np.int64)
    fold[order] = np.arange(size) % FOLDS
    return fold[groups]


def _told_by(inputs: Sequence[str], own: Sequence[Sequence[float]] | None) -> Any:
    """A row of features for each input: its words, its length on a scale of 0 to 1, its own form."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+").fit_transform(
        [text[:MOST_TEXT] for text in inputs]
    )
    lengths = np.log1p([len(text) for text in inputs])[:, None]
    scaled = (lengths - lengths.min()) / max(float(np.ptp(lengths)), 1e-9)
    dense = scaled if own is None else np.hstack([scaled, np.array(own, dtype=float)])
    return hstack([words, csr_matrix(dense)]).tocsr()
