"""Labels that look wrong, ranked, each with the label that its text suggests.

Confident learning (Northcutt, Jiang and Chuang 2021): every row is judged by classifiers that were
not trained on it. If the classifiers disagree with a label, either the label or the prediction is
wrong. Wrong labels are equally frequent among confident and less confident predictions, but the
classifiers' own mistakes are rarer among confident ones. So the disagreement among the most
confident predictions, over all labels and for each label, estimates the share of wrong labels. The
additional disagreement among less confident predictions estimates the classifiers' own error. Both
give the probability that a row's label is wrong. Rows are ranked by how unlikely their own label
is. The number of reported rows is the sum of these probabilities, computed with lower bounds for
the shares of wrong labels; more rows are reported as long as at least half of them are probably
wrong.

People mislabel hard texts most, on which classifiers are uncertain too, so their errors hardly show
among the most confident predictions. But classifiers that were trained on twice the rows make fewer
mistakes of their own, while wrong labels remain. So the disagreement minus a multiple of that gain
is a second lower bound of the share of wrong labels, and at least so many rows are reported. It
counts only rows like those whose labels are mostly predicted: texts that do not say their label,
and near scores of a scale, look the same as errors of people.

Nothing is reported if the texts say little about the labels, or if no label is shown to be wrong.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etude.base.formatting import format_count, list_first
from etude.checks.excerpts import redact_label
from etude.checks.kinds import LABEL_KINDS, LABELS, FindingKind, finds
from etude.checks.labels.classifiers import compute_tf_idf, predict_labels
from etude.checks.material import Material, format_rows
from etude.checks.rows.repeats import find_contradictory_rows
from etude.cluster import THIS_PROCESS, Workers
from etude.stats.intervals import wilson
from etude.task.questions import join_answers, split_answers
from etude.text.label_lists import join_labels
from etude.text.normal_forms import to_canonical
from etude.types import Finding

MIN_ROWS = 200  # rows below which nothing is reported
MIN_LABEL_ROWS = 10  # different inputs of a label below which its rows are not judged
# maximum number of rows that are judged, to limit time and memory; larger sets are sampled evenly
MAX_ROWS = 30_000
# Share of the predictions of a label that count as its most confident ones; up to half of them if
# there are few rows.
SUREST = 0.25
MIN_SUREST = 200  # most confident predictions of all labels together, at least
# Error rate of the most confident predictions, as a multiple of their gain in agreement over the
# next most confident ones: 0.1 to 0.6 in published sets with few wrong labels. Doubled for labels
# with ten rows.
MISTAKEN = 0.5
# Most confident predictions that a label needs for an estimate of its own share of wrong labels.
MIN_LABEL_SUREST = 10
# Texts say enough about labels if this is reached by Cohen's kappa of predictions and labels, minus
# twice the gain in agreement of the most confident predictions.
MIN_KAPPA = 0.15
# The second bound needs this kappa, and counts as the classifiers' own mistakes this multiple of
# what twice the rows gain in agreement (upper bound): in sets with few wrong labels they are 0.9 to
# 12 times the gain. It counts rows as sure as those of which this share is predicted.
MIN_LEARNABLE = 0.5
MISTAKES_PER_GAIN = 12
MIN_AGREED = 0.7
LIKELY = 0.3  # lowest probability of a wrong label at which a row is counted
MIN_WRONG = 0.5  # lowest probability of a wrong label at which further rows are reported
SMOOTHING = 1e-4  # added to probabilities
MIN_LOG_PROBABILITY = -12.0  # lower log-probabilities of a classifier are raised to this one
MAX_LABELS = (
    100  # maximum number of labels that are judged if a row has several, the most frequent ones
)
MAX_PAIRS = 4  # pairs of labels in the message
# a pair of labels counts as confused if chance gives so many rows with a lower probability, over
# all pairs
RARE = 1e-3
MAX_READ = 800  # labels that are named or listed for reading, at most; HEAD are always listed
HEAD = 200  # labels to read first, of which an estimate says how many are wrong
LAST_READ = 30  # people stop reading if fewer than a third of so many labels were wrong
REMEDY = (
    "Correct them in the file, or in etude studio, which says when to stop and makes rows of the "
    "corrections."
)
Floats = NDArray[np.floating]
Ints = NDArray[np.int64]


@finds(
    FindingKind("wrong_label", "warning", "labels that look wrong, ranked"),
    FindingKind(
        "unread_label", "note", "labels to read next, ranked, and how many may be wrong in all"
    ),
    tasks=LABELS,
    by_question=True,
)
def check_wrong_labels(material: Material) -> Iterator[Finding]:
    """Find rows whose label looks wrong; rows of a contradiction are not reported a second time. If
    the texts say enough about labels, also list the rows to read next.
    """
    if material.task.several:
        yield from check_wrong_lists(material)
        return
    labels = {row: material.outputs[row] for row in _sample_rows(material)}
    distinct = {(int(material.input_hashes[row]), label) for row, label in labels.items()}
    counts = Counter(label for _, label in distinct)
    rows = [row for row, label in labels.items() if counts[label] >= MIN_LABEL_ROWS]
    # Sorted by content, so that the folds do not depend on the order of the file.
    rows.sort(key=lambda row: (material.input_hashes[row], labels[row]))
    names = sorted({labels[row] for row in rows})
    if len(rows) < MIN_ROWS or len(names) < 2:
        return
    numbers = {name: number for number, name in enumerate(names)}
    gold = np.array([numbers[labels[row]] for row in rows])
    texts = [material.inputs[row] for row in rows]
    has_scores = bool(material.task.scale)
    ranking = find_wrong_labels(texts, gold, None, material.workers, has_scores)
    contradictory = find_contradictory_rows(material)
    wrong, unread = (
        [index for index in part.tolist() if rows[index] not in contradictory]
        for part in np.split(ranking.rows, [ranking.num_named])
    )
    suggested = ranking.suggested
    share = ranking.share
    if wrong:
        bounds = f"Between {share.low:.1%} and {share.high:.1%} of all labels are probably wrong"
        details = f"{bounds}. {_describe_pairs(names, gold, suggested, wrong)}"
        subjects = [names[suggested[index]] for index in wrong]
        yield _report_rows(
            material, len(rows), [rows[index] for index in wrong], "label", subjects, details
        )
    if share.is_informed and unread:
        unread = unread[: max(MAX_READ - len(wrong), HEAD)]
        order = np.array([*wrong, *unread])[:HEAD]
        sure = round(100 * float(ranking.suspicion[order].mean()))
        probably = (
            f"at least about {sure} in 100 are probably wrong"
            if sure
            else "it is not known how many are wrong"
        )
        yield material.finding(
            "unread_label",
            "note",
            [rows[index] for index in unread],
            f"{'Other labels may be wrong, too' if wrong else 'No label is clearly wrong'}. Up to "
            f"{share.high:.0%} of {len(rows):,} labels could be wrong unnoticed. "
            f"{format_rows('have', len(unread), len(rows))} another label than their text "
            "suggests: the label is wrong, or the text is hard. Of the first "
            f"{format_count(len(order), 'label')} to read, {probably}.",
            f"Read them in this order, and stop when fewer than a third of the last {LAST_READ} "
            f"were wrong. {REMEDY}",
            subjects=[redact_label(names[suggested[index]]) for index in unread],
            numbers={
                "rows": len(unread),
                "of": len(rows),
                "low": share.low,
                "high": share.high,
                "sure": sure,
            },
        )


def _sample_rows(material: Material) -> list[int]:
    total = len(material.rows)
    return list(
        map(int, np.unique(np.linspace(0, total - 1, min(total, MAX_ROWS)).astype(np.int64)))
    )


def _report_rows(
    material: Material,
    num_judged: int,
    rows: Sequence[int],
    noun: str,
    subjects: Sequence[str],
    details: str,
) -> Finding:
    """Make the finding of rows whose label, or list of labels, looks wrong; `subjects` are those
    that texts suggest.
    """
    total = len(material.rows)
    sampled = f" ({MAX_ROWS:,} of {total:,} rows were checked)" if total > MAX_ROWS else ""
    return material.finding(
        "wrong_label",
        "warning",
        rows,
        f"{format_rows('have', len(rows), num_judged)} a {noun} that looks wrong{sampled}. The "
        f"most suspicious rows come first, each with the {noun.partition(' ')[0]} that its text "
        f"suggests instead of its own. {details}",
        f"Read the rows in this order. {REMEDY}",
        subjects=[redact_label(subject) for subject in subjects],
        excerpts=material.show_rows(rows[:10]),
        numbers={"rows": len(rows), "of": num_judged},
    )


def suggest_labels(findings: Iterable[Finding]) -> dict[str, str]:
    """Return row id -> label that its text suggests, for all rows to read in their order. Of
    several questions, only the answers that look wrong are suggested (see `complete_label`).
    """
    suggested: dict[str, str] = {}
    for finding in sorted(findings, key=lambda finding: finding.kind != LABEL_KINDS[0]):
        if finding.kind in LABEL_KINDS:
            for row, label in zip(finding.rows, finding.subjects, strict=True):
                answers = {**split_answers(suggested.get(row, "")), **split_answers(label)}
                suggested[row] = join_answers(answers) if answers else label
    return suggested


def complete_label(suggested: str, output: str) -> str:
    """Add the row's answers to the questions about which nothing is suggested."""
    answers = split_answers(suggested)
    return join_answers({**split_answers(output), **answers}) if answers else suggested


def check_wrong_lists(material: Material) -> Iterator[Finding]:
    """Find rows whose list of labels has a missing or a superfluous label."""
    # Sorted by content, so that the folds do not depend on the order of the file.
    rows = sorted(
        _sample_rows(material), key=lambda row: (material.input_hashes[row], material.outputs[row])
    )
    if len(rows) < MIN_ROWS:
        return
    texts = [material.inputs[row] for row in rows]
    lists = [material.list_labels(row) for row in rows]
    contradictory = find_contradictory_rows(material)
    hashes = material.input_hashes[rows].tolist()
    wrong = [
        one for one in find_wrong_lists(texts, lists, hashes) if rows[one.row] not in contradictory
    ]
    if not wrong:
        return
    missing = Counter(f"{label} is missing" for one in wrong for label in one.missing)
    missing.update(f"{label} does not fit" for one in wrong for label in one.superfluous)
    described = list_first(
        missing.most_common(),
        MAX_PAIRS,
        "; ",
        lambda pair: f"{pair[0]} in {format_count(pair[1], 'row')}",
    )
    subjects = [one.suggested for one in wrong]
    details = f"{redact_label(described)}."
    wrong_rows = [rows[one.row] for one in wrong]
    yield _report_rows(material, len(rows), wrong_rows, "list of labels", subjects, details)


def _describe_pairs(names: Sequence[str], gold: Ints, suggested: Ints, wrong: Sequence[int]) -> str:
    from scipy.stats import binom

    pairs = Counter((int(suggested[index]), int(gold[index])) for index in wrong)
    sizes = Counter(suggested.tolist())
    habits = []
    for pair, rows in pairs.most_common():
        chance = sizes[pair[0]] / len(gold) / (len(names) - 1)
        if binom.sf(rows - 1, len(wrong), chance) * len(names) ** 2 < RARE:
            habits.append(pair)

    def describe(pair: tuple[int, int]) -> str:
        return (
            f"{names[pair[0]]} labelled as {names[pair[1]]} in {format_count(pairs[pair], 'row')}"
        )

    listed = list_first(
        habits or [pair for pair, _ in pairs.most_common()], MAX_PAIRS, "; ", describe
    )
    if not habits:
        return redact_label(
            f"The errors look random: no pair of labels is confused often ({listed})."
        )
    others = len(wrong) - sum(pairs[pair] for pair in habits)
    note = (
        f" The other {format_count(others, 'error looks', 'errors look')} random." if others else ""
    )
    return redact_label(f"The errors have a pattern: {listed}.{note}")


class WrongShare(NamedTuple):
    """Bounds of the share of wrong labels."""

    low: float
    """From the most confident predictions that disagree with their label, minus the classifiers'
    own mistakes.
    """
    high: float
    """From all predictions that disagree, because people also mislabel texts on which classifiers
    are uncertain.
    """
    is_informed: bool
    """Whether labels can mostly be predicted from texts; otherwise wrong labels agree with
    predictions too often.
    """


class RankedLabels(NamedTuple):
    """Rows whose label differs from the one that their text suggests, the most suspicious first."""

    rows: Ints
    num_named: int
    """How many of the rows, from the first, are reported as wrong."""
    suggested: Ints
    """The likeliest label of every row of the set."""
    suspicion: Floats
    """A cautious probability that the label is wrong, of every row of the set."""
    share: WrongShare


def find_wrong_labels(
    texts: Sequence[str],
    gold: Ints,
    matrix: Any = None,
    workers: Workers = THIS_PROCESS,
    has_scores: bool = False,
) -> RankedLabels:
    """Rank the rows by how wrong their label looks, and decide how many are reported.

    `gold` numbers the labels from 0; each label has at least as many rows as `predict_labels`
    needs. `has_scores` says that the labels are scores of a scale.
    """
    from scipy.special import softmax
    from sklearn.isotonic import IsotonicRegression
    from sklearn.metrics import cohen_kappa_score

    matrix = compute_tf_idf(texts) if matrix is None else matrix
    first: dict[str, int] = {}
    copies = np.array([first.setdefault(to_canonical(text), row) for row, text in enumerate(texts)])

    def predict(step: int) -> Floats:
        logs = predict_labels(matrix, gold, copies, workers, step)
        return np.asarray(np.maximum(logs, MIN_LOG_PROBABILITY).mean(axis=0))

    probabilities = softmax(predict(1), axis=1) + SMOOTHING
    likeliest = probabilities.argmax(axis=1)
    own = probabilities[np.arange(len(gold)), gold]
    suspicion, low = _estimate_wrong(probabilities, likeliest, own, gold)
    disagrees = likeliest != gold
    ranked = np.argsort(own / probabilities.max(axis=1), kind="stable")
    ranked, rows = ranked[disagrees[ranked]], ranked[suspicion[ranked] > 0]
    to_read = ranked
    likely = rows[suspicion[rows] >= LIKELY]
    reported = likely[: round(suspicion[likely].sum())]
    if len(rows):
        order = np.arange(len(rows))
        falling = IsotonicRegression(increasing=False).fit(order, suspicion[rows]).predict(order)
        reported = max(reported, rows[falling >= MIN_WRONG], key=len)
    is_informed = bool(cohen_kappa_score(likeliest, gold) >= MIN_LEARNABLE)
    if not has_scores and is_informed and len(ranked) > len(reported):
        rank = _rank_sureness(probabilities, likeliest)
        says_enough = IsotonicRegression().fit(rank, ~disagrees).predict(rank) >= MIN_AGREED
        gains = ((predict(2).argmax(axis=1) != gold).astype(float) - disagrees) * says_enough
        gain = gains.mean() + 2 * gains.std() / len(gold) ** 0.5
        remaining = max((disagrees & says_enough).mean() - MISTAKES_PER_GAIN * gain, 0.0)
        low = max(low, remaining)
        ranked = ranked[says_enough[ranked]]
        reported = max(reported, ranked[: int(remaining * len(gold))], key=len)
    high = wilson(int(disagrees.sum()), len(gold))[1]
    to_read = np.concatenate([reported, to_read[~np.isin(to_read, reported)]])
    return RankedLabels(
        to_read, len(reported), likeliest, suspicion, WrongShare(low, high, is_informed)
    )


def _estimate_wrong(
    probabilities: Floats, likeliest: Ints, own: Floats, gold: Ints
) -> tuple[Floats, float]:
    """Estimate the probability that each row's label is wrong, and the lower bound of the share of
    wrong labels.

    `own` is the probability of each row's label. Both results are 0 if texts say little about
    labels.
    """
    from sklearn.isotonic import IsotonicRegression
    from sklearn.metrics import cohen_kappa_score

    num_labels = probabilities.shape[1]
    agrees = likeliest == gold
    rank = _rank_sureness(probabilities, likeliest)
    share = min(max(SUREST, MIN_SUREST / len(gold)), 0.5)
    surest = rank >= 1 - share
    level = agrees[surest].mean()
    rise = max(1 - agrees[~surest & (rank >= 1 - 2 * share)].mean() / level, 0)
    if cohen_kappa_score(likeliest, gold) - 2 * rise < MIN_KAPPA:
        return np.zeros(len(gold)), 0.0
    # Step 1: the classifiers' own error, and how often they are right at each level of confidence.
    mistaken = MISTAKEN * rise * (1 + MIN_LABEL_ROWS * num_labels / len(gold))
    right = (1 - mistaken) * np.minimum(
        IsotonicRegression().fit(rank, agrees).predict(rank) / level, 1
    )
    # Step 2: the share of wrong labels, over all labels and for each label with enough confident
    # predictions.
    low = max(_bound_share(~agrees[surest]) - mistaken, 0.0)
    wrong = np.full(num_labels, low)
    for label in range(num_labels):
        agreements = agrees[surest & (likeliest == label)]
        if len(agreements) >= MIN_LABEL_SUREST:
            wrong[label] = max(wrong[label], _bound_share(~agreements) - mistaken)
    # Step 3: the odds of both errors for each row. A wrong label is assumed to be any other label
    # half of the time, and a likely one half of the time. A right label that a classifier misses is
    # assumed to be a likely one.
    rest = (probabilities.sum(axis=1) - probabilities.max(axis=1)) / (num_labels - 1)
    odds = wrong[likeliest] * right * (1 + rest / own) / 2
    return np.where(agrees, 0, odds / np.maximum(odds + 1 - right, SMOOTHING)), low


def _rank_sureness(probabilities: Floats, likeliest: Ints) -> Floats:
    """Rank the confidence of each row's prediction among the predictions of the same label, from 0
    to 1.
    """
    best = np.partition(probabilities, -2, axis=1)
    lead = best[:, -1] / best[:, -2]
    ranks = np.zeros(len(probabilities))
    for label in np.unique(likeliest):
        rows = np.flatnonzero(likeliest == label)
        ranks[rows[np.argsort(lead[rows], kind="stable")]] = (np.arange(len(rows)) + 0.5) / len(
            rows
        )
    return ranks


def _bound_share(wrong: NDArray[np.bool_]) -> float:
    return wilson(int(wrong.sum()), len(wrong))[0]


class WrongList(NamedTuple):
    """A row whose list of labels looks wrong."""

    row: int
    suggested: str
    """The list that its text suggests, as one text."""
    missing: tuple[str, ...]
    superfluous: tuple[str, ...]


def find_wrong_lists(
    texts: Sequence[str], lists: Sequence[Sequence[str]], hashes: Sequence[int]
) -> list[WrongList]:
    """Find the rows with a missing or a superfluous label, the most suspicious first.

    `hashes` are equal for equal texts. Labels with fewer than MIN_LABEL_ROWS different texts are
    not judged.
    """
    counts = Counter(
        label
        for label, _ in {
            (label, hashes[row]) for row, labels in enumerate(lists) for label in labels
        }
    )
    names = [label for label, number in counts.most_common(MAX_LABELS) if number >= MIN_LABEL_ROWS]
    matrix = compute_tf_idf(texts)
    changes: dict[
        int, list[tuple[int, str]]
    ] = {}  # row -> (rank among the rows of the label, label)
    for name in names:
        gold: Ints = np.array([int(name in labels) for labels in lists])
        if len(gold) - gold.sum() < MIN_LABEL_ROWS:
            continue
        ranking = find_wrong_labels(texts, gold, matrix)
        for rank, row in enumerate(ranking.rows[: ranking.num_named].tolist()):
            changes.setdefault(row, []).append((rank, name))
    wrong = []
    for row in sorted(changes, key=lambda row: (min(changes[row]), row)):
        flipped = {name for _, name in changes[row]}
        labels = set(lists[row])
        missing = sorted(flipped - labels)
        superfluous = sorted(flipped & labels)
        wrong.append(
            WrongList(row, join_labels(labels ^ flipped), tuple(missing), tuple(superfluous))
        )
    return wrong
