"""Fields that their text does not support.

A value that stands in the text word for word is supported. For a field with few values, how far the words of a
text speak for each value is learned from the other rows (cross-validated logistic regression; rows of one record
on one side; values of the other fields taken out of the text). A value is unsupported where its text makes it
less likely than it is without any text; the same for a field left out that the text speaks of.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etude.checks.material import Material, rows_that
from etude.checks.records import Record, all_records
from etude.normal import normalise
from etude.types import Evidence, Finding

LIFT = 1.0
"""A value is unsupported where its text makes it at most so many times as likely as it is without any text."""
LITERAL_SHARE = 0.95
"""Share of the values of a field that stand in their texts, from which the others stand out."""
MOST_VALUES = 50
"""Values up to which a field has few."""
LEAST_ROWS = 8
"""Rows of a value below which nothing is learned about it."""
LEAST_STATED = 50
"""Rows that state a field, below which nothing is said about it."""
MOST_ROWS = 20_000
"""Rows looked at; a larger set is sampled evenly."""
FOLDS = 5
LEFT_OUT = 0.5
"""Probability that a field is absent up to which its absence is doubted."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Support:
    """How far texts support records."""

    fields: tuple[str, ...]
    lift: Floats
    """Rows by fields: how much more likely what the record says is by its text; infinity where not judged."""

    @property
    def weakest(self) -> Floats:
        """The least lift of each row."""
        least: Floats = self.lift.min(axis=1, initial=math.inf)
        return least


def unsupported(material: Material) -> Iterator[Finding]:
    """Records that say what their text does not: answers of an extraction, or inputs that a text is made from."""
    part = "output" if material.task.kind == "extract" else "input"
    step = -(-len(material.rows) // MOST_ROWS)
    rows = range(0, len(material.rows), step)
    read, said = (
        (material.inputs, material.outputs) if part == "output" else (material.outputs, material.inputs)
    )
    records = all_records([said[row] for row in rows]) if material.task.kind != "classify" else None
    if records is None or len(records) < LEAST_STATED:
        return
    found = support([read[row] for row in rows], [record or {} for record in records])
    weakest = found.weakest
    ranked = [int(place) for place in np.argsort(weakest, kind="stable") if weakest[place] <= LIFT]
    if not ranked:
        return
    yield material.finding(
        "unsupported",
        "warning",
        [rows[place] for place in ranked],
        _message(found, ranked, part, len(rows), step),
        "Correct the fields; the rows are ranked, the surest first.",
        evidence=_shown(material, found, [(place, rows[place]) for place in ranked[:10]], part),
        numbers={"rows": len(ranked), "of": len(rows)},
    )


def _message(found: Support, ranked: Sequence[int], part: str, total: int, step: int) -> str:
    worst = Counter(found.fields[int(found.lift[place].argmin())] for place in ranked)
    named = ", ".join(f"{name} in {number:,}" for name, number in worst.most_common(4))
    text = "text" if part == "output" else "answer"
    sampled = f" (every {step}th row was looked at)" if step > 1 else ""
    return (
        f"{rows_that('have', len(ranked), total)} a field that the {text} does not support{sampled}: {named}."
    )


def _shown(
    material: Material, found: Support, places: Sequence[tuple[int, int]], part: str
) -> Iterator[Evidence]:
    for place, row in places:
        name = found.fields[int(found.lift[place].argmin())].rpartition(".")[2]
        said = material.rows[row].output if part == "output" else material.rows[row].text
        at = said.find(name)
        marks = [(at, at + len(name))] if at >= 0 else []
        yield material.shown_input(row, marks if part == "input" else ())
        yield material.shown_output(row, marks if part == "output" else ())


def support(texts: Sequence[str], records: Sequence[Record]) -> Support:
    """How far each text supports each field of its record. Fields that few rows state are not judged."""
    plain = [f" {normalise(text)} " for text in texts]
    stated = Counter(name for record in records for name in record)
    fields = tuple(name for name, number in stated.items() if number >= LEAST_STATED)
    lift = np.full((len(texts), len(fields)), math.inf)
    for column, name in enumerate(fields):
        lift[:, column] = _of_field(name, plain, records)
    return Support(fields, lift)


def _of_field(name: str, plain: Sequence[str], records: Sequence[Record]) -> Floats:
    """The lift of one field in every row."""
    said = np.array([name in record for record in records])
    literal = np.array(
        [_stands(record.get(name, ()), text) for record, text in zip(records, plain, strict=True)]
    )
    lift = np.full(len(plain), math.inf)
    if literal[said].mean() >= LITERAL_SHARE:
        lift[said & ~literal] = 0.0
        return lift
    values = Counter(_value(record, name) for record in records)
    few = {value for value, number in values.items() if number >= LEAST_ROWS}
    if 1 < len(few) <= MOST_VALUES and sum(values[value] for value in few) >= 0.9 * len(records):
        rows, learned = _learned(name, plain, records, few)
        lift[rows] = learned
        lift[said & literal] = math.inf
    return lift


def _learned(
    name: str, plain: Sequence[str], records: Sequence[Record], few: set[str]
) -> tuple[Ints, Floats]:
    """Rows whose value is among the few of a field, and its lift by the words of their text.

    That a text speaks of a field left out must be likelier than not: infinity where it is not.
    """
    values = [_value(record, name) for record in records]
    rows = np.array([row for row, value in enumerate(values) if value in few])
    labels = sorted(few)
    gold = np.array([labels.index(values[row]) for row in rows])
    texts = [_without_others(plain[row], records[row], name) for row in rows]
    groups = [repr(sorted(records[row].items())) for row in rows]
    own = _probabilities(texts, gold, groups, len(labels))[np.arange(len(gold)), gold]
    lift = own / (np.bincount(gold) / len(gold))[gold]
    left_out = np.array([not values[row] for row in rows])
    lift[left_out & (own > LEFT_OUT)] = math.inf
    return rows, lift


def _probabilities(
    texts: Sequence[str], gold: NDArray[np.int64], groups: Sequence[str], labels: int
) -> Floats:
    """Cross-validated probabilities, rows by labels; rows of a group are never in training and judged at once."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectoriser = TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, min_df=2, token_pattern=r"\S+")
    found = vectoriser.fit_transform(texts)
    number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    fold = np.array([number[group] % FOLDS for group in groups])
    result = np.full((len(gold), labels), 1e-6)
    for each in range(FOLDS):
        train, held = np.flatnonzero(fold != each), np.flatnonzero(fold == each)
        if len(held) and len(set(gold[train].tolist())) > 1:
            model = LogisticRegression(C=3, max_iter=300).fit(found[train], gold[train])
            result[np.ix_(held, model.classes_)] = model.predict_proba(found[held])
    return result


def _value(record: Record, name: str) -> str:
    """A field's values as one text, the order aside; "" where it is absent."""
    return " | ".join(sorted(record.get(name, ())))


def _stands(values: Sequence[str], text: str) -> bool:
    """Whether all values stand in a normalised text with a space at both ends."""
    return all(f" {normalise(value)} " in text for value in values)


def _without_others(text: str, record: Record, name: str) -> str:
    """The text without the values of the record's other fields, so that only words about this one are left."""
    for other, values in record.items():
        for value in values if other != name else ():
            plain = normalise(value)
            if len(plain) > 3:
                text = text.replace(f" {plain} ", " _ ")
    return text
