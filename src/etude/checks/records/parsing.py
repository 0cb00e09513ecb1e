"""Texts that are records: JSON objects, lines `name: value`, or pairs `name[value]`.

And what is needed to learn from other rows what a text says about a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.base.files import parse_json
from etude.checks.labels.terms import terms_by_rows
from etude.text.normal_forms import normalise

Record = Mapping[str, tuple[str, ...]]
"""Field -> its values as texts; a field without a value is absent."""
NEARLY_ALL = 0.95
"""Share of texts that are records from which they are taken to be meant as such."""
MOST_DEPTH = 3
"""Levels of a JSON object that are looked into."""
LEAST_STATED = 50
"""Rows that state a field, below which nothing is learned about it."""
FOLDS = 5
"""Parts of the rows, each judged by what the others tell."""
MANY_RECORDS = 50
"""Different records from which the values of a field stand in enough of them to be learned without one."""
_PAIRS = re.compile(r"\s*([^\[\],]{1,40})\[([^\[\]]{0,400})\]\s*(?:,|;|\Z)")
_LINE = re.compile(r"([^\W\d_][^:\n]{0,39}):[ \t]*(.*)")


def as_record(text: str) -> Record | None:
    """The record that a text is, None where it is none."""
    start = text.lstrip()[:1]
    if start == "{":
        return _of_json(text)
    return _of_pairs(text) if "[" in text and text.rstrip().endswith("]") else _of_lines(text)


def all_records(texts: Sequence[str]) -> list[Record | None] | None:
    """The records that texts are; None where fewer than `NEARLY_ALL` are such.

    Where most are JSON, another text is none: words before an object are no field.
    """
    head = [as_record(text) for text in texts[:50]]
    if sum(record is not None for record in head) < 0.8 * len(head):
        return None
    found = head + [as_record(text) for text in texts[50:]]
    if sum(record is not None for record in found) < NEARLY_ALL * len(texts):
        return None
    are_json = [text.lstrip()[:1] == "{" for text in texts]
    if sum(are_json) <= len(texts) / 2:
        return found
    return [record if is_json else None for record, is_json in zip(found, are_json, strict=True)]


def _of_json(text: str) -> Record | None:
    try:
        value = parse_json(text)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    found: dict[str, list[str]] = {}
    for name, item in _leaves("", value, MOST_DEPTH):
        found.setdefault(name, []).append(item)
    return _whole(found)


def _whole(found: Mapping[str, Sequence[str]]) -> Record:
    return {name: tuple(values) for name, values in found.items()}


def _leaves(path: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """(path, text) of every value; what lies deeper than `depth` and null is left out."""
    if isinstance(value, dict) and depth:
        for name, item in value.items():
            yield from _leaves(f"{path}.{name}" if path else str(name), item, depth - 1)
    elif isinstance(value, list) and depth:
        for item in value:
            yield from _leaves(path, item, depth - 1)
    elif isinstance(value, bool):
        yield path, "true" if value else "false"
    elif isinstance(value, str | int | float) and str(value).strip():
        yield path, str(value).strip()


def _of_pairs(text: str) -> Record | None:
    found: dict[str, list[str]] = {}
    place = 0
    while place < len(text):
        match = _PAIRS.match(text, place)
        if match is None:
            return None
        if match[2].strip():
            found.setdefault(match[1].strip(), []).append(match[2].strip())
        place = match.end()
    return _whole(found) or None


def _of_lines(text: str) -> Record | None:
    """Names that come again after others are the turns of a conversation and no record."""
    found: dict[str, list[str]] = {}
    last = ""
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None or (match[1] != last and match[1] in found):
            return None
        last = match[1]
        if match[2].strip():
            found.setdefault(match[1], []).append(match[2].strip())
    return _whole(found) or None


def without_others(text: str, record: Record, name: str) -> str:
    """A normalised text without the values of the record's other fields: only words about this one are left.

    Both have a space at their ends. Values of up to three characters stay: they stand in too many words' places.
    """
    for other, values in record.items():
        for value in values if other != name else ():
            plain = normalise(value)
            if len(plain) > 3:
                text = text.replace(f" {plain} ", " _ ")
    return text


def folds_of(records: Sequence[Record], texts: Sequence[str]) -> NDArray[np.int64]:
    """The fold in which each row is judged. Rows of one text share it; and rows of one record, so that a slip in a
    record that several texts were written for does not speak for itself, where the records are so many that every
    fold is learned without.
    """
    named = [
        repr(sorted(record.items())) if record else text for record, text in zip(records, texts, strict=True)
    ]
    keys = named if len(set(named)) >= MANY_RECORDS else texts
    distinct = sorted(set(keys))  # whatever the order of the rows
    dealt = np.random.default_rng(0).permutation(len(distinct)) % FOLDS
    fold = dict(zip(distinct, dealt.tolist(), strict=True))
    return np.array([fold[key] for key in keys])


def words_by_rows(texts: Sequence[str]) -> Any:
    """Rows by features of normalised texts: TF-IDF of one to three words."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, min_df=2, token_pattern=r"\S+")
    found = terms_by_rows(vectoriser, texts)
    return csr_matrix(np.zeros((len(texts), 1))) if found is None else found
