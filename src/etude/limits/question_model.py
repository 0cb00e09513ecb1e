"""A classifier of a task's own questions and generic ones: logistic regression on TF-IDF of words
and letters.

Features are hashed, so the saved model contains only numbers, not the text of rows.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, hstack
from scipy.special import logsumexp
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression

FloatArray = npt.NDArray[np.float64]
OWN = "own"  # the class of the task's own questions
NUM_FEATURES = 2**15  # of words, and as many of letters
INVERSE_PENALTY = 10.0
MAX_CHARACTERS = 2_000  # maximum number of characters of a question that are read
EXAMPLE_WEIGHT = 5.0  # weight of the user's example of a limit; a generic question has weight 1
_OPTIONS: tuple[dict[str, Any], ...] = (
    {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    {"analyzer": "char_wb", "ngram_range": (2, 5)},
)


@dataclass(frozen=True, eq=False)
class QuestionModel:
    """A fitted model; its weights are bytes times a scale."""

    classes: tuple[str, ...]
    """`OWN` and the names of limits, in the order of the rows of `weights`."""
    intercepts: tuple[float, ...]
    weights: npt.NDArray[np.int8]
    """(classes, 2 x `NUM_FEATURES`)"""
    scale: float
    rarity: npt.NDArray[np.uint8]
    """(2 x `NUM_FEATURES`,) inverse document frequencies."""
    rarity_scale: float

    @classmethod
    def fit(
        cls,
        counts: Sequence[csr_matrix],
        names: Sequence[str],
        weights: Sequence[float],
        tolerance: float = 1e-3,
    ) -> QuestionModel:
        """Fit on the features of texts (`count_features`) with their classes and weights, until the
        gradient is within the tolerance.

        Own questions weigh as much as all others together, and each limit as much as another.
        """
        blocks = [TfidfTransformer(sublinear_tf=True).fit(block) for block in counts]
        rarity, rarity_scale = _quantise(np.concatenate([block.idf_ for block in blocks]), np.uint8)
        features = _weigh_features(counts, rarity * rarity_scale)
        row_weights = np.asarray(weights, dtype=float)
        name_of = np.array(names)
        for name in (others := sorted({*names} - {OWN})):
            row_weights[name_of == name] *= 1 / row_weights[name_of == name].sum()
        row_weights[name_of == OWN] *= len(others) / row_weights[name_of == OWN].sum()
        row_weights *= len(names) / row_weights.sum()
        used = np.unique(features.indices)
        model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000, tol=tolerance)
        model.fit(features[:, used], names, sample_weight=row_weights)
        coefficients = np.zeros((len(model.classes_), 2 * NUM_FEATURES))
        intercepts = model.intercept_
        if len(model.classes_) == 2:  # scikit-learn stores one row for both classes
            coefficients[1, used] = model.coef_[0]
            intercepts = np.r_[0.0, intercepts]
        else:
            coefficients[:, used] = model.coef_
        quantised, scale = _quantise(coefficients, np.int8)
        return cls(
            tuple(model.classes_),
            tuple(map(float, intercepts)),
            quantised,
            scale,
            rarity,
            rarity_scale,
        )

    def compute_logits(self, texts: Sequence[str]) -> FloatArray:
        """Compute the logits, (texts, classes)."""
        features = _weigh_features(
            count_features(texts), self.rarity.astype(np.float64) * self.rarity_scale
        )
        return np.asarray(features @ self._weight_matrix + np.array(self.intercepts))

    def score(self, texts: Sequence[str]) -> FloatArray:
        """Compute the log-odds that each text is one of the task's own questions, (texts,)."""
        logits = self.compute_logits(texts)
        own = self.classes.index(OWN)
        return np.asarray(logits[:, own] - logsumexp(np.delete(logits, own, axis=1), axis=1))

    @cached_property
    def _weight_matrix(self) -> FloatArray:
        return self.weights.T.astype(np.float64) * self.scale

    def to_text(self) -> str:
        """Pack the model into one line of text."""
        head = [self.classes, self.intercepts, self.scale, self.rarity_scale]
        body = json.dumps(head).encode() + b"\n" + self.weights.tobytes() + self.rarity.tobytes()
        return base64.b85encode(zlib.compress(body, 9)).decode()

    @classmethod
    def from_text(cls, text: str) -> QuestionModel:
        """Unpack what `to_text` packed. Raises ValueError or zlib.error for another text."""
        head, body = zlib.decompress(base64.b85decode(text)).split(b"\n", 1)
        classes, intercepts, scale, rarity_scale = json.loads(head)
        size = 2 * NUM_FEATURES
        weights = np.frombuffer(body, np.int8, len(classes) * size).reshape(len(classes), size)
        rarity = np.frombuffer(body, np.uint8, size, offset=weights.size)
        return cls(tuple(classes), tuple(intercepts), weights, scale, rarity, rarity_scale)


def count_features(texts: Sequence[str]) -> list[csr_matrix]:
    """Count the words and the letters of each text, hashed: two blocks of (texts,
    `NUM_FEATURES`).
    """
    read_texts = [text[:MAX_CHARACTERS] for text in texts]
    shared: dict[str, Any] = {"n_features": NUM_FEATURES, "alternate_sign": False, "norm": None}
    return [HashingVectorizer(**options, **shared).transform(read_texts) for options in _OPTIONS]


def _weigh_features(counts: Sequence[csr_matrix], rarity: FloatArray) -> csr_matrix:
    """Weight each block's counts as (1 + log(count)) times rarity, with each row scaled to length
    one.
    """
    blocks = []
    for block, idf in zip(counts, np.split(rarity, len(counts)), strict=True):
        weighted = block.copy()
        weighted.data = (1 + np.log(weighted.data)) * idf[weighted.indices]
        lengths = np.sqrt(weighted.multiply(weighted).sum(axis=1).A1)
        weighted.data /= np.repeat(np.maximum(lengths, 1e-12), np.diff(weighted.indptr))
        blocks.append(weighted)
    return csr_matrix(hstack(blocks))


def _quantise(values: FloatArray, kind: type[np.integer[Any]]) -> tuple[npt.NDArray[Any], float]:
    scale = float(np.abs(values).max() or 1.0) / np.iinfo(kind).max
    return np.round(values / scale).astype(kind), scale
