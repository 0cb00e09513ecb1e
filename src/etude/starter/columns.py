"""Which columns mean what: by their names first, then by what they hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from etude.errors import InputError
from etude.formats import guess_columns
from etude.task import RowSource

_GROUP_NAME = re.compile(
    r"(customer|user|client|account|patient|author|ticket|thread|conversation|session|dialog(ue)?|case|group)"
    r"([ _-]?(id|no|nr|number|key|name))?",
    re.IGNORECASE,
)
_ID_NAMES = {"id", "uuid", "guid", "key", "row_id", "example_id"}
_SPLIT_NAME = re.compile(r"(.*[ _-])?(split|fold|subset|partition)", re.IGNORECASE)


@dataclass(frozen=True)
class _Column:
    """What a column holds, as far as guessing needs it. Values are the non-empty ones, as texts."""

    name: str
    values: tuple[str, ...]
    rows: int
    """Rows of the file."""

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.values)

    @cached_property
    def words(self) -> float:
        """Mean number of words."""
        return sum(len(value.split()) for value in self.values) / max(len(self.values), 1)

    @property
    def is_headed_by_a_value(self) -> bool:
        """Whether the name is rather a value: the file has no line of names, and rows are not guessed."""
        return len(self.name.split()) > 4 or self.name in self.counts

    @property
    def is_text(self) -> bool:
        full = len(self.values) >= 0.9 * self.rows
        return full and self.words >= 3 and len(self.counts) > 0.3 * len(self.values)

    @property
    def is_label(self) -> bool:
        few = 2 <= len(self.counts) <= len(self.values) / 4
        named = _SPLIT_NAME.fullmatch(self.name) or _GROUP_NAME.fullmatch(self.name)
        return few and not named and self.words <= 4 and len(self.values) >= 0.9 * self.rows

    @property
    def is_group(self) -> bool:
        """Named like a person or a thread, values repeated, and none so often that it cannot be split."""
        repeated = 20 <= len(self.counts) < len(self.values)
        return bool(_GROUP_NAME.fullmatch(self.name)) and repeated and self.largest <= 0.1

    @property
    def largest(self) -> float:
        """Share of the most frequent value among all rows."""
        return max(self.counts.values(), default=0) / self.rows

    @property
    def is_tag(self) -> bool:
        return self.is_label and len(self.counts) <= 20

    @property
    def is_id(self) -> bool:
        return self.name.casefold() in _ID_NAMES and len(self.counts) == len(self.values) == self.rows


def _profile(cells: Sequence[Mapping[str, Any]]) -> dict[str, _Column]:
    names = dict.fromkeys(name for row in cells for name in row)
    return {name: _Column(name, tuple(_column_values(cells, name)), len(cells)) for name in names}


def _column_values(cells: Sequence[Mapping[str, Any]], name: str) -> Iterator[str]:
    for row in cells:
        value = row.get(name)
        if isinstance(value, str | int | float) and str(value).strip():
            yield str(value).strip()


def guess_roles(path: Path, cells: Sequence[Mapping[str, Any]]) -> tuple[RowSource, dict[str, str]]:
    """The columns, and for each role what it was guessed from."""
    profile = _profile(cells)
    source, why = _guess_input_and_output(path, cells, profile)
    reasons = {"columns": why}
    taken = {*source.input, source.output, source.messages, source.system, source.id, source.group}
    free = [column for name, column in profile.items() if name not in taken and name not in source.tags]
    for role, found, reason in _guess_extras(source, free):
        source = replace(source, **{role: found})
        reasons[role] = reason
    return source, reasons


def _guess_input_and_output(
    path: Path, cells: Sequence[Mapping[str, Any]], profile: Mapping[str, _Column]
) -> tuple[RowSource, str]:
    texts = sorted((c for c in profile.values() if c.is_text), key=lambda column: -column.words)
    labels = sorted((c for c in profile.values() if c.is_label), key=lambda column: -len(column.counts))
    by_name = [RowSource(path)]
    by_name += [RowSource(path, input=(column.name,)) for column in texts]
    by_name += [RowSource(path, output=column.name) for column in (*labels, *texts)]
    for source in by_name:
        try:
            return guess_columns(cells, source).source, "the names of the columns"
        except InputError as error:
            unknown = error
        if any(column.is_headed_by_a_value for column in profile.values()):
            raise unknown
    if len(texts) >= 2:
        return _pair_of_texts(path, texts, list(profile))
    if texts and labels:
        source = RowSource(path, input=(texts[0].name,), output=labels[0].name)
        return source, f"what they hold: long texts, and {len(labels[0].counts)} values that repeat"
    raise unknown


def _pair_of_texts(path: Path, texts: Sequence[_Column], order: Sequence[str]) -> tuple[RowSource, str]:
    """The longer of two texts is the input; of equally long ones, the first of the file."""
    longer, shorter = texts[0], texts[1]
    if longer.words > 1.5 * shorter.words:
        why = f"their length: {longer.words:.0f} and {shorter.words:.0f} words on average. Swap them if wrong"
        return RowSource(path, input=(longer.name,), output=shorter.name), why
    first, second = sorted((longer.name, shorter.name), key=order.index)
    return RowSource(path, input=(first,), output=second), "their order in the file. Swap them if wrong"


def _guess_extras(source: RowSource, free: Sequence[_Column]) -> Iterator[tuple[str, Any, str]]:
    """(role, column or columns, reason) for the roles that have no column yet."""
    ids = [column.name for column in free if column.is_id]
    if not source.id and ids:
        yield "id", ids[0], "its name, and no value repeats"
    groups = [column for column in free if column.is_group]
    if not source.group and groups:
        column = groups[0]
        yield "group", column.name, f"its name, and {len(column.counts)} values in {column.rows} rows"
    references = _further_outputs(source.output, free)
    if not source.references and references:
        yield "references", references, f"their names, which are that of {source.output} with other numbers"
    tags = tuple(column.name for column in free if column.is_tag and column not in groups)
    if not source.tags and tags:
        yield "tags", tags, "their few values, which repeat"


def _further_outputs(output: str | None, free: Sequence[_Column]) -> tuple[str, ...]:
    stem = re.sub(r"[ _-]?\d+$", "", output or "")
    same = re.compile(re.escape(stem) + r"[ _-]?\d+")
    return tuple(column.name for column in free if stem and same.fullmatch(column.name))
