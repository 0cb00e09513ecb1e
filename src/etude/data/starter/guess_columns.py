"""Which columns mean what: by their names first, then by what they hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import lt
from pathlib import Path
from typing import Any

from etude.data.formats import guess_columns, preference_columns
from etude.data.formats.column_names import Side, names_of, side_of
from etude.data.formats.columns import thumbs_column
from etude.data.formats.turns import written_turns
from etude.errors import InputError
from etude.task import RowSource

_GROUP_WORDS, _ID_WORDS = frozenset(names_of("groups")), frozenset(names_of("ids"))
_ID_VALUE = re.compile(r"[A-Za-z]{1,8}[-_#/]?\d{2,}|[\da-fA-F-]{32,36}|\S+@\S+\.\w+")
_ID_NAMES = {"id", "uuid", "guid", "key", "row_id", "example_id"}
_SPLIT_NAME = re.compile(r"(.*[ _-])?(split|fold|subset|partition)", re.IGNORECASE)
_BY_NAME = "the names of the columns"
_BY_WORDS = "the words in the names of the columns. Swap them if wrong"
_BY_QUESTIONS = "what they hold: questions are the input. Swap them if wrong"
_BY_ORDER = "their order in the file. Swap them if wrong"
_SIDES = ("asked", None, "answered")
"""What the name of a column says of its texts; the likeliest input first."""
_OF_ROWS = 0.9
"""Different values as a share of the rows beyond which ids are rather those of the rows, some of them copied."""
_FEWEST_GROUPS = 20
"""With fewer groups a split has nothing to choose from."""


@dataclass(frozen=True)
class Roles:
    """The columns as guessed."""

    source: RowSource
    reasons: Mapping[str, str]
    """Role -> what it was guessed from."""


def _name_words(name: str) -> list[str]:
    """The words of a name in their order: `Cust-ID`, `custId` and `custid` are cust and id."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [part for word in re.split(r"[\W_]+", parted.casefold()) if word for part in _unglued(word)]


def _unglued(word: str) -> tuple[str, ...]:
    stem = word.removesuffix("id")
    return (stem, "id") if stem != word and stem in _GROUP_WORDS else (word,)


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

    @cached_property
    def _said(self) -> tuple[Side | None, bool]:
        return side_of(self.name) or (None, False)

    @property
    def side(self) -> Side | None:
        """What the name says of texts: that they are asked, or answered."""
        return self._said[0]

    @property
    def is_named_so(self) -> bool:
        """Whether it says it by a noun, such as question or reply, and not by who wrote them."""
        return self._said[1]

    @property
    def asks(self) -> bool:
        """Whether half of the values end as questions do."""
        return sum(value[-1] in "?？؟" for value in self.values) >= 0.5 * len(self.values)

    @property
    def counts_rows(self) -> bool:
        """Whether the values are whole numbers of which each is higher than the one before."""
        numbers = [int(value) for value in self.values if value.isascii() and value.isdecimal()]
        return 0 < len(numbers) == len(self.values) and all(map(lt, numbers, numbers[1:]))

    @property
    def is_label(self) -> bool:
        """Whether short values repeat, in nearly all rows."""
        few = 2 <= len(self.counts) <= len(self.values) / 4
        named = _SPLIT_NAME.fullmatch(self.name) or self.is_named_as_group
        return few and not named and self.words <= 4 and len(self.values) >= 0.9 * self.rows

    @property
    def is_named_as_group(self) -> bool:
        """Whether the name says a person or a thread, and nothing besides: `customer`, not `customer age`."""
        words = set(_name_words(self.name))
        return bool(words & _GROUP_WORDS) and words <= _GROUP_WORDS | _ID_WORDS

    @cached_property
    def looks_like_ids(self) -> bool:
        """By the end of the name, or by nine values in ten."""
        named = bool(_ID_WORDS.intersection(_name_words(self.name)[-1:]))
        found = sum(bool(_ID_VALUE.fullmatch(value)) for value in self.values)
        return named or found >= 0.9 * len(self.values)

    @property
    def may_be_group(self) -> bool:
        """Whether values repeat, and rows of one value can be kept on one side of a split."""
        repeated = _FEWEST_GROUPS <= len(self.counts) < len(self.values)
        ids = self.looks_like_ids and len(self.counts) <= _OF_ROWS * len(self.values)
        return repeated and (self.is_named_as_group or ids) and not self.is_text

    @property
    def is_group(self) -> bool:
        """Whether a group is certain enough to be set: by its name, short values, none of them everywhere."""
        return self.may_be_group and self.is_named_as_group and self.words <= 4 and self.largest <= 0.1

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
    for worse in preference_columns(names)[1:]:
        del names[worse]
    return {name: _Column(name, tuple(_column_values(cells, name)), len(cells)) for name in names}


def _column_values(cells: Sequence[Mapping[str, Any]], name: str) -> Iterator[str]:
    for row in cells:
        value = row.get(name)
        if isinstance(value, str | int | float) and str(value).strip():
            yield str(value).strip()


def guess_roles(path: Path, cells: Sequence[Mapping[str, Any]]) -> Roles:
    """The columns, and for each role what it was guessed from. Raises InputError where they stay unknown."""
    profile = _profile(cells)
    source, why = _guess_input_and_output(path, cells, profile)
    reasons = {"columns": why}
    taken = {*source.input, source.output, source.messages, source.system, source.id, source.group}
    taken.add(thumbs_column(cells, source))
    free = [column for name, column in profile.items() if name not in taken and name not in source.tags]
    groups = [] if source.group else _groups(cells, source, free)
    for role, found, reason in _guess_extras(source, free, groups):
        source = replace(source, **{role: found})
        reasons[role] = reason
    return Roles(source, reasons)


def _groups(cells: Sequence[Mapping[str, Any]], source: RowSource, free: Sequence[_Column]) -> list[_Column]:
    """Columns that may be the group, the best first: certain ones, then those of the fewest values, whose
    groups are the largest. One that follows the answers is none: it would put a label on one side."""
    found = [column for column in free if column.may_be_group and not _follows_answer(cells, source, column)]
    return sorted(found, key=lambda column: (not column.is_group, len(column.counts)))


def _follows_answer(cells: Sequence[Mapping[str, Any]], source: RowSource, column: _Column) -> bool:
    """Whether each answer has one value of the column, for answers that repeat or are one with the values."""
    answers = [_answer(row, source) for row in cells]
    pairs = {(answer, str(row.get(column.name)).strip()) for answer, row in zip(answers, cells, strict=True)}
    kinds = len(set(answers))
    return len(pairs) == kinds and (kinds <= len(answers) / 4 or kinds == len({value for _, value in pairs}))


def _answer(row: Mapping[str, Any], source: RowSource) -> str:
    value = written_turns(row.get(source.messages or source.output or ""))
    return str(value[-1] if source.messages and isinstance(value, list) and value else value).strip()


def _guess_input_and_output(
    path: Path, cells: Sequence[Mapping[str, Any]], profile: Mapping[str, _Column]
) -> tuple[RowSource, str]:
    texts = sorted((c for c in profile.values() if c.is_text), key=lambda column: -column.words)
    labels = [column for column in profile.values() if column.is_label]
    labels.sort(key=lambda column: (column.looks_like_ids, -len(column.counts)))
    by_name = [(RowSource(path), _BY_NAME)]
    if any(text.side == "asked" for text in texts) and any(text.side == "answered" for text in texts):
        by_name.append(_pair_of_texts(path, texts, list(profile)))
    inputs = sorted(texts, key=lambda text: _SIDES.index(text.side))
    by_name += [(RowSource(path, input=(column.name,)), _BY_NAME) for column in inputs]
    by_name += [(RowSource(path, output=column.name), _by_values(column)) for column in labels]
    for source, why in by_name:
        try:
            return guess_columns(cells, source, by_order=False).source, why
        except InputError as error:
            unknown = error
        if any(column.is_headed_by_a_value for column in profile.values()):
            raise unknown
    if len(texts) >= 2:
        source, why = _pair_of_texts(path, texts, list(profile))
        return guess_columns(cells, source).source, why
    if texts and labels:
        source = RowSource(path, input=(texts[0].name,), output=labels[0].name)
        return source, f"what they hold: long texts, and {len(labels[0].counts):,} values that repeat"
    unnumbered = [name for name, column in profile.items() if name and not column.counts_rows]
    if len(unnumbered) == 2:
        first, second = unnumbered
        return guess_columns(cells, RowSource(path, input=(first,), output=second)).source, _BY_ORDER
    raise unknown


def _by_values(label: _Column) -> str:
    return f"the name of the input, and {len(label.counts):,} values that repeat"


def _pair_of_texts(path: Path, texts: Sequence[_Column], order: Sequence[str]) -> tuple[RowSource, str]:
    """Two texts: the sides that their names say, best by a noun, the longest of each; else the two longest, of which
    the one of questions is the input, or the first of the file. Longer texts may be either: summaries are shorter than
    what they sum up, and replies longer than what was asked."""
    ranked = sorted(texts, key=lambda text: not text.is_named_so)
    asked = [text for text in ranked if text.side == "asked"]
    answered = [text for text in ranked if text.side == "answered"]
    if (asked and answered) or len(asked) + len(answered) == 1:
        others = [text for text in texts if text not in (*asked, *answered)]
        source = RowSource(path, input=((asked or others)[0].name,), output=(answered or others)[0].name)
        return source, _BY_WORDS
    first, second = sorted(texts[:2], key=lambda text: order.index(text.name))
    if second.asks and not first.asks:
        return RowSource(path, input=(second.name,), output=first.name), _BY_QUESTIONS
    return RowSource(path, input=(first.name,), output=second.name), _BY_ORDER


def _guess_extras(
    source: RowSource, free: Sequence[_Column], groups: Sequence[_Column]
) -> Iterator[tuple[str, Any, str]]:
    """(role, column or columns, reason) for the roles that have no column yet."""
    ids = [column.name for column in free if column.is_id]
    if not source.id and ids:
        yield "id", ids[0], "its name, and no value repeats"
    if groups and groups[0].is_group:
        column = groups[0]
        yield "group", column.name, f"its name, and {len(column.counts):,} values in {column.rows:,} rows"
    tags = tuple(column.name for column in free if column.is_tag and column not in groups)
    if not source.tags and tags:
        yield "tags", tags, "their few values, which repeat"
