"""Plant wrong labels in real sets; measure how many are reported, how many reports are right, and
the suggestions.

    python bench/planted_labels.py [SET ...]

In each set, labels are replaced in four ways: by a random other label (5, 20 and 40% of the rows),
by the label with the most similar texts (20%, as people confuse labels), in 30% of the rows of the
most frequent label by the label most similar to it (a habit), or in hard texts (20%): more often if
another kind of classifier is unsure, and by a label that it finds likely. crows_pairs has labels by
people instead: one reader's, wrong where at least four of six agree on another one (five draws).
Without planted errors, reported rows are false alarms or errors of the published set. Printed are
the reported rows, the planted share of them with a 95% interval (Wilson), the reported share of the
planted rows, how often the suggested label is the published one, the share of planted rows among
the first 50, 100, 200, 400 and 800 of the ranked list, after how many labels a person stops
reading, and how many wrong labels are then estimated from 100 others drawn at random. Settings were
chosen on every second row of banking77's train.csv, every third row of snips_intents', and on
sms_spam, with another seed; those of the bound by twice the rows also on banking77 with its labels
in three and five groups, and on every third row of medquad_sample.
"""

from __future__ import annotations

import ast
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from real_sets import read_rows
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from etude.checks.labels.classifiers import compute_tf_idf
from etude.checks.labels.wrong_labels import MIN_LABEL_ROWS, RankedLabels, find_wrong_labels
from etude.stats.intervals import wilson
from etude.studio.label_review import NUM_SAMPLED, LabelReview

SEED = 11
CURVE = (50, 100, 200, 400, 800)
Row = tuple[str, str]
Ints = NDArray[np.int64]


def read_set(file: str, text: str = "text", label: str = "label") -> Callable[[], list[Row]]:
    """Make a function that reads two columns of a file."""
    return lambda: [(row[text], row[label]) for row in read_rows(file)]


def read_few_each() -> Iterator[Row]:
    """Read ten rows of each label, like a small data set that people write themselves."""
    seen: Counter[str] = Counter()
    for text, label in read_set("banking77/train.csv", label="category")():
        seen[label] += 1
        if seen[label] <= MIN_LABEL_ROWS:
            yield text, label


def read_people() -> list[tuple[str, str, list[str]]]:
    """Read sentences with the label on which at least four of six people agree, and the readers'
    labels.
    """
    rows = []
    for row in read_rows("crows_pairs/crows_pairs_anonymized.csv"):
        readers = [labels[0] for labels in ast.literal_eval(row["annotations"]) if labels]
        label, votes = Counter([row["bias_type"], *readers]).most_common(1)[0]
        if votes >= 4:
            rows.append((row["sent_more"], label, readers))
    return rows


def read_labels_by_people(names: list[str], draw: int, true_labels: Ints) -> Ints:
    """Return the label of one reader of each sentence; the agreed label if the reader's is rare."""
    rng = np.random.default_rng(draw)
    labels = true_labels.copy()
    for row, (_, _, readers) in enumerate(read_people()):
        label = readers[rng.integers(len(readers))]
        labels[row] = names.index(label) if label in names else true_labels[row]
    return labels


SETS: Mapping[str, Callable[[], Iterable[Row]]] = {
    "banking77": read_set("banking77/train.csv", label="category"),
    "banking77, 10 rows a label": read_few_each,
    "sms_spam": read_set("sms_spam/sms.tsv"),
    "snips_intents": read_set("snips_intents/validate.jsonl", label="intent"),
    "chunking_eval_corpora": read_set(
        "chunking_eval_corpora/questions_df.csv", "question", "corpus_id"
    ),
    "medquad_sample": read_set("medquad_sample/medquad.jsonl", "answer", "qtype"),
    "mts_dialog": read_set("mts_dialog/TrainingSet.csv", "dialogue", "section_header"),
    "pubmedqa_labelled": read_set("pubmedqa_labelled/pubmedqa.jsonl", "question", "label"),
    "crows_pairs": lambda: [(text, label) for text, label, _ in read_people()],
    "xstest": read_set("xstest/xstest_prompts.csv", "prompt", "label"),
}
DRAWS_BY_PEOPLE = tuple(f"by people, draw {draw}" for draw in range(5))
ERRORS = (
    *("none", "5% at random", "20% at random", "40% at random"),
    *("20% mistaken", "30% of one label", "20% in hard texts"),
)


def main() -> None:
    """Print one line for each set and kind of error."""
    for name in sys.argv[1:] or SETS:
        pairs = list(SETS[name]())
        counts = Counter(label for _, label in set(pairs))
        pairs = [pair for pair in pairs if counts[pair[1]] >= MIN_LABEL_ROWS]
        names = sorted({label for _, label in pairs})
        texts = [text for text, _ in pairs]
        true_labels = np.array([names.index(label) for _, label in pairs])
        for kind in ("none", *DRAWS_BY_PEOPLE) if name == "crows_pairs" else ERRORS:
            start = time.perf_counter()
            if kind in DRAWS_BY_PEOPLE:
                labels = read_labels_by_people(names, DRAWS_BY_PEOPLE.index(kind), true_labels)
            else:
                labels = plant_errors(kind, texts, true_labels)
            ranking = find_wrong_labels(texts, labels)
            seconds = time.perf_counter() - start
            report(f"{name}, {kind}", true_labels, labels, ranking, seconds)


def plant_errors(kind: str, texts: list[str], true_labels: Ints) -> Ints:
    """Return the labels after planting errors of one kind."""
    draw = np.random.default_rng(SEED)
    planted = true_labels.copy()
    num_labels = int(true_labels.max()) + 1
    if kind == "none":
        return planted
    if kind == "20% in hard texts":
        return confuse_hard_texts(texts, true_labels)
    share = int(kind.partition("%")[0]) / 100
    largest = int(np.bincount(true_labels).argmax())
    rows = (
        np.flatnonzero(true_labels == largest)
        if kind.endswith("one label")
        else np.arange(len(true_labels))
    )
    changed = draw.choice(rows, int(share * len(rows)), replace=False)
    if kind.endswith("at random"):
        planted[changed] = (
            planted[changed] + draw.integers(1, num_labels, len(changed))
        ) % num_labels
    else:
        planted[changed] = find_similar_labels(texts, true_labels, num_labels)[planted[changed]]
    return planted


def confuse_hard_texts(texts: list[str], true_labels: Ints, share: float = 0.2) -> Ints:
    """Replace labels of texts on which a regression over principal components of words is
    unsure.
    """
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(texts)
    components = TruncatedSVD(min(100, words.shape[1] - 1), random_state=SEED).fit_transform(words)
    regression = LogisticRegression(C=1000, max_iter=300)
    chances = cross_val_predict(regression, components, true_labels, cv=5, method="predict_proba")
    draw = np.random.default_rng(SEED)
    rows = np.arange(len(texts))
    doubts = np.maximum(1 - chances[rows, true_labels], 1e-6)
    planted = true_labels.copy()
    for row in draw.choice(rows, int(share * len(rows)), replace=False, p=doubts / doubts.sum()):
        others = np.where(np.arange(chances.shape[1]) == true_labels[row], 0, chances[row])
        planted[row] = draw.choice(chances.shape[1], p=others / others.sum())
    return planted


def find_similar_labels(texts: list[str], true_labels: Ints, num_labels: int) -> Ints:
    """Find for each label the other label with the most similar texts."""
    vectors = compute_tf_idf(texts)
    means = np.stack(
        [
            np.asarray(vectors[true_labels == label].mean(axis=0)).ravel()
            for label in range(num_labels)
        ]
    )
    similarity = means @ means.T / np.outer(*[np.linalg.norm(means, axis=1)] * 2)
    np.fill_diagonal(similarity, -1)
    return np.asarray(similarity.argmax(axis=1))


def report(
    name: str, true_labels: Ints, labels: Ints, ranking: RankedLabels, seconds: float
) -> None:
    """Print the line of one result."""
    wrong = true_labels != labels
    rows = ranking.rows[: ranking.num_named]
    suggested = ranking.suggested
    hits = int(wrong[rows].sum())
    parts = [f"{name}: {len(rows):,} of {len(true_labels):,} rows reported"]
    if wrong.any() and len(rows):
        low, high = wilson(hits, len(rows))
        parts += [f"{hits / len(rows):.1%} of them planted ({low:.1%} to {high:.1%})"]
        parts += [f"{hits / wrong.sum():.0%} of the {wrong.sum():,} planted"]
        parts += (
            [f"{(suggested == true_labels)[rows][wrong[rows]].mean():.0%} suggested right"]
            if hits
            else []
        )
    print(", ".join([*parts, *describe_reading(wrong, ranking), f"{seconds:.0f} s"]), flush=True)


def describe_reading(wrong: NDArray[np.bool_], ranking: RankedLabels) -> Iterator[str]:
    """Describe the ranked list, and what a person finds who reads it as the studio shows it."""
    low, high = (share * len(wrong) for share in ranking.share[:2])
    yield f"wrong in all {wrong.sum():,}: by the check {low:,.0f} to {high:,.0f}"
    in_order = wrong[ranking.rows].tolist()
    curve = (f"{np.mean(in_order[:size]):.0%} of {size}" for size in CURVE if size <= len(in_order))
    yield f"first {', '.join(curve)}"
    review = next(
        review
        for size in range(len(in_order) + 1)
        if (review := LabelReview(in_order[:size], (), len(wrong))).is_enough
        or size == len(in_order)
    )
    others = np.setdiff1d(np.arange(len(wrong)), ranking.rows[: len(review.ranked)])
    sample = np.random.default_rng(SEED).choice(
        others, min(NUM_SAMPLED, len(others)), replace=False
    )
    estimate = replace(review, sampled=wrong[sample].tolist()).estimate_wrong()
    assert estimate
    yield f"stops after {len(review.ranked)}: {sum(review.ranked)} wrong"
    yield "estimated {:,.0f} ({:,.0f} to {:,.0f})".format(*estimate)


if __name__ == "__main__":
    main()
