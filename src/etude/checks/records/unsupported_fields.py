"""Fields of records that their text does not support.

The text is the input of an extraction, or the answer that is written from a record. A value is
supported if it occurs in the text, word for word or as a number or date in another format. For a
field with few different values, a logistic regression on the other rows predicts the value from the
words of the text, without the values of other fields. It is cross-validated: rows with the same
text share a fold, and so do rows with the same record if there are many records. A value is
unsupported if the text makes it less likely than it is without any text.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etude.base.formatting import list_most_frequent
from etude.checks.excerpts import CharSpan, redact_label
from etude.checks.kinds import TEXTS, FindingKind, finds
from etude.checks.labels.classifiers import fit_vectoriser
from etude.checks.material import Material, format_rows
from etude.checks.records import numbers_dates
from etude.checks.records.parsing import Record, parse_records
from etude.privacy.mask.known_values import encode_json_string
from etude.text.normal_forms import normalise
from etude.types import Column, Excerpt, Finding

MAX_ROWS = 20_000  # maximum number of rows that are checked; larger sets are sampled evenly
# Share of the rows above which nothing is reported: the texts are not about their records.
MAX_UNSUPPORTED = 0.5
MAX_NAMES = 4  # fields in the message
# largest ratio of a value's probability with and without its text at which it is unsupported
MAX_LIFT = 1.0
# Share of a field's values that must be in their texts for the other values to count as
# unsupported.
VERBATIM_SHARE = 0.95
MAX_VALUES = 50  # maximum number of different values of a field that can be learned
MIN_VALUE_ROWS = 8  # rows with a value below which nothing is learned about it
MIN_FIELD_ROWS = 50  # rows with a field below which nothing is learned about it
MIN_RECORDS = 50  # different records that are needed to keep rows with the same record in one fold
FOLDS = 5
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RecordTexts:
    """The records of a task, each with its text."""

    rows: tuple[int, ...]
    """Positions in the material. Rows without a record are left out, because other findings report
    them.
    """
    sample: range
    """The rows that were checked."""
    records: tuple[Record, ...]
    texts: tuple[str, ...]
    plain: tuple[str, ...]
    """The texts normalised, with a space at both ends."""
    record_column: Column
    """The column of the records; the texts are the other column."""


@finds(
    FindingKind(
        "unsupported", "warning", "fields of a record that its text does not support, ranked"
    ),
    tasks=TEXTS,
)
def check_unsupported(material: Material) -> Iterator[Finding]:
    """Find the fields of records that their texts do not support."""
    pairs = _read_records(material)
    if pairs is None:
        return
    unsupported = find_unsupported(pairs.texts, pairs.plain, pairs.records)
    if not 0 < len(unsupported) <= MAX_UNSUPPORTED * len(pairs.rows):
        return
    names = list_most_frequent(Counter(name for _, name in unsupported), MAX_NAMES)
    sampled = f" (one row in {pairs.sample.step} was checked)" if pairs.sample.step > 1 else ""
    text = "text" if pairs.record_column == "output" else "answer"
    yield material.finding(
        "unsupported",
        "warning",
        [pairs.rows[index] for index, _ in unsupported],
        redact_label(
            f"{format_rows('have', len(unsupported), len(pairs.sample))} a field that the {text} "
            f"does not support{sampled}: {names}."
        ),
        "Correct or remove the field that is listed with each row. The least supported fields "
        "come first.",
        subjects=[redact_label(name) for _, name in unsupported],
        excerpts=_show_fields(material, pairs, unsupported[:10]),
        numbers={"rows": len(unsupported), "of": len(pairs.sample)},
    )


def _read_records(material: Material) -> RecordTexts | None:
    column: Column = "output" if material.task.kind == "extract" else "input"
    sample = range(0, len(material.rows), -(-len(material.rows) // MAX_ROWS))
    sources = material.inputs
    texts = material.outputs
    if column == "output":
        sources, texts = texts, sources
    records = parse_records([sources[row] for row in sample]) or []
    pairs = [
        (row, record) for row, record in zip(sample, records, strict=False) if record is not None
    ]
    if len(pairs) < MIN_FIELD_ROWS:
        return None
    rows, parsed = zip(*pairs, strict=True)
    chosen = tuple(texts[row] for row in rows)
    plain = tuple(f" {normalise(text)} " for text in chosen)
    return RecordTexts(rows, sample, parsed, chosen, plain, column)


def _show_fields(
    material: Material, pairs: RecordTexts, fields: Sequence[tuple[int, str]]
) -> Iterator[Excerpt]:
    """Yield excerpts of both columns of each row. The record's values are marked, or the name of
    their field.
    """
    in_output = pairs.record_column == "output"
    for index, path in fields:
        row = pairs.rows[index]
        text = (material.outputs if in_output else material.inputs)[row]
        name = path.rpartition(".")[2]
        spans = _find_field_values(text, name, pairs.records[index].get(path, ()))
        match = re.search(re.escape(name), text, re.IGNORECASE) if name and not spans else None
        spans = [match.span()] if match else spans
        yield material.show_input(row, () if in_output else spans)
        yield material.show_output(row, spans if in_output else ())


def _find_field_values(text: str, name: str, values: Sequence[str]) -> list[CharSpan]:
    """Find the values of a field after its name, in their order; a value in another format is left
    out.
    """
    field = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    spans: list[CharSpan] = []
    position = 0
    for value in values:
        start = field.search(text, position)
        spellings = {value, encode_json_string(value, True), encode_json_string(value, False)}
        pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, spellings))})(?!\w)")
        match = pattern.search(text, start.end() if start else position)
        if match:
            spans.append(match.span())
            position = match.end()
    return spans


class _Texts:
    """Texts of records; their numbers and dates are read when they are needed."""

    def __init__(self, texts: Sequence[str], plain: Sequence[str]) -> None:
        self.texts = texts
        self.plain = plain
        self._values: dict[int, frozenset[numbers_dates.Value]] = {}

    def contain(self, row: int, values: Sequence[str]) -> bool:
        """Whether all values occur in the text of a row."""
        for text in values:
            if f" {normalise(text)} " in self.plain[row]:
                continue
            value = numbers_dates.parse_value(text)
            if value and row not in self._values:
                self._values[row] = numbers_dates.find_values(self.texts[row])
            if not value or not numbers_dates.contains_value(value, self._values[row]):
                return False
        return True


def find_unsupported(
    texts: Sequence[str], plain: Sequence[str], records: Sequence[Record]
) -> list[tuple[int, str]]:
    """Return (row, its least supported field) for the rows with an unsupported field, the least
    supported first.

    Fields that few rows have are not judged. `plain` are the normalised texts, with a space at both
    ends.
    """
    counts = Counter(name for record in records for name in record)
    sources = _Texts(texts, plain)
    lifts = {
        name: lift
        for name, number in counts.items()
        if number >= MIN_FIELD_ROWS and (lift := _compute_lift(name, sources, records)) is not None
    }
    if not lifts:
        return []
    names = list(lifts)
    lift = np.stack([*lifts.values()], axis=1)
    lowest = lift.min(axis=1)
    ranked = np.argsort(lowest, kind="stable")[: int((lowest <= MAX_LIFT).sum())]
    return [(int(row), names[int(lift[row].argmin())]) for row in ranked]


def _compute_lift(name: str, texts: _Texts, records: Sequence[Record]) -> Floats | None:
    """Compute for every row how much likelier the text makes the field's value, as a ratio; None if
    not judged.
    """
    has_field = np.array([name in record for record in records])
    in_text = np.array(
        [texts.contain(row, record.get(name, ())) for row, record in enumerate(records)]
    )
    lift = np.full(len(records), math.inf)
    # If nearly all values of a field are quoted from the text, the other values are unsupported.
    if float(in_text[has_field].mean()) >= VERBATIM_SHARE:
        lift[has_field & ~in_text] = 0.0
        return lift
    # A field whose values are not quoted can be learned only if it has few different values.
    values = [" | ".join(sorted(record.get(name, ()))) for record in records]  # "" if it is absent
    counts = Counter(values)
    classes = sorted(value for value, number in counts.items() if number >= MIN_VALUE_ROWS)
    if 1 < len(classes) <= MAX_VALUES and sum(counts[value] for value in classes) >= 0.9 * len(
        records
    ):
        # By the words of their text; absence is one of the classes.
        rows = np.array([row for row, value in enumerate(values) if value in classes])
        gold = np.array([classes.index(values[row]) for row in rows])
        own_texts = [_remove_other_fields(texts.plain[row], records[row], name) for row in rows]
        folds = _split_folds([records[row] for row in rows], [texts.plain[row] for row in rows])
        probabilities = _cross_validate(own_texts, gold, folds, len(classes))[
            np.arange(len(gold)), gold
        ]
        lift[rows] = probabilities / (np.bincount(gold) / len(gold))[gold]
        lift[in_text | ~has_field] = math.inf
        return lift
    return None


def _remove_other_fields(text: str, record: Record, name: str) -> str:
    """Remove the values of a record's other fields from a normalised text, so that its words are
    about this field.

    Values of up to three characters stay, because such words often occur with another meaning.
    """
    for other, values in record.items():
        for value in values if other != name else ():
            plain = normalise(value)
            if len(plain) > 3:
                text = text.replace(f" {plain} ", " _ ")
    return text


def _split_folds(records: Sequence[Record], texts: Sequence[str]) -> Ints:
    """Return the fold in which each row is predicted. Rows with the same text share a fold.

    If there are enough different records, rows with the same record also share a fold, so that an
    error that is copied with a record does not support itself.
    """
    names = [
        repr(sorted(record.items())) if record else text
        for record, text in zip(records, texts, strict=True)
    ]
    keys = names if len(set(names)) >= MIN_RECORDS else texts
    distinct = sorted(set(keys))  # so that the folds do not depend on the order of the rows
    numbers = np.random.default_rng(0).permutation(len(distinct)) % FOLDS
    folds = dict(zip(distinct, numbers.tolist(), strict=True))
    return np.array([folds[key] for key in keys])


def _cross_validate(texts: Sequence[str], gold: Ints, folds: Ints, num_classes: int) -> Floats:
    """Predict probabilities, rows by classes, by TF-IDF of 1 to 3 words; infinite if other folds
    are too small.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectoriser = TfidfVectorizer(
        ngram_range=(1, 3), sublinear_tf=True, min_df=2, token_pattern=r"\S+"
    )
    words = fit_vectoriser(vectoriser, texts)
    words = csr_matrix(np.zeros((len(texts), 1))) if words is None else words
    result = np.full((len(gold), num_classes), np.inf)
    for fold in range(FOLDS):
        train = np.flatnonzero(folds != fold)
        test = np.flatnonzero(folds == fold)
        if len(test) and len(set(gold[train].tolist())) > 1:
            model = LogisticRegression(C=3, max_iter=300).fit(words[train], gold[train])
            result[np.ix_(test, model.classes_)] = model.predict_proba(words[test])
    return result
