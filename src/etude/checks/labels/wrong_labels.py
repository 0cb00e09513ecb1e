"""Labels that look wrong, ranked, each with the label that its text suggests.

Confident learning (Northcutt, Jiang and Chuang 2021): every row is judged by classifiers that have not seen it. If
labels are wrong, at random or as a habit, and the classifiers right, then they disagree with a label as often where
they are sure as where they are less so; if they are wrong, the less often the surer they are. So the share that they
disagree with among their surest judgements, of all labels and of each by itself, is the share of wrong labels, and what
they disagree with more often where they are less sure is their own error. Both together say how likely it is that a row
they disagree with has a wrong label. As many rows are named as these probabilities add up to, with lower bounds
for the shares of wrong labels: those whose own label is the least likely.

Nothing is said if texts tell little of labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from etude.base.wording import count, first_of
from etude.checks.evidence import covered_label
from etude.checks.labels.views import views
from etude.checks.material import Material, of_rows
from etude.checks.record import LABELS, FindingKind, finds
from etude.checks.rows.repeats import contradictory
from etude.stats.intervals import wilson
from etude.text.normal_forms import with_signs
from etude.types import Finding

LEAST_ROWS = 200
"""Rows below which nothing is said."""
LEAST_LABEL = 10
"""Different inputs of a label below which its rows are not judged."""
MOST_ROWS = 30_000
"""Rows looked at, which bounds time and memory; of a larger set so many, evenly drawn."""
SUREST = 0.25
"""Share of the judgements for a label that are its surest; of few rows more, up to half of them."""
FEW_SUREST = 200
"""Surest judgements, at least."""
MISTAKEN = 0.5
"""Share of the surest judgements taken for mistaken, per rise of agreement from the next surest to them: in sets with
few wrong labels, as published, 0.1 to 0.6. Of labels of ten rows twice as many."""
LEAST_SUREST = 10
"""Surest judgements for a label from which its share of wrong labels is taken by itself."""
LEAST_TOLD = 0.15
"""Cohen's kappa of judgements and labels, less twice what agreement rises by among the surest, from which texts tell
enough of labels."""
LIKELY = 0.3
"""Probability of a wrong label from which a row counts."""
LEAST = 1e-4
"""Added to probabilities."""
MOST_SURE = -12.0
"""Logarithm of a probability below which a classifier is not surer."""
MOST_PAIRS = 4
RARE = 1e-3
"""Probability of so many rows of a pair of labels by chance, over all pairs, below which they are a habit."""
Floats = NDArray[np.floating]
Ints = NDArray[np.int64]


@finds(FindingKind("wrong_label", "warning", "labels that look wrong, ranked"), tasks=LABELS)
def wrong_labels(material: Material) -> Iterator[Finding]:
    """Rows of a classification whose label looks wrong; rows of a contradiction are not named a second time."""
    total = len(material.rows)
    drawn = np.unique(np.linspace(0, total - 1, min(total, MOST_ROWS)).astype(np.int64)).tolist()
    labels = {row: material.outputs[row] for row in drawn}
    counts = Counter(
        label for _, label in {(int(material.input_hashes[row]), label) for row, label in labels.items()}
    )
    rows = [row for row, label in labels.items() if counts[label] >= LEAST_LABEL]
    # By content, so that the same rows are drawn and trained on together in any order of the file.
    rows.sort(key=lambda row: (material.input_hashes[row], labels[row]))
    names = sorted({labels[row] for row in rows})
    if len(rows) < LEAST_ROWS or len(names) < 2:
        return
    number = {name: place for place, name in enumerate(names)}
    gold = np.array([number[labels[row]] for row in rows])
    found, suggested = suspicion([material.inputs[row] for row in rows], gold)
    known = contradictory(material)
    named = [place for place in found.tolist() if rows[place] not in known]
    if not named:
        return
    sampled = f" ({len(drawn):,} of {total:,} rows were looked at)" if len(drawn) < total else ""
    yield material.finding(
        "wrong_label",
        "warning",
        [rows[place] for place in named],
        f"At least {count(len(named), 'label looks', 'labels look')} wrong, {of_rows(len(named), len(rows))}{sampled}; "
        f"the most suspicious first, with the label that the text suggests. {_pairs(names, gold, suggested, named)}",
        "Read the rows in this order. etude check TASK --worklist FILE writes them with a column for the right label; "
        "--fix --worklist FILE takes it back.",
        about=[covered_label(names[suggested[place]]) for place in named],
        evidence=material.both(rows[place] for place in named[:10]),
        numbers={"rows": len(named), "of": len(rows)},
    )


def _pairs(names: Sequence[str], gold: Ints, suggested: Ints, named: Sequence[int]) -> str:
    """Which labels are taken for which: pairs of more rows than wrong labels at random have."""
    from scipy.stats import binom

    pairs = Counter((int(suggested[place]), int(gold[place])) for place in named)
    size = Counter(suggested.tolist())
    habits = [
        pair
        for pair, rows in pairs.most_common()
        if binom.sf(rows - 1, len(named), size[pair[0]] / len(gold) / (len(names) - 1)) * len(names) ** 2
        < RARE
    ]

    def told(pair: tuple[int, int]) -> str:
        return f"{names[pair[0]]} as {names[pair[1]]}: {count(pairs[pair], 'row')}"

    listed = first_of(habits or [pair for pair, _ in pairs.most_common()], MOST_PAIRS, "; ", told)
    if not habits:
        return covered_label(f"They look random: no pair of labels stands out ({listed}).")
    others = len(named) - sum(pairs[pair] for pair in habits)
    more = f" The other {count(others, 'row looks', 'rows look')} random." if others else ""
    return covered_label(f"Not at random: {listed}.{more}")


def suspicion(texts: Sequence[str], gold: Ints) -> tuple[Ints, Ints]:
    """(rows whose label looks wrong, the most suspicious first; of each row the likeliest label). `gold` numbers the
    labels from 0, each with as many rows as `views` needs."""
    from scipy.special import softmax

    judged = np.maximum(views(texts, gold, _first_copies(texts)), MOST_SURE)
    found = softmax(judged.mean(axis=0), axis=1) + LEAST
    likeliest, own = found.argmax(axis=1), found[np.arange(len(gold)), gold]
    likely = _wrong(found, likeliest, own, gold)
    named = np.flatnonzero(likely >= LIKELY)
    named = named[np.argsort((own / found.max(axis=1))[named], kind="stable")]
    return named[: round(likely[named].sum())], likeliest


def _first_copies(texts: Sequence[str]) -> Ints:
    first: dict[str, int] = {}
    return np.array([first.setdefault(with_signs(text), row) for row, text in enumerate(texts)])


def _wrong(found: Floats, likeliest: Ints, own: Floats, gold: Ints) -> Floats:
    """How likely each row's label, of probability `own`, is wrong; 0 for all if texts tell little of labels."""
    from sklearn.isotonic import IsotonicRegression
    from sklearn.metrics import cohen_kappa_score

    agrees, rank = likeliest == gold, _ranks(found, likeliest)
    share = min(max(SUREST, FEW_SUREST / len(gold)), 0.5)
    surest = rank >= 1 - share
    level = agrees[surest].mean()
    rise = max(1 - agrees[~surest & (rank >= 1 - 2 * share)].mean() / level, 0)
    if cohen_kappa_score(likeliest, gold) - 2 * rise < LEAST_TOLD:
        return np.zeros(len(gold))
    mistaken = MISTAKEN * rise * (1 + LEAST_LABEL * found.shape[1] / len(gold))
    right = (1 - mistaken) * np.minimum(IsotonicRegression().fit(rank, agrees).predict(rank) / level, 1)
    wrong = np.full(found.shape[1], _least_share(~agrees[surest]) - mistaken)
    for label in range(len(wrong)):
        of_label = agrees[surest & (likeliest == label)]
        if len(of_label) >= LEAST_SUREST:
            wrong[label] = max(wrong[label], _least_share(~of_label) - mistaken)
    # A wrong label is any other one or a likely one, half of the time each; the right one, where a classifier is
    # mistaken, is a likely one.
    others = (found.sum(axis=1) - found.max(axis=1)) / (found.shape[1] - 1)
    odds = np.maximum(wrong, 0)[likeliest] * right * (1 + others / own) / 2
    return np.where(agrees, 0, odds / np.maximum(odds + 1 - right, LEAST))


def _ranks(found: Floats, likeliest: Ints) -> Floats:
    """How sure the judgement of each row is among those for the same label, from 0 to 1."""
    best = np.partition(found, -2, axis=1)
    lead = best[:, -1] / best[:, -2]
    ranks = np.zeros(len(found))
    for label in np.unique(likeliest):
        own = np.flatnonzero(likeliest == label)
        ranks[own[np.argsort(lead[own], kind="stable")]] = (np.arange(len(own)) + 0.5) / len(own)
    return ranks


def _least_share(wrong: NDArray[np.bool_]) -> float:
    """The lower bound of a share's 95% interval."""
    return wilson(int(wrong.sum()), len(wrong))[0]
