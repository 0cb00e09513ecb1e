"""Fields that their text does not support.

A value that stands in the text word for word is supported. For a field with few values, how far the words of a
text speak for each value is learned from the other rows (cross-validated logistic regression; rows of one text, and
where there are many records rows of one record, on one side; values of the other fields taken out of the text). A
value is unsupported where its text makes it less likely than it is without any text.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etude.checks.records import FOLDS, LEAST_STATED, Record, folds_of, without_others, words_by_rows
from etude.normal import normalise

LIFT = 1.0
"""A value is unsupported where its text makes it at most so many times as likely as it is without any text."""
LITERAL_SHARE = 0.95
"""Share of the values of a field that stand in their texts, from which the others stand out."""
MOST_VALUES = 50
"""Values up to which a field has few."""
LEAST_ROWS = 8
"""Rows of a value below which nothing is learned about it."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Support:
    """How far texts support records."""

    fields: tuple[str, ...]
    lift: Floats
    """Rows by fields: how much more likely the record's value is by its text; infinity where not judged."""

    @property
    def weakest(self) -> list[tuple[int, str]]:
        """(row, its least supported field) where that is unsupported, the surest first."""
        least = self.lift.min(axis=1, initial=math.inf)
        ranked = np.argsort(least, kind="stable")[: int((least <= LIFT).sum())]
        return [(int(row), self.fields[int(self.lift[row].argmin())]) for row in ranked]


def support(texts: Sequence[str], records: Sequence[Record]) -> Support:
    """How far each text supports each field of its record. Fields that few rows state are not judged.

    `texts` are normalised, with a space at both ends.
    """
    stated = Counter(name for record in records for name in record)
    fields = tuple(name for name, number in stated.items() if number >= LEAST_STATED)
    lift = np.full((len(texts), len(fields)), math.inf)
    for column, name in enumerate(fields):
        lift[:, column] = _of_field(name, texts, records)
    return Support(fields, lift)


def _of_field(name: str, texts: Sequence[str], records: Sequence[Record]) -> Floats:
    """The lift of one field in every row."""
    said = np.array([name in record for record in records])
    literal = np.array(
        [_stands(record.get(name, ()), text) for record, text in zip(records, texts, strict=True)]
    )
    lift = np.full(len(texts), math.inf)
    if literal[said].mean() >= LITERAL_SHARE:
        lift[said & ~literal] = 0.0
        return lift
    values = Counter(_value(record, name) for record in records)
    few = sorted(value for value, number in values.items() if number >= LEAST_ROWS)
    if 1 < len(few) <= MOST_VALUES and sum(values[value] for value in few) >= 0.9 * len(records):
        rows, learned = _learned(name, texts, records, few)
        lift[rows] = learned
        lift[literal | ~said] = math.inf
    return lift


def _learned(
    name: str, texts: Sequence[str], records: Sequence[Record], few: Sequence[str]
) -> tuple[Ints, Floats]:
    """Rows whose value is among the few of a field (absence is one), and its lift by the words of their text."""
    values = [_value(record, name) for record in records]
    rows = np.array([row for row, value in enumerate(values) if value in few])
    gold = np.array([few.index(values[row]) for row in rows])
    about = [without_others(texts[row], records[row], name) for row in rows]
    folds = folds_of([records[row] for row in rows], [texts[row] for row in rows])
    own = _probabilities(about, gold, folds, len(few))[np.arange(len(gold)), gold]
    return rows, own / (np.bincount(gold) / len(gold))[gold]


def _probabilities(texts: Sequence[str], gold: Ints, folds: Ints, labels: int) -> Floats:
    """Cross-validated probabilities, rows by labels; infinite where the other rows hold too little to learn from."""
    from sklearn.linear_model import LogisticRegression

    words, _ = words_by_rows(texts)
    result = np.full((len(gold), labels), np.inf)
    for fold in range(FOLDS):
        train, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if len(held) and len(set(gold[train].tolist())) > 1:
            model = LogisticRegression(C=3, max_iter=300).fit(words[train], gold[train])
            result[np.ix_(held, model.classes_)] = model.predict_proba(words[held])
    return result


def _value(record: Record, name: str) -> str:
    """A field's values as one text, the order aside; "" where it is absent."""
    return " | ".join(sorted(record.get(name, ())))


def _stands(values: Sequence[str], text: str) -> bool:
    """Whether all values stand in a normalised text with a space at both ends."""
    return all(f" {normalise(value)} " in text for value in values)
