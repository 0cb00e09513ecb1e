"""Wrong labels planted in real sets: how many are named, how many of the named ones are wrong, and what is suggested.

    python bench/planted_labels.py [SET ...]

Of each set labels are replaced by another one drawn evenly (5, 20 and 40% of the rows), by the label whose texts are
most alike (20%, as people mistake them) or, of 30% of the rows of its most frequent label, by that one (a habit).
Without any planted, the rows that are named are false alarms or errors of the set as it was published. Printed: rows
named, the share of them that is planted with a 95% interval (Wilson), the share of planted ones that is named, and how
often the label suggested for one is the published one. Settings were chosen on every second row of banking77's
train.csv, every third of snips_intents' and on sms_spam, with another draw.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from real_sets import DATA

from etude.checks.labels.views import tf_idf
from etude.checks.labels.wrong_labels import LEAST_LABEL, suspicion
from etude.stats.intervals import wilson

SEED = 11
Row = tuple[str, str]
Ints = NDArray[np.int64]


def _table(name: str, text: str, label: str, delimiter: str = ",") -> Callable[[], Iterator[Row]]:
    def read() -> Iterator[Row]:
        with (DATA / name).open(encoding="utf-8", newline="") as file:
            yield from ((row[text], row[label]) for row in csv.DictReader(file, delimiter=delimiter))

    return read


def _lines(name: str, text: str, label: str) -> Callable[[], Iterator[Row]]:
    def read() -> Iterator[Row]:
        with (DATA / name).open(encoding="utf-8") as file:
            yield from ((row[text], row[label]) for row in map(json.loads, file))

    return read


def _messages() -> Iterator[Row]:
    for line in (DATA / "sms_spam" / "sms.tsv").read_text(encoding="utf-8").splitlines():
        label, _, text = line.partition("\t")
        yield text, label


def _few_each() -> Iterator[Row]:
    """Ten rows of each label, as people have them who write their own."""
    seen: Counter[str] = Counter()
    for text, label in _table("banking77/train.csv", "text", "category")():
        seen[label] += 1
        if seen[label] <= LEAST_LABEL:
            yield text, label


SETS: Mapping[str, Callable[[], Iterator[Row]]] = {
    "banking77": _table("banking77/train.csv", "text", "category"),
    "banking77, 10 rows a label": _few_each,
    "sms_spam": _messages,
    "snips_intents": _lines("snips_intents/validate.jsonl", "text", "intent"),
    "chunking_eval_corpora": _table("chunking_eval_corpora/questions_df.csv", "question", "corpus_id"),
    "medquad_sample": _lines("medquad_sample/medquad.jsonl", "answer", "qtype"),
    "mts_dialog": _table("mts_dialog/TrainingSet.csv", "dialogue", "section_header"),
    "pubmedqa_labelled": _lines("pubmedqa_labelled/pubmedqa.jsonl", "question", "label"),
    "xstest": _table("xstest/xstest_prompts.csv", "prompt", "label"),
}
PLANTED = ("none", "5% at random", "20% at random", "40% at random", "20% mistaken", "30% of one label")


def main() -> None:
    """Prints one line for each set and kind of error."""
    for name in sys.argv[1:] or SETS:
        pairs = list(SETS[name]())
        counts = Counter(label for _, label in set(pairs))
        pairs = [pair for pair in pairs if counts[pair[1]] >= LEAST_LABEL]
        names = sorted({label for _, label in pairs})
        texts, right = [text for text, _ in pairs], np.array([names.index(label) for _, label in pairs])
        for kind in PLANTED:
            began = time.perf_counter()
            given = planted(kind, texts, right)
            found = suspicion(texts, given)
            report(f"{name}, {kind}", right, given, *found, time.perf_counter() - began)


def planted(kind: str, texts: list[str], right: Ints) -> Ints:
    """The labels with errors of a kind."""
    draw, given, labels = np.random.default_rng(SEED), right.copy(), int(right.max()) + 1
    if kind == "none":
        return given
    share = int(kind.partition("%")[0]) / 100
    usual = int(np.bincount(right).argmax())
    rows = np.flatnonzero(right == usual) if kind.endswith("one label") else np.arange(len(right))
    chosen = draw.choice(rows, int(share * len(rows)), replace=False)
    if kind.endswith("at random"):
        given[chosen] = (given[chosen] + draw.integers(1, labels, len(chosen))) % labels
    else:
        given[chosen] = most_alike(texts, right, labels)[given[chosen]]
    return given


def most_alike(texts: list[str], right: Ints, labels: int) -> Ints:
    """For each label the one whose texts are most alike."""
    vectors = tf_idf(texts)
    means = np.stack([np.asarray(vectors[right == label].mean(axis=0)).ravel() for label in range(labels)])
    alike = means @ means.T / np.outer(*[np.linalg.norm(means, axis=1)] * 2)
    np.fill_diagonal(alike, -1)
    return np.asarray(alike.argmax(axis=1))


def report(name: str, right: Ints, given: Ints, named: Ints, suggested: Ints, seconds: float) -> None:
    """Prints the line."""
    wrong = right != given
    hits = int(wrong[named].sum())
    told = [f"{name}: {len(named):,} of {len(right):,} rows named"]
    if wrong.any() and len(named):
        low, high = wilson(hits, len(named))
        told += [f"{hits / len(named):.1%} of them planted ({low:.1%} to {high:.1%})"]
        told += [f"{hits / wrong.sum():.0%} of the {wrong.sum():,} planted"]
        told += [f"{(suggested == right)[named][wrong[named]].mean():.0%} suggested right"] if hits else []
    print(", ".join([*told, f"{seconds:.0f} s"]), flush=True)


if __name__ == "__main__":
    main()
