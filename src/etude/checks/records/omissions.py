"""Fields that a text states and its record leaves out.

Whether a record states a field is learned from the other rows (cross-validated logistic regression; rows of one
record on one side) by the words of the text, and by whether values that other records give the field stand in the
text where no other field of this record has taken them. A field is left out where that makes it likely that a text
like this one states it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etude.checks.records.parsing import FOLDS, LEAST_STATED, Record, folds_of, without_others, words_by_rows
from etude.text.normal_forms import normalise

LIKELY = 0.9
"""Probability that the text states a field from which its absence is told. Chosen on cleaned_test.csv of e2e_nlg and
on every second row of snips_intents."""
LONGEST = 8
"""Words of a value up to which it is looked for in other texts."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Omission:
    """A field that is left out of one row's record."""

    row: int
    field: str
    probability: float
    """That a text like this one states the field."""
    words: str
    """The normalised words of the text that speak for the field most."""


def omissions(texts: Sequence[str], records: Sequence[Record]) -> list[Omission]:
    """Fields left out, the surest first. `texts` are normalised, with a space at both ends."""
    stated = Counter(name for record in records for name in record)
    fields = [name for name, number in stated.items() if LEAST_STATED <= number < len(records)]
    known = _known_values(texts, records, fields)
    folds = folds_of(records, texts)
    found = [one for name in fields for one in _left_out(name, texts, records, known, folds)]
    return sorted(found, key=lambda one: (-one.probability, one.row))


def _left_out(
    name: str, texts: Sequence[str], records: Sequence[Record], known: _Known, folds: Ints
) -> Iterator[Omission]:
    """Rows that leave out one field."""
    from scipy.sparse import hstack
    from sklearn.linear_model import LogisticRegression

    said = np.array([name in record for record in records])
    about = [without_others(text, record, name) for text, record in zip(texts, records, strict=True)]
    words, names = words_by_rows(about)
    features = hstack([words, known.shares]).tocsr()
    for fold in range(FOLDS):
        train, held = np.flatnonzero(folds != fold), np.flatnonzero((folds == fold) & ~said)
        if not len(held) or len(set(said[train].tolist())) < 2:
            continue
        model = LogisticRegression(C=3, solver="liblinear", random_state=0).fit(features[train], said[train])
        likely = model.predict_proba(features[held])[:, 1]
        for place in np.flatnonzero((likely >= LIKELY) & (likely > said[train].mean())).tolist():
            row = int(held[place])
            spoken = known.values.get((row, name)) or _speaking(words[row], model.coef_[0], names)
            yield Omission(row, name, float(likely[place]), spoken)


def _speaking(cells: Any, weights: Floats, names: Sequence[str]) -> str:
    """The words of one row that speak for a field most."""
    weight = cells.data * weights[cells.indices]
    return str(names[cells.indices[int(weight.argmax())]]) if len(weight) else ""


class _Known(NamedTuple):
    """Values that other records give to a field and that stand in a text."""

    shares: Any
    """Rows by fields: how often such a value, where it stands in a text, is given to the field."""
    values: Mapping[tuple[int, str], str]
    """(row, field) -> that value."""


def _known_values(texts: Sequence[str], records: Sequence[Record], fields: Sequence[str]) -> _Known:
    """A row itself does not count, nor does what stands in a value that its record gives to another field."""
    from scipy.sparse import csr_matrix

    plain = [_normalised(record, fields) for record in records]
    given = _given(plain)
    found = list(_standing(texts, plain, given))
    standing = Counter(value for values in found for value in values)
    shares = np.zeros((len(texts), len(fields)), dtype=np.float32)
    best: dict[tuple[int, str], str] = {}
    for row, (record, values) in enumerate(zip(plain, found, strict=True)):
        for value in sorted(values):  # of equals the first is named
            for name, number in given[value].items():
                column, others = fields.index(name), number - (value in record.get(name, ()))
                share = others / standing[value]
                if share > shares[row, column] and not _taken(value, name, record):
                    shares[row, column], best[row, name] = share, value
    return _Known(csr_matrix(shares), best)


def _normalised(record: Record, fields: Sequence[str]) -> dict[str, set[str]]:
    return {name: {normalise(value) for value in record[name]} - {""} for name in fields if name in record}


def _given(records: Sequence[Mapping[str, set[str]]]) -> Mapping[str, Counter[str]]:
    """Value -> field -> records that give it."""
    given: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for name, values in record.items():
            for value in values:
                given[value][name] += 1
    return given


def _standing(
    texts: Sequence[str], records: Sequence[Mapping[str, set[str]]], given: Mapping[str, Counter[str]]
) -> Iterator[set[str]]:
    """Of each row the given values that stand in its text, but for parts of a longer value of its record."""
    lengths: dict[str, set[int]] = defaultdict(set)
    for value in given:
        words = value.split()
        if len(words) <= LONGEST:
            lengths[words[0]].add(len(words))
    for text, record in zip(texts, records, strict=True):
        words = text.split()
        runs = {
            " ".join(words[place : place + length])
            for place, word in enumerate(words)
            for length in lengths.get(word, ())
        }
        said = {value for values in record.values() for value in values}
        yield {
            run
            for run in runs
            if run in given and not any(run != value and _in(run, value) for value in said)
        }


def _taken(value: str, name: str, record: Mapping[str, set[str]]) -> bool:
    """Whether a value stands in one that the record gives to another field."""
    return any(_in(value, said) for other, values in record.items() if other != name for said in values)


def _in(value: str, text: str) -> bool:
    return f" {value} " in f" {text} "
