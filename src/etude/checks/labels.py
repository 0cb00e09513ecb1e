"""Labels that look wrong, ranked, with an estimate of how many are.

Confident learning (Northcutt, Jiang and Chuang 2021): every row is judged by classifiers that have not seen it.
Three of them, averaged: logistic regression over TF-IDF reduced by SVD, a linear SVM and complement naive Bayes
over TF-IDF. A label is the more suspicious the less likely it is by the text, and the less likely it is for a
text to come near it at all (borders between labels that are easily confused are no errors yet).

The estimate (Storey 2002): labels drawn at random for the same texts tell how a wrong label looks; as many rows
lie below their upper quartile as three quarters of the wrong ones. Labels confused with a similar one are
underestimated by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.checks.material import Material, of_rows
from etude.types import Finding

LEAST_ROWS = 200
"""Rows below which nothing is said: the estimate of how many are wrong would be wide."""
LEAST_LABEL = 10
"""Rows of a label below which its rows are not judged."""
MOST_ROWS = 20_000
"""Rows looked at, which bounds time and memory; a larger set is sampled evenly."""
FOLDS = 5
NEARNESS = 0.5
"""Weight of how near texts come to a label at all. Chosen on the test file of banking77, not reported on."""
QUANTILE = 0.75
"""Share of the wrong labels that the estimate counts."""
SURE = 1.96
"""Standard errors of a 95% interval."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Suspicion:
    """How suspicious labels are."""

    score: Floats
    """Of each row, the lowest the most suspicious."""
    probabilities: Floats
    """Rows by labels, by classifiers that have not seen the row."""
    wrong: tuple[float, float, float]
    """Estimated number of wrong labels, with its 95% interval."""
    below: int
    """Rows below the quantile of the wrong labels: nearly all of them are wrong."""


def wrong_labels(material: Material) -> Iterator[Finding]:
    """Rows of a classification whose label looks wrong."""
    if material.task.kind != "classify":
        return
    step = -(-len(material.rows) // MOST_ROWS)
    labels = dict(islice(enumerate(material.outputs), 0, None, step))
    counts = Counter(labels.values())
    rows = [row for row, label in labels.items() if counts[label] >= LEAST_LABEL]
    names = sorted({labels[row] for row in rows})
    if len(rows) < LEAST_ROWS or len(names) < 2:
        return
    gold = np.array([names.index(labels[row]) for row in rows])
    found = suspicion([material.inputs[row] for row in rows], gold)
    wrong, low, high = found.wrong
    if low < 1:
        return
    first = np.argsort(found.score, kind="stable")[: max(round(wrong), 1)]
    better = [names[int(found.probabilities[place].argmax())] for place in first[:5]]
    sampled = f" (every {step}th row was looked at)" if step > 1 else ""
    told = ", ".join(
        f"{rows_place} ({label}?)" for rows_place, label in _suggested(material, rows, first, better)
    )
    yield material.finding(
        "wrong_label",
        "warning",
        [rows[place] for place in first],
        f"About {wrong:,.0f} labels look wrong at random (95% interval {low:,.0f} to {high:,.0f}), "
        f"{of_rows(len(first), len(rows))}{sampled}; the most suspicious first: {told}.",
        "Read the rows in this order and correct them until they look right; labels confused with a similar one "
        "come on top of the estimate.",
        evidence=material.both(rows[place] for place in first[:10]),
        numbers={"rows": len(first), "low": low, "high": high, "of": len(rows)},
    )


def _suggested(
    material: Material, rows: Sequence[int], first: Ints, better: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for place, label in zip(first.tolist(), better, strict=False):
        yield material.rows[rows[place]].where, label


def suspicion(texts: Sequence[str], gold: Ints) -> Suspicion:
    """How suspicious each label is; `gold` numbers the labels from 0, each with at least `FOLDS` rows."""
    found = _probabilities(texts, gold)
    rows = np.arange(len(gold))
    own = found[rows, gold]
    usual = np.array([found[gold == label].mean(axis=0) for label in range(found.shape[1])])
    near = (found * usual[:, gold].T).sum(axis=1)
    score = np.log(own + 1e-4) + NEARNESS * np.log(near + 1e-4)
    bound = _wrong_bound(found)
    below = int((own <= bound).sum())
    error = SURE * np.sqrt(max(below, 1))
    bounds = (max(below - error, 0.0) / QUANTILE, min((below + error) / QUANTILE, float(len(gold))))
    return Suspicion(score, found, (below / QUANTILE, *bounds), below)


def _wrong_bound(found: Floats) -> float:
    """The quantile of the probabilities of labels drawn at random, but for the likeliest of each row."""
    draw = np.random.default_rng(0)
    drawn = draw.integers(0, found.shape[1], (len(found), 3))
    other = drawn != found.argmax(axis=1)[:, None]
    return float(np.quantile(np.take_along_axis(found, drawn, axis=1)[other], QUANTILE))


def _probabilities(texts: Sequence[str], gold: Ints) -> Floats:
    """Mean of the classifiers' cross-validated probabilities, rows by labels."""
    from scipy.special import softmax
    from sklearn.decomposition import TruncatedSVD
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import ComplementNB
    from sklearn.preprocessing import normalize
    from sklearn.svm import LinearSVC

    sparse = _features(texts)
    dense = normalize(
        TruncatedSVD(min(300, sparse.shape[1] - 1), n_iter=3, random_state=0).fit_transform(sparse)
    )
    views: list[tuple[Any, Callable[[], Any], float]] = [
        (dense, lambda: LogisticRegression(C=1, max_iter=200), 1.0),
        (sparse, lambda: LinearSVC(C=0.3), 4.0),
        (sparse, lambda: ComplementNB(alpha=0.3), 1.0),
    ]
    total = np.zeros((len(gold), int(gold.max()) + 1))
    for train, held in _folds(gold):
        for matrix, make, sharpness in views:
            model = make().fit(matrix[train], gold[train])
            total[np.ix_(held, model.classes_)] += softmax(sharpness * _margins(model, matrix[held]), axis=1)
    mean: Floats = total / len(views)
    return mean


def _features(texts: Sequence[str]) -> Any:
    """TF-IDF of words and character n-grams; of a long text its first 2,000 characters."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    short = [text[:2000] for text in texts]
    most = 50_000
    words = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", max_features=most
    )
    letters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2, max_features=4 * most
    )
    return hstack([words.fit_transform(short), letters.fit_transform(short)]).tocsr() / np.sqrt(2)


def _folds(gold: Ints) -> Iterator[tuple[Ints, Ints]]:
    """(rows to train on, rows to judge), the shares of the labels kept."""
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    yield from folds.split(np.zeros(len(gold)), gold)


def _margins(model: Any, matrix: Any) -> Floats:
    judge = model.decision_function if hasattr(model, "decision_function") else model.predict_joint_log_proba
    margins = np.asarray(judge(matrix), dtype=float)
    return np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins
