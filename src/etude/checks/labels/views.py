"""How likely each label is for each text, by two classifiers that have not seen the row: a linear SVM and complement
naive Bayes over TF-IDF of words and character n-grams.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.checks.labels.terms import terms_by_rows

FOLDS = 10
FEW_FOLDS = 5
"""Folds of a set of over `MANY` rows, which leave enough to train on."""
MANY = 2_000
SHARPNESS = 4.0
"""By which margins are multiplied to be logarithms of odds."""
MOST_TEXT = 2_000
"""Characters of a text that are looked at."""
MOST_READ, MOST_LETTERS = 10_000_000, 1_000_000
"""Characters of all texts of which words, and of which character n-grams, are features: of each text the beginning."""
LEAST_READ = 50
"""Characters of a text that are looked at, however many there are."""
MOST_WORDS = 50_000
"""Words and pairs of words that are features; four times as many character n-grams."""
Ints = NDArray[np.int64]
Views = NDArray[np.float32]
"""Classifiers by rows by labels: logarithms of probabilities."""


def views(texts: Sequence[str], gold: Ints, same: Ints) -> Views:
    """Cross-validated, copies of a text on one side.

    `gold` numbers the labels from 0, each with at least `FOLDS` rows; `same` holds for each text the position of the
    first that is the same.
    """
    from scipy.special import log_softmax
    from sklearn.naive_bayes import ComplementNB
    from sklearn.svm import LinearSVC

    matrix, machine, bayes = (
        tf_idf(texts),
        LinearSVC(C=0.3, tol=0.01, random_state=0),
        ComplementNB(alpha=0.3),
    )
    found = np.full((2, len(gold), int(gold.max()) + 1), -30, dtype=np.float32)
    for train, held in _folds(gold, same):
        if not len(held) or len(set(gold[train].tolist())) < 2:
            continue
        margins = machine.fit(matrix[train], gold[train]).decision_function(matrix[held])
        margins = np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins
        known = np.ix_(held, machine.classes_)
        found[0][known] = log_softmax(SHARPNESS * margins, axis=1)
        found[1][known] = bayes.fit(matrix[train], gold[train]).predict_log_proba(matrix[held])
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
