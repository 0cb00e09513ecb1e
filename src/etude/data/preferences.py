"""Files of preferences: rows with a better and a worse answer, or with a thumb, and the side of the split on which each
stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from etude.data.formats import peek_rows, preference_columns
from etude.data.formats.pairs import THUMB, read_judged, read_pairs
from etude.data.splits import Split, input_key
from etude.text.near_duplicates import near_matches
from etude.types import Example, Preference, Side

DEV_EVERY = 10
"""One in so many inputs that the split does not know stands in dev."""


def read_preferences(file: Path) -> list[Preference]:
    """The pairs of a file, without those whose two answers are the same; of KTO's rows (prompt, completion, label) each
    gives one side, and the other is "". Raises what `read_pairs` does."""
    names = {name for row in peek_rows(file) for name in row}
    if THUMB in names and not preference_columns(names):
        return [
            Preference(
                each.row.id,
                each.row.input,
                each.row.output if each.good else "",
                "" if each.good else each.row.output,
                location=each.row.location,
            )
            for each in read_judged(file)
        ]
    return [
        Preference(
            each.better.id, each.better.input, each.better.output, each.worse, location=each.better.location
        )
        for each in read_pairs(file)
        if each.better.output != each.worse
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
