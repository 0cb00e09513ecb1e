"""Labels that look wrong, ranked, with an estimate of how many are.

Confident learning (Northcutt, Jiang and Chuang 2021): every row is judged by classifiers that have not seen it. What
their judgements are worth in this set is learned from the set itself: a logistic regression tells the labels given
from labels drawn at random for the same texts (Gutmann and Hyvärinen 2010, noise-contrastive estimation). The more a
label looks like a drawn one, the more suspicious it is. Beside each classifier's judgement it is shown how near texts
come to the label at all: borders between labels that are easily confused are no errors yet.

The estimate (Storey 2002): as many rows lie below the upper quartile of the drawn labels as three quarters of the
wrong ones. Labels confused with a similar one are underestimated by it; where texts tell little of labels, rows that
are right lie there too, and nothing is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from etude.checks.evidence import covered_label
from etude.checks.labels.views import Views, views
from etude.checks.material import Material, of_rows
from etude.checks.record import LABELS, FindingKind, finds
from etude.text.normal_forms import with_signs
from etude.types import Finding

LEAST_ROWS = 200
"""Rows below which nothing is said: the estimate of how many are wrong would be wide."""
LEAST_LABEL = 10
"""Different inputs of a label below which its rows are not judged."""
LEAST_TOLD = 0.85
"""How often a row's label must be likelier than another one for errors to be told from rows that are hard to tell."""
MOST_ROWS = 15_000
"""Rows looked at, which bounds time and memory; a larger set is sampled evenly."""
DRAWN = 20
"""Labels drawn for each row."""
ESTIMATING = 3
"""The first so many classifiers, whose mean the estimate goes by: linear discriminants are too sure of themselves."""
QUANTILE = 0.75
"""Share of the wrong labels that the estimate counts."""
SURE = 1.96
"""Standard errors of a 95% interval."""
LEAST = 1e-4
"""Added to probabilities before their logarithm."""
MOST_SURE = 12.0
"""Logarithms of probabilities beyond which a classifier is not surer."""
Floats = NDArray[np.floating]
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
    told: float
    """How often a row's label is likelier than another one drawn for it: 0.5 where texts tell nothing of labels."""


@finds(FindingKind("wrong_label", "warning", "labels that look wrong, ranked"), tasks=LABELS)
def wrong_labels(material: Material) -> Iterator[Finding]:
    """Rows of a classification whose label looks wrong."""
    step = -(-len(material.rows) // MOST_ROWS)
    labels = dict(islice(enumerate(material.outputs), 0, None, step))
    counts = Counter(
        label for _, label in {(int(material.input_hashes[row]), label) for row, label in labels.items()}
    )
    rows = [row for row, label in labels.items() if counts[label] >= LEAST_LABEL]
    # By content, so that the same labels are drawn for them in any order of the file.
    rows.sort(key=lambda row: (material.input_hashes[row], labels[row]))
    names = sorted({labels[row] for row in rows})
    if len(rows) < LEAST_ROWS or len(names) < 2:
        return
    number = {name: place for place, name in enumerate(names)}
    gold = np.array([number[labels[row]] for row in rows])
    found = suspicion([material.inputs[row] for row in rows], gold)
    wrong, low, high = found.wrong
    if low < 1 or found.told < LEAST_TOLD:
        return
    first = np.argsort(found.score, kind="stable")[: max(round(wrong), 1)]
    others = np.where(np.arange(len(names)) == gold[:, None], -1, found.probabilities)
    better = [names[int(others[place].argmax())] for place in first[:5]]
    sampled = f" (one row in {step} was looked at)" if step > 1 else ""
    listed = ", ".join(
        f"{rows_place} ({label}?)" for rows_place, label in _suggested(material, rows, first, better)
    )
    yield material.finding(
        "wrong_label",
        "warning",
        [rows[place] for place in first],
        f"About {wrong:,.0f} labels look wrong (95% interval {low:,.0f} to {high:,.0f}), "
        f"{of_rows(len(first), len(rows))}{sampled}; the most suspicious first: {covered_label(listed)}.",
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
    """How suspicious each label is; `gold` numbers the labels from 0, each with as many rows as `views` needs."""
    same = _first_copies(texts)
    judged = views(texts, gold, same)
    mean = np.exp(judged[:ESTIMATING]).mean(axis=0)
    own = mean[np.arange(len(gold)), gold]
    low = np.flatnonzero(own <= _wrong_bound(mean))
    below = len(low)
    # Copies of a text are wrong together.
    copies = Counter(same[low].tolist())
    error = SURE * np.sqrt(max(sum(number**2 for number in copies.values()), 1))
    bounds = (max(below - error, 0.0) / QUANTILE, min((below + error) / QUANTILE, float(len(gold))))
    return Suspicion(_scores(judged, gold), mean, (below / QUANTILE, *bounds), below, _told(mean, gold))


def _first_copies(texts: Sequence[str]) -> Ints:
    first: dict[str, int] = {}
    return np.array([first.setdefault(with_signs(text), row) for row, text in enumerate(texts)])


def _told(found: Floats, gold: Ints) -> float:
    """The share of rows whose label is likelier than another one drawn at random."""
    labels = found.shape[1]
    drawn = (gold + np.random.default_rng(1).integers(1, labels, (DRAWN, len(gold)))) % labels
    rows = np.arange(len(gold))
    return float((found[rows, gold] > found[rows, drawn]).mean())


def _wrong_bound(found: Floats) -> float:
    """The quantile of the probabilities of labels drawn at random, but for the likeliest of each row."""
    rows, drawn = _drawn(found, 3)
    return float(np.quantile(found[rows, drawn], QUANTILE))


def _drawn(found: Floats, number: int) -> tuple[Ints, Ints]:
    """(rows, labels): so many drawn for each row; where it is the row's likeliest one, it is left out."""
    drawn = np.random.default_rng(0).integers(0, found.shape[1], (len(found), number))
    rows, places = np.nonzero(drawn != found.argmax(axis=1)[:, None])
    return rows, drawn[rows, places]


def _scores(judged: Views, gold: Ints) -> Floats:
    """How far each row's label looks given rather than drawn, in log-odds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seen = _Seen(judged, gold)
    given = seen.of(np.arange(len(gold)), gold)
    drawn = seen.of(*_drawn(seen.mean, DRAWN))
    weights = np.repeat([1.0, len(given) / len(drawn)], [len(given), len(drawn)])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(
        np.concatenate([given, drawn]),
        np.arange(len(given) + len(drawn)) < len(given),
        logisticregression__sample_weight=weights,
    )
    scores: Floats = model.decision_function(given)
    return scores


class _Seen:
    """What is known of a row and a label: numbers that a logistic regression is shown."""

    def __init__(self, judged: Views, gold: Ints) -> None:
        self.judged = judged
        self.mean = np.exp(judged).mean(axis=0)
        usual = np.array([self.mean[gold == label].mean(axis=0) for label in range(judged.shape[2])])
        self.near = self.mean @ usual
        """How likely the label is for texts of the labels that come into question for this one."""
        self.rank = (-self.mean).argsort(axis=1).argsort(axis=1)
        best = np.partition(judged, -2, axis=2)
        self.second, self.first = best[:, :, -2], best[:, :, -1]

    def of(self, rows: Ints, labels: Ints) -> Floats:
        """Pairs by numbers: means in logarithms, rank, each classifier's judgement and its lead over the best other."""
        columns = [
            np.log(self.mean[rows, labels] + LEAST),
            np.log(self.near[rows, labels] + LEAST),
            np.log1p(self.rank[rows, labels]),
        ]
        for judged, first, second in zip(self.judged, self.first, self.second, strict=True):
            own = judged[rows, labels]
            other = np.where(own >= first[rows], second[rows], first[rows])
            columns += [np.maximum(own, -MOST_SURE), np.clip(own - other, -MOST_SURE, MOST_SURE)]
        return np.stack(columns, axis=1)
