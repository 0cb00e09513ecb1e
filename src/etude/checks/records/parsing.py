"""Texts that are records: JSON objects, lines `name: value`, or pairs `name[value]`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etude.base.files import parse_json

Record = Mapping[
    str, tuple[str, ...]
]  # field -> its values as texts; a field without a value is absent
NEARLY_ALL = 0.95  # share of texts that must be records for the set to count as records
MAX_DEPTH = 3  # levels of a JSON object that are read
_PAIRS = re.compile(r"\s*([^\[\],]{1,40})\[([^\[\]]{0,400})\]\s*(?:,|;|\Z)")
_LINE = re.compile(r"([^\W\d_][^:\n]{0,39}):[ \t]*(.*)")


def parse_record(text: str) -> Record | None:
    """Parse a text as a record; None if it is not a record."""
    is_json = text.lstrip()[:1] == "{"
    pairs: list[tuple[str, str]] | None
    if is_json:
        try:
            value = parse_json(text)
        except ValueError:
            return None
        pairs = list(_list_leaves("", value, MAX_DEPTH)) if isinstance(value, dict) else None
    elif "[" in text and text.rstrip().endswith("]"):
        pairs = _parse_bracket_pairs(text)
    else:
        pairs = _parse_lines(text)
    if pairs is None:
        return None
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    record = {name: tuple(texts) for name, texts in values.items()}
    return record if record or is_json else None


def parse_records(texts: Sequence[str]) -> list[Record | None] | None:
    """Parse texts as records; None if fewer than `NEARLY_ALL` are records.

    If most are JSON, only JSON objects are records: words before an object are not a field.
    """
    records = [parse_record(text) for text in texts[:50]]
    if sum(record is not None for record in records) < 0.8 * len(records):
        return None
    records += [parse_record(text) for text in texts[50:]]
    if sum(record is not None for record in records) < NEARLY_ALL * len(texts):
        return None
    are_json = [text.lstrip()[:1] == "{" for text in texts]
    if sum(are_json) <= len(texts) / 2:
        return records
    return [record if is_json else None for record, is_json in zip(records, are_json, strict=True)]


def _list_leaves(path: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every value except null and values deeper than `depth`."""
    if isinstance(value, dict) and depth:
        for name, item in value.items():
            yield from _list_leaves(f"{path}.{name}" if path else str(name), item, depth - 1)
    elif isinstance(value, list) and depth:
        for item in value:
            yield from _list_leaves(path, item, depth - 1)
    elif isinstance(value, bool):
        yield path, "true" if value else "false"
    elif isinstance(value, str | int | float) and str(value).strip():
        yield path, str(value).strip()


def _parse_bracket_pairs(text: str) -> list[tuple[str, str]] | None:
    pairs = []
    position = 0
    while position < len(text):
        match = _PAIRS.match(text, position)
        if match is None:
            return None
        if match[2].strip():
            pairs.append((match[1].strip(), match[2].strip()))
        position = match.end()
    return pairs


def _parse_lines(text: str) -> list[tuple[str, str]] | None:
    """Parse lines `name: value`. None if a name returns after another one: such lines are turns of
    a conversation.
    """
    pairs: list[tuple[str, str]] = []
    names = set()
    last = ""
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None or (match[1] != last and match[1] in names):
            return None
        last = match[1]
        if match[2].strip():
            names.add(last)
            pairs.append((last, match[2].strip()))
    return pairs
