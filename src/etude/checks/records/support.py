"""Fields that their text does not support.

A value that occurs in the text, word for word or as a number or date in another form, is supported.
For a field with few values, how far the words of a text speak for each value is learned from the other rows
(cross-validated logistic regression; rows of one text, and where there are many records rows of one record, on one
side; values of the other fields taken out of the text). A value is unsupported where its text makes it less likely than
it is without any text.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from etude.checks.records.numbers_dates import Value, is_said, value_of, values_in
from etude.checks.records.parsing import FOLDS, LEAST_STATED, Record, folds_of, without_others, words_by_rows
from etude.text.normal_forms import normalise

LIFT = 1.0
"""A value is unsupported where its text makes it at most so many times as likely as it is without any text."""
STANDING_SHARE = 0.95
"""Share of the values of a field that stand in their texts, from which the others stand out."""
MOST_VALUES = 50
"""Values up to which a field has few."""
LEAST_ROWS = 8
"""Rows of a value below which nothing is learned about it."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class _Texts:
    """Texts beside their records, and what they say in numbers, which is read where it is asked for."""

    def __init__(self, texts: Sequence[str], plain: Sequence[str]) -> None:
        self.texts, self.plain = texts, plain
        self._values: dict[int, frozenset[Value]] = {}

    def support(self, row: int, values: Sequence[str]) -> bool:
        """Whether all values occur in the text of a row."""
        return all(
            f" {normalise(value)} " in self.plain[row] or self._says(row, value_of(value)) for value in values
        )

    def _says(self, row: int, value: frozenset[Value]) -> bool:
        if value and row not in self._values:
            self._values[row] = values_in(self.texts[row])
        return bool(value) and is_said(value, self._values[row])


def unsupported(
    texts: Sequence[str], plain: Sequence[str], records: Sequence[Record]
) -> list[tuple[int, str]]:
    """(row, its least supported field) where that is unsupported, the surest first. Fields that few rows state are
    not judged.

    `plain` are the texts normalised, with a space at both ends.
    """
    stated = Counter(name for record in records for name in record)
    read = _Texts(texts, plain)
    lifts = {
        name: lift
        for name, number in stated.items()
        if number >= LEAST_STATED and (lift := _of_field(name, read, records)) is not None
    }
    if not lifts:
        return []
    fields, lift = list(lifts), np.stack([*lifts.values()], axis=1)
    least = lift.min(axis=1)
    ranked = np.argsort(least, kind="stable")[: int((least <= LIFT).sum())]
    return [(int(row), fields[int(lift[row].argmin())]) for row in ranked]


def _of_field(name: str, texts: _Texts, records: Sequence[Record]) -> Floats | None:
    """The lift of one field in every row, None where it cannot be told."""
    said = np.array([name in record for record in records])
    stands = np.array([texts.support(row, record.get(name, ())) for row, record in enumerate(records)])
    lift = np.full(len(records), math.inf)
    if float(stands[said].mean()) >= STANDING_SHARE:
        lift[said & ~stands] = 0.0
        return lift
    values = Counter(_value(record, name) for record in records)
    few = sorted(value for value, number in values.items() if number >= LEAST_ROWS)
    if 1 < len(few) <= MOST_VALUES and sum(values[value] for value in few) >= 0.9 * len(records):
        rows, learned = _learned(name, texts.plain, records, few)
        lift[rows] = learned
        lift[stands | ~said] = math.inf
        return lift
    return None


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

    words = words_by_rows(texts)
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
