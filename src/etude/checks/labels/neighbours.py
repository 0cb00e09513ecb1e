"""Rows answered otherwise than the rows most like them, where these agree among each other.

Inputs and answers are compared as bags of words (cosine; a word counts the more the fewer rows have it). A row is
named where its nearest inputs are answered alike and it is not. Where that is so of many rows, likeness of inputs
does not decide answers in this set, and nothing is said: recommendations, notes, stories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.checks.labels.terms import terms_by_rows
from etude.checks.material import Material, rows_that
from etude.checks.record import TEXTS, FindingKind, finds
from etude.types import Finding

NEIGHBOURS = 6
"""Nearest inputs that a row is held against."""
NEAR = 0.3
"""Cosine of two inputs from which they count as near."""
AGREE = 0.6
"""Cosine of two answers from which they count as alike; every two of the neighbours' must be."""
DIFFER = 0.25
"""Cosine of a row's answer with each of its neighbours' up to which it differs."""
MOST_ODD = 0.1
"""Share of the rows whose neighbours agree up to which those that differ stand out."""
LEAST_ROWS = 40
"""Rows whose neighbours agree, below which nothing is said."""
MOST_ROWS = 10_000
"""Rows looked at, each with every other; a larger set is sampled evenly."""
MOST_TEXT = 1_000
"""Characters of a text that are compared."""
USUAL = 0.2
"""Share of the inputs above which a word is not compared: it carries little and costs most."""
BLOCK = 500
"""Rows whose likeness to all others is in memory at once: 20 MB."""
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Neighbourhood:
    """How rows are answered beside the rows most like them; one entry for each row with enough near inputs."""

    rows: Ints
    nearest: Ints
    """Rows by neighbours, the nearest first."""
    agreement: Floats
    """The least likeness of two neighbours' answers, 0 to 1."""
    likeness: Floats
    """The greatest likeness of the row's answer with a neighbour's, 0 to 1."""

    @property
    def ruled(self) -> NDArray[np.bool_]:
        """Entries whose neighbours agree."""
        return self.agreement >= AGREE

    @property
    def odd(self) -> Ints:
        """Entries that differ from neighbours that agree, the surest first; none where they are too many."""
        found = np.flatnonzero(self.ruled & (self.likeness <= DIFFER))
        ruled = int(self.ruled.sum())
        if ruled < LEAST_ROWS or len(found) > MOST_ODD * ruled:
            return found[:0]
        surest: Ints = found[np.argsort((self.likeness - self.agreement)[found], kind="stable")]
        return surest


@finds(
    FindingKind(
        "unlike_neighbours", "warning", "rows with another answer than the inputs most like them, ranked"
    ),
    tasks=TEXTS,
)
def unlike_neighbours(material: Material) -> Iterator[Finding]:
    """Answers that differ from those of the nearest inputs, of each input its first row."""
    rows = _looked_at(material)
    if len(rows) < LEAST_ROWS:
        return
    asked = [material.inputs[row][:MOST_TEXT] for row in rows.tolist()]
    given = [material.outputs[row][:MOST_TEXT] for row in rows.tolist()]
    found = neighbourhood(asked, given)
    odd = found.odd
    if not len(odd):
        return
    named = rows[found.rows[odd]].tolist()
    nearest = rows[found.nearest[odd, 0]].tolist()
    ruled = int(found.ruled.sum())
    every = " of a sample" if len(rows) == MOST_ROWS else ""
    yield material.finding(
        "unlike_neighbours",
        "warning",
        named,
        f"{rows_that('are', len(named), ruled)} answered otherwise than the {NEIGHBOURS} inputs most like "
        f"{'it' if len(named) == 1 else 'them'}, whose answers agree; {ruled:,} rows{every} have such neighbours.",
        "Read each beside its neighbour, which is shown after it; correct the row or the neighbours.",
        evidence=material.both(row for pair in zip(named, nearest, strict=True) for row in pair),
        numbers={"rows": len(named), "of": ruled},
    )


def _looked_at(material: Material) -> Ints:
    """The first row of each input, evenly sampled: one input with two answers is a contradiction."""
    first: Ints = np.sort(np.unique(material.input_hashes, return_index=True)[1])
    places = np.linspace(0, len(first) - 1, min(len(first), MOST_ROWS)).astype(np.int64)
    return first[places]


def neighbourhood(inputs: Sequence[str], outputs: Sequence[str]) -> Neighbourhood:
    """How each row is answered beside its nearest inputs; memory grows with the rows, time with their square."""
    asked = bags_of_words(inputs, 2, USUAL)  # a word of one input alone cannot bring it near another
    given = bags_of_words(outputs)
    rows, nearest = _near(asked)
    answers = [given[nearest[:, place]] for place in range(nearest.shape[1])]
    own = given[rows]
    agreement = np.ones(len(rows), np.float32)
    for one, other in combinations(answers, 2):
        agreement = np.minimum(agreement, _cosines(one, other))
    likeness = np.zeros(len(rows), np.float32)
    for other in answers:
        likeness = np.maximum(likeness, _cosines(own, other))
    return Neighbourhood(rows, nearest, agreement, likeness)


def bags_of_words(texts: Sequence[str], least: int = 1, most: float = 1.0) -> Any:
    """Rows of unit length, sparse: words weighed by how few texts have them.

    Left out are words in fewer than `least` texts, and words in over the share `most` of them and over a thousand. A
    text without words is a row of zeros, like nothing.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    vectoriser = CountVectorizer(
        token_pattern=r"(?u)\w+",
        binary=True,
        dtype=np.float32,
        min_df=least,
        max_df=max(int(most * len(texts)), 1000),
    )
    found = terms_by_rows(vectoriser, texts)
    if found is None:
        return _nothing(len(texts))
    frequency = np.asarray(found.sum(axis=0)).ravel()
    weight = np.log((1 + len(texts)) / frequency).astype(np.float32)
    return normalize(found.multiply(weight).tocsr())


def _nothing(rows: int) -> Any:
    from scipy.sparse import csr_matrix

    shape: Any = (rows, 1)
    return csr_matrix(shape, dtype=np.float32)


def _near(asked: Any) -> tuple[Ints, Ints]:
    """Rows with enough near inputs, and these, the nearest first."""
    num = asked.shape[0]
    turned = asked.T.tocsc()
    rows: list[Ints] = []
    nearest: list[Ints] = []
    for begin in range(0, num, BLOCK) if num > NEIGHBOURS else ():
        alike = (asked[begin : begin + BLOCK] @ turned).toarray()
        block = np.arange(len(alike))
        alike[block, begin + block] = -1
        best = np.argpartition(alike, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
        values = np.take_along_axis(alike, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        kept = np.flatnonzero(values.min(axis=1) >= NEAR)
        rows.append(begin + kept)
        nearest.append(np.take_along_axis(best, order, axis=1)[kept])
    if not rows:
        return np.empty(0, np.int64), np.empty((0, NEIGHBOURS), np.int64)
    return np.concatenate(rows), np.concatenate(nearest)


def _cosines(one: Any, other: Any) -> Floats:
    """The cosine of each row of one with the same row of the other."""
    found: Floats = np.asarray(one.multiply(other).sum(axis=1), dtype=np.float32).ravel()
    return found
