"""Labels that look wrong, ranked, each with the label that its text suggests.

Confident learning (Northcutt, Jiang and Chuang 2021): every row is judged by classifiers that were not trained on it.
Where the classifiers disagree with a label, either the label or the classifier is wrong. Wrong labels are as frequent
among the surest predictions as among others; mistakes of the classifiers become rarer the surer they are. So the share
of disagreement among the surest predictions, over all labels and for each label, estimates the share of wrong labels,
and the increase of disagreement among less sure predictions estimates the classifiers' own error. Both together give
the probability that a row's label is wrong. Rows are reported from the one whose own label is the least likely: as many
as the sum of these probabilities, with lower bounds for the shares of wrong labels, or more, down to the row from which
fewer than half are wrong.

If texts say little about labels, or the surest predictions leave open whether any label is wrong, nothing is reported.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from etude.base.formatting import format_count, list_first
from etude.checks.excerpts import redact_label
from etude.checks.kinds import LABELS, FindingKind, finds
from etude.checks.labels.classifiers import predict_labels
from etude.checks.material import Material, format_share
from etude.checks.rows.repeats import find_contradictory_rows
from etude.stats.intervals import wilson
from etude.text.normal_forms import to_canonical
from etude.types import Finding

MIN_ROWS = 200  # rows below which nothing is reported
MIN_LABEL_ROWS = 10  # different inputs of a label below which its rows are not judged
MAX_ROWS = 30_000  # rows looked at, to limit time and memory; of a larger set an even sample
# Share of the predictions of a label that count as its surest; up to half of them if rows are few.
SUREST = 0.25
MIN_SUREST = 200  # surest predictions of all labels together
# Share of the surest predictions that are mistaken, per rise of agreement from the next surest to them: 0.1 to 0.6 in
# published sets with few wrong labels. Doubled for labels of ten rows.
MISTAKEN = 0.5
MIN_LABEL_SUREST = 10  # surest predictions of a label from which its own share of wrong labels is estimated
# Cohen's kappa of predictions and labels, minus twice the rise of agreement among the surest, from which texts say
# enough about labels.
MIN_KAPPA = 0.15
LIKELY = 0.3  # probability of a wrong label from which a row counts
MIN_WRONG = 0.5  # probability of a wrong label down to which rows are reported
SMOOTHING = 1e-4  # added to probabilities
MIN_LOG_PROBABILITY = -12.0  # below which a classifier is not surer
MAX_PAIRS = 4  # pairs of labels in the message
RARE = 1e-3  # probability, over all pairs, below which so many rows of a pair of labels are no chance
Floats = NDArray[np.floating]
Ints = NDArray[np.int64]


@finds(FindingKind("wrong_label", "warning", "labels that look wrong, ranked"), tasks=LABELS)
def check_wrong_labels(material: Material) -> Iterator[Finding]:
    """Find rows whose label looks wrong; rows of a contradiction are not reported a second time."""
    total = len(material.rows)
    sample = np.unique(np.linspace(0, total - 1, min(total, MAX_ROWS)).astype(np.int64)).tolist()
    labels = {row: material.outputs[row] for row in sample}
    distinct = {(int(material.input_hashes[row]), label) for row, label in labels.items()}
    counts = Counter(label for _, label in distinct)
    rows = [row for row, label in labels.items() if counts[label] >= MIN_LABEL_ROWS]
    # Sorted by content, so that the folds are the same in any order of the file.
    rows.sort(key=lambda row: (material.input_hashes[row], labels[row]))
    names = sorted({labels[row] for row in rows})
    if len(rows) < MIN_ROWS or len(names) < 2:
        return
    numbers = {name: number for number, name in enumerate(names)}
    gold = np.array([numbers[labels[row]] for row in rows])
    ranked, suggested, share = find_wrong_labels([material.inputs[row] for row in rows], gold)
    contradictory = find_contradictory_rows(material)
    wrong = [index for index in ranked.tolist() if rows[index] not in contradictory]
    if not wrong:
        return
    sampled = f" ({len(sample):,} of {total:,} rows were looked at)" if len(sample) < total else ""
    yield material.finding(
        "wrong_label",
        "warning",
        [rows[index] for index in wrong],
        f"{format_count(len(wrong), 'label looks', 'labels look')} wrong, "
        f"{format_share(len(wrong), len(rows))}{sampled}; the most suspicious come first, each with the label that its "
        f"text suggests. Of all labels {share.low:.1%} to {share.high:.1%} are probably wrong. "
        f"{_describe_pairs(names, gold, suggested, wrong)}",
        "Read the rows in this order. etude check TASK --worklist FILE writes them to a table with a column for the "
        "right label; --fix --worklist FILE reads it back.",
        subjects=[redact_label(names[suggested[index]]) for index in wrong],
        excerpts=material.show_rows(rows[index] for index in wrong[:10]),
        numbers={"rows": len(wrong), "of": len(rows)},
    )


def _describe_pairs(names: Sequence[str], gold: Ints, suggested: Ints, wrong: Sequence[int]) -> str:
    """Say which labels are confused: pairs with more rows than wrong labels at random would have."""
    from scipy.stats import binom

    pairs = Counter((int(suggested[index]), int(gold[index])) for index in wrong)
    sizes = Counter(suggested.tolist())
    habits = []
    for pair, rows in pairs.most_common():
        chance = sizes[pair[0]] / len(gold) / (len(names) - 1)
        if binom.sf(rows - 1, len(wrong), chance) * len(names) ** 2 < RARE:
            habits.append(pair)

    def describe(pair: tuple[int, int]) -> str:
        return f"{names[pair[0]]} as {names[pair[1]]}: {format_count(pairs[pair], 'row')}"

    listed = list_first(habits or [pair for pair, _ in pairs.most_common()], MAX_PAIRS, "; ", describe)
    if not habits:
        return redact_label(f"They look random: no pair of labels stands out ({listed}).")
    others = len(wrong) - sum(pairs[pair] for pair in habits)
    note = f" The other {format_count(others, 'row looks', 'rows look')} random." if others else ""
    return redact_label(f"Not at random: {listed}.{note}")


class WrongShare(NamedTuple):
    """Bounds of the share of labels that is wrong."""

    low: float
    """By the surest predictions that disagree with their label, less the classifiers' own mistakes."""
    high: float
    """By all predictions that disagree, since people also mistake texts on which classifiers are not sure."""


def find_wrong_labels(texts: Sequence[str], gold: Ints) -> tuple[Ints, Ints, WrongShare]:
    """Return (rows whose label looks wrong, the most suspicious first; the likeliest label of each row; the share of
    wrong labels).

    `gold` numbers the labels from 0, each with as many rows as `predict_labels` needs.
    """
    from scipy.special import softmax
    from sklearn.isotonic import IsotonicRegression

    first: dict[str, int] = {}
    copies = np.array([first.setdefault(to_canonical(text), row) for row, text in enumerate(texts)])
    predictions = np.maximum(predict_labels(texts, gold, copies), MIN_LOG_PROBABILITY)
    probabilities = softmax(predictions.mean(axis=0), axis=1) + SMOOTHING
    likeliest, own = probabilities.argmax(axis=1), probabilities[np.arange(len(gold)), gold]
    suspicion, low = _estimate_wrong(probabilities, likeliest, own, gold)
    share = WrongShare(low, wilson(int((likeliest != gold).sum()), len(gold))[1])
    rows = np.argsort(own / probabilities.max(axis=1), kind="stable")
    rows = rows[suspicion[rows] > 0]
    if not len(rows):
        return rows, likeliest, share
    likely = rows[suspicion[rows] >= LIKELY]
    expected = likely[: round(suspicion[likely].sum())]
    order = np.arange(len(rows))
    falling = IsotonicRegression(increasing=False).fit(order, suspicion[rows]).predict(order)
    return max(expected, rows[falling >= MIN_WRONG], key=len), likeliest, share


def _estimate_wrong(probabilities: Floats, likeliest: Ints, own: Floats, gold: Ints) -> tuple[Floats, float]:
    """Estimate the probability that each row's label is wrong, and the lower bound of the share of wrong labels.

    `own` is the probability of each row's label.

    0 for all rows if texts say little about labels.
    """
    from sklearn.isotonic import IsotonicRegression
    from sklearn.metrics import cohen_kappa_score

    num_labels = probabilities.shape[1]
    agrees, rank = likeliest == gold, _rank_sureness(probabilities, likeliest)
    share = min(max(SUREST, MIN_SUREST / len(gold)), 0.5)
    surest = rank >= 1 - share
    level = agrees[surest].mean()
    rise = max(1 - agrees[~surest & (rank >= 1 - 2 * share)].mean() / level, 0)
    if cohen_kappa_score(likeliest, gold) - 2 * rise < MIN_KAPPA:
        return np.zeros(len(gold)), 0.0
    # Step 1: the classifiers' own error, and how often they are right at each level of sureness.
    mistaken = MISTAKEN * rise * (1 + MIN_LABEL_ROWS * num_labels / len(gold))
    right = (1 - mistaken) * np.minimum(IsotonicRegression().fit(rank, agrees).predict(rank) / level, 1)
    # Step 2: the share of wrong labels, of all labels and of each label with enough sure predictions.
    low = max(_bound_share(~agrees[surest]) - mistaken, 0.0)
    wrong = np.full(num_labels, low)
    for label in range(num_labels):
        agreements = agrees[surest & (likeliest == label)]
        if len(agreements) >= MIN_LABEL_SUREST:
            wrong[label] = max(wrong[label], _bound_share(~agreements) - mistaken)
    # Step 3: the odds of both for each row. A wrong label is half of the time any other label and half of the time a
    # likely one; a right label that a classifier misses is a likely one.
    rest = (probabilities.sum(axis=1) - probabilities.max(axis=1)) / (num_labels - 1)
    odds = wrong[likeliest] * right * (1 + rest / own) / 2
    return np.where(agrees, 0, odds / np.maximum(odds + 1 - right, SMOOTHING)), low


def _rank_sureness(probabilities: Floats, likeliest: Ints) -> Floats:
    """Rank how sure each row's prediction is among those of the same label, from 0 to 1."""
    best = np.partition(probabilities, -2, axis=1)
    lead = best[:, -1] / best[:, -2]
    ranks = np.zeros(len(probabilities))
    for label in np.unique(likeliest):
        rows = np.flatnonzero(likeliest == label)
        ranks[rows[np.argsort(lead[rows], kind="stable")]] = (np.arange(len(rows)) + 0.5) / len(rows)
    return ranks


def _bound_share(wrong: NDArray[np.bool_]) -> float:
    """Compute the lower bound of a share's 95% interval."""
    return wilson(int(wrong.sum()), len(wrong))[0]
