"""Files of preferences: rows with a better and a worse answer, or with a thumb, and the side of the split on which each
stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from etude.base.remedies import raise_faults
from etude.data.formats import guess_columns, peek_rows, preference_columns, read_rows
from etude.data.formats.columns import is_thumbs_down, thumbs_column
from etude.data.splits import Split, input_key
from etude.errors import Fault, InputError, shown
from etude.task import RowSource
from etude.text.near_duplicates import near_matches
from etude.types import Example, Preference, Side

DEV_EVERY = 10
"""One in so many inputs that the split does not know stands in dev."""


def read_preferences(file: Path) -> list[Preference]:
    """The pairs of a file, without those whose two answers are the same: prompt, chosen and rejected as texts or chats,
    chosen and rejected as whole chats (also ShareGPT's), or OpenAI's input, preferred_output and non_preferred_output.
    Of KTO's rows (prompt, completion, label: true or false) each gives one side, and the other is "".

    Raises InputError with every row that cannot be read, and if there are no such columns.
    """
    head = peek_rows(file)
    names = list(dict.fromkeys(name for row in head for name in row))
    columns = preference_columns(names)
    if not columns:
        if found := _thumbs(file, head):
            return found
        what, remedy = "no columns of a better and a worse answer", "name them chosen and rejected"
        raise InputError([Fault(file.name, what, shown(", ".join(names)), remedy)])
    better = guess_columns(head, RowSource(file)).source
    chosen = read_rows(better).examples
    chats = better.messages == columns[0]
    worse = replace(better, messages=columns[1]) if chats else replace(better, output=columns[1])
    rejected = read_rows(worse).examples
    pairs = list(zip(chosen, rejected, strict=True))
    faults = [
        Fault(
            one.where,
            f"{columns[0]} and {columns[1]} ask different things",
            shown(other.text),
            "make them equal",
        )
        for one, other in pairs
        if one.input != other.input
    ]
    raise_faults(faults, file)
    return [
        Preference(one.id, one.input, one.output, other.output, where=one.where)
        for one, other in pairs
        if one.output != other.output
    ]


def _thumbs(file: Path, head: Sequence[Mapping[str, Any]]) -> list[Preference]:
    source = guess_columns(head, RowSource(file)).source
    column = thumbs_column(head, source)
    rows = read_rows(replace(source, tags=(column,))).examples if column else ()
    return [
        Preference(row.id, row.input, "", row.output, where=row.where)
        if is_thumbs_down(row.tags[str(column)])
        else Preference(row.id, row.input, row.output, "", where=row.where)
        for row in rows
    ]


def by_side(preferences: Sequence[Preference], split: Split) -> Mapping[Side, Sequence[Preference]]:
    """Preferences on the inputs of train and of dev, and of their near-duplicates; none on those of the test.

    Of the other inputs every tenth, by its hash, stands in dev.
    """
    found: dict[Side, list[Preference]] = {"train": [], "dev": [], "test": []}
    texts = [each.text for each in preferences]
    near: dict[int, Side] = {}
    sides: tuple[tuple[Side, Sequence[Example]], ...] = (
        ("train", split.train.examples),
        ("dev", split.dev.examples),
        ("test", split.test.examples),
    )
    for side, rows in sides:  # the last counts: what is near a test row is left out whatever else it is near
        near |= {place: side for place, *_ in near_matches(texts, [row.text for row in rows])}
    for place, each in enumerate(preferences):
        key = input_key(Example(each.id, each.input, ""))
        new: Side = "train" if int(key, 16) % DEV_EVERY else "dev"
        found[near.get(place) or split.assignments.get(key, new)].append(each)
    del found["test"]
    return found
