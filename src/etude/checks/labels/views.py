"""How likely each label is for each text, by three classifiers that have not seen the row.

Logistic regression over TF-IDF reduced to its main directions, a linear SVM and complement naive Bayes over TF-IDF
itself. All in 32 bits, the reduction by blocks of features: memory is bounded by the texts,
not by the number of features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.checks.labels.terms import terms_by_rows

FOLDS = 10
FEW_FOLDS = 5
"""Folds of a set of over `MANY` rows, which leave enough to train on."""
MANY = 4_000
MOST_TEXT = 2_000
"""Characters of a text that are looked at."""
MOST_READ, MOST_LETTERS = 10_000_000, 1_000_000
"""Characters of all texts of which words, and of which character n-grams, are features: of each text the beginning."""
LEAST_READ = 50
"""Characters of a text that are looked at, however many there are."""
MOST_WORDS = 50_000
"""Words and pairs of words that are features; four times as many character n-grams."""
DIRECTIONS = 300
"""Main directions of TF-IDF that are kept."""
MOST_FOUND_BY = 4_000
"""Rows by which they are found."""
ROUNDS = 3
"""Rounds of subspace iteration in which they are found."""
BLOCK = 10_000
"""Features whose part in the directions is in memory at once: 12 MB."""
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Views = NDArray[np.float32]
"""Classifiers by rows by labels: logarithms of probabilities."""


def views(texts: Sequence[str], gold: Ints, same: Ints) -> Views:
    """Cross-validated, copies of a text on one side.

    `gold` numbers the labels from 0, each with at least `FOLDS` rows; `same` holds for each text the position of the
    first that is the same.
    """
    from scipy.special import log_softmax
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import ComplementNB
    from sklearn.svm import LinearSVC

    sparse = tf_idf(texts)
    dense = main_directions(sparse)
    classifiers: list[tuple[Any, Callable[[], Any], float]] = [
        (dense, lambda: LogisticRegression(C=1, max_iter=200), 1.0),
        (sparse, lambda: LinearSVC(C=0.3, tol=0.01, random_state=0), 4.0),
        (sparse, lambda: ComplementNB(alpha=0.3), 1.0),
    ]
    found = np.full((len(classifiers), len(gold), int(gold.max()) + 1), -30, dtype=np.float32)
    for train, held in _folds(gold, same):
        if not len(held) or len(set(gold[train].tolist())) < 2:
            continue
        for place, (matrix, make, sharpness) in enumerate(classifiers):
            model = make().fit(matrix[train], gold[train])
            judged = log_softmax(sharpness * _margins(model, matrix[held]), axis=1)
            found[place][np.ix_(held, model.classes_)] = judged
    return found


def tf_idf(texts: Sequence[str]) -> Any:
    """Rows by features: words, pairs of words and character n-grams, each half of the row's length."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        token_pattern=r"(?u)\b\w+\b",
        max_features=MOST_WORDS,
        dtype=np.float32,
    )
    letters = TfidfVectorizer(
        analyzer="char_wb",
        ngram_range=(2, 5),
        sublinear_tf=True,
        min_df=2,
        max_features=4 * MOST_WORDS,
        dtype=np.float32,
    )
    known = []
    for each, most in ((words, MOST_READ), (letters, MOST_LETTERS)):
        beginning = min(max(most // max(len(texts), 1), LEAST_READ), MOST_TEXT)
        part = terms_by_rows(each, [text[:beginning] for text in texts])
        known += [part] if part is not None else []
    if not known:
        return csr_matrix(np.zeros((len(texts), 1), dtype=np.float32))
    found = hstack(known, format="csr")
    found.data *= np.float32(0.5**0.5)
    return found


def main_directions(matrix: Any) -> Floats:
    """Rows by `DIRECTIONS`, each row of length 1: the truncated SVD of a sparse matrix by subspace iteration.

    Halko, Martinsson and Tropp 2011, on the side of the rows, so that nothing dense has as many rows as there are
    features. The directions are found by `MOST_FOUND_BY` rows, evenly drawn, and all rows projected on them.
    """
    drawn = np.unique(np.linspace(0, matrix.shape[0] - 1, MOST_FOUND_BY).astype(np.int64))
    size = min(DIRECTIONS, len(drawn) - 1, matrix.shape[1] - 1)
    basis = np.random.default_rng(0).standard_normal((len(drawn), size + 10), dtype=np.float32)
    by_feature = matrix.T.tocsr()
    of_drawn = matrix[drawn].T.tocsr()
    for _ in range(ROUNDS):
        basis, _ = np.linalg.qr(_gram(of_drawn, of_drawn, basis))
    values, vectors = np.linalg.eigh(basis.T @ _gram(of_drawn, of_drawn, basis))
    of_basis = vectors[:, ::-1][:, :size] / np.sqrt(np.maximum(values[::-1][:size], 1e-12))
    scores = _gram(by_feature, of_drawn, (basis @ of_basis).astype(np.float32))
    lengths = np.linalg.norm(scores, axis=1, keepdims=True)
    reduced: Floats = (scores / np.maximum(lengths, 1e-12)).astype(np.float32)
    return reduced


def _gram(by_feature: Any, others: Any, basis: Floats) -> Floats:
    """The likeness of rows to other rows, times a basis of those, block after block of features."""
    total = np.zeros((by_feature.shape[1], basis.shape[1]), dtype=np.float32)
    for begin in range(0, by_feature.shape[0], BLOCK):
        block = slice(begin, begin + BLOCK)
        total += by_feature[block].T @ (others[block] @ basis)
    return total


def _folds(gold: Ints, same: Ints) -> Iterator[tuple[Ints, Ints]]:
    """(rows to train on, rows to judge), the shares of the labels kept; copies are judged with the first of them."""
    from sklearn.model_selection import StratifiedKFold

    fold = np.zeros(len(gold), dtype=np.int64)
    folds = FOLDS if len(gold) <= MANY else FEW_FOLDS
    dealt = StratifiedKFold(folds, shuffle=True, random_state=0).split(fold, gold)
    for number, (_, held) in enumerate(dealt):
        fold[held] = number
    fold = fold[same]
    for number in range(folds):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def _margins(model: Any, matrix: Any) -> NDArray[np.float64]:
    judge = model.decision_function if hasattr(model, "decision_function") else model.predict_joint_log_proba
    margins = np.asarray(judge(matrix), dtype=float)
    return np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins
