"""The probability of each label for each text, from two classifiers that were not trained on the
row.

The classifiers are a linear SVM and complement naive Bayes over TF-IDF of words and character
n-grams.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.cluster import THIS_PROCESS, Workers

FOLDS = 10
MANY_ROWS = 2_000  # rows above which FEW_FOLDS leave enough to train on
FEW_FOLDS = 5
SHARPNESS = 4.0  # factor from the margins of the SVM to log odds
MAX_TEXT = 2_000  # maximum number of characters that are read of a text, from its beginning
MIN_TEXT = 50  # characters of each text that are read even in the largest set
MAX_WORD_CHARS = 10_000_000  # characters of all texts together that are read for words
MAX_NGRAM_CHARS = 1_000_000  # the same for character n-grams
MAX_WORDS = (
    50_000  # features that are words and pairs of words; four times as many are character n-grams
)
Ints = NDArray[np.int64]
LogProbabilities = NDArray[np.float32]  # classifiers by rows by labels


def predict_labels(
    matrix: Any, gold: Ints, first_copies: Ints, workers: Workers = THIS_PROCESS, step: int = 1
) -> LogProbabilities:
    """Predict each row's label by classifiers trained on the other folds; copies of a text are in
    one fold.

    `matrix` is that of `compute_tf_idf`. `gold` numbers the labels from 0, each with at least
    `FOLDS` rows; `first_copies` gives for each text the position of the first text that is the
    same. Each fold is a part for the workers. One in `step` rows is trained on.
    """
    result = np.full((2, len(gold), int(gold.max()) + 1), -30, dtype=np.float32)
    folds = [
        (train[::step], test)
        for train, test in _split_folds(gold, first_copies)
        if len(test) and len(set(gold[train[::step]].tolist())) > 1
    ]
    predictions = workers.map(_predict_fold, folds, matrix, gold)
    for (_, test), (labels, svm, bayes) in zip(folds, predictions, strict=True):
        cells = np.ix_(test, labels)  # a label may be missing from the rows trained on
        result[0][cells] = svm
        result[1][cells] = bayes
    return result


def _predict_fold(fold: tuple[Ints, Ints], matrix: Any, gold: Ints) -> tuple[Ints, Any, Any]:
    """Return the labels of the rows to train on, and their log-probabilities by each classifier for
    the others.
    """
    from scipy.special import log_softmax
    from sklearn.naive_bayes import ComplementNB
    from sklearn.svm import LinearSVC

    train, test = fold
    svm = LinearSVC(C=0.3, tol=0.01, random_state=0).fit(matrix[train], gold[train])
    margins = svm.decision_function(matrix[test])
    margins = np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins
    bayes = ComplementNB(alpha=0.3).fit(matrix[train], gold[train])
    return (
        svm.classes_,
        log_softmax(SHARPNESS * margins, axis=1),
        bayes.predict_log_proba(matrix[test]),
    )


def compute_tf_idf(texts: Sequence[str]) -> Any:
    """Compute a sparse matrix, rows by features: words with pairs of words, and character n-grams,
    of equal weight.
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        token_pattern=r"(?u)\b\w+\b",
        max_features=MAX_WORDS,
        dtype=np.float32,
    )
    ngrams = TfidfVectorizer(
        analyzer="char_wb",
        ngram_range=(2, 5),
        sublinear_tf=True,
        min_df=2,
        max_features=4 * MAX_WORDS,
        dtype=np.float32,
    )
    blocks = []
    for vectoriser, max_chars in ((words, MAX_WORD_CHARS), (ngrams, MAX_NGRAM_CHARS)):
        length = min(max(max_chars // max(len(texts), 1), MIN_TEXT), MAX_TEXT)
        block = fit_vectoriser(vectoriser, [text[:length] for text in texts])
        blocks += [block] if block is not None else []
    if not blocks:
        return csr_matrix(np.zeros((len(texts), 1), dtype=np.float32))
    matrix = hstack(blocks, format="csr")
    matrix.data *= np.float32(0.5**0.5)
    return matrix


def fit_vectoriser(vectoriser: Any, texts: Sequence[str]) -> Any:
    """Compute the sparse matrix, rows by terms, of a scikit-learn vectoriser; None if no text has a
    term.
    """
    try:
        return vectoriser.fit_transform(texts)
    except ValueError as error:
        # scikit-learn has no separate exception for this case; only the message identifies it.
        if "empty vocabulary" in str(error) or "no terms remain" in str(error):
            return None
        raise


def _split_folds(gold: Ints, first_copies: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield (rows to train on, rows to predict), stratified by label; copies are predicted with the
    first of them.
    """
    from sklearn.model_selection import StratifiedKFold

    fold = np.zeros(len(gold), dtype=np.int64)
    folds = FOLDS if len(gold) <= MANY_ROWS else FEW_FOLDS
    for number, (_, test) in enumerate(
        StratifiedKFold(folds, shuffle=True, random_state=0).split(fold, gold)
    ):
        fold[test] = number
    fold = fold[first_copies]
    for number in range(folds):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)
