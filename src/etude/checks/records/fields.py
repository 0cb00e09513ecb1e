"""Records beside their texts: fields that a record gives and its text does not support.

The text is what an extraction reads, or the answer that is made from a record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etude.base.wording import most_frequent
from etude.checks.evidence import covered_label
from etude.checks.material import Mark, Material, rows_that
from etude.checks.record import TEXTS, FindingKind, finds
from etude.checks.records.parsing import LEAST_STATED, Record, all_records
from etude.checks.records.support import unsupported
from etude.privacy.mask.same_value import escaped
from etude.text.normal_forms import normalise
from etude.types import Column, Excerpt, Finding

MOST_ROWS = 20_000
"""Rows looked at; a larger set is sampled evenly."""
MOST_UNSUPPORTED = 0.5
"""Share of the rows above which the words of a text are taken to tell nothing of its record."""
MOST_TOLD = 4
"""Fields that are named of those that are not supported."""
Named = tuple[int, str]
"""A row by its place in the pairs, and its field."""


@dataclass(frozen=True)
class Pairs:
    """The records of a task, each with its text."""

    rows: tuple[int, ...]
    """Positions in the material; rows without a record are left out, as other findings name them."""
    sample: range
    """The rows that were looked at."""
    records: tuple[Record, ...]
    texts: tuple[str, ...]
    plain: tuple[str, ...]
    """The texts normalised, with a space at both ends."""
    part: Column
    """Where the records stand; the texts are the other part."""

    @property
    def text(self) -> str:
        """What the text is to the reader."""
        return "text" if self.part == "output" else "answer"


@finds(
    FindingKind("unsupported", "warning", "fields of a record that its text does not support, ranked"),
    tasks=TEXTS,
)
def unsupported_fields(material: Material) -> Iterator[Finding]:
    """Records that say what their text does not."""
    pairs = _pairs(material)
    if pairs is None:
        return
    found = unsupported(pairs.texts, pairs.plain, pairs.records)
    if 0 < len(found) <= MOST_UNSUPPORTED * len(pairs.rows):
        yield _unsupported(material, pairs, found)


def _pairs(material: Material) -> Pairs | None:
    """The records and texts of a task; None where it has too few or none."""
    part: Column = "output" if material.task.kind == "extract" else "input"
    sample = range(0, len(material.rows), -(-len(material.rows) // MOST_ROWS))
    said, read = (
        (material.outputs, material.inputs) if part == "output" else (material.inputs, material.outputs)
    )
    found = all_records([said[row] for row in sample])
    pairs = [(row, one) for row, one in zip(sample, found or (), strict=False) if one is not None]
    if len(pairs) < LEAST_STATED:
        return None
    rows, records = zip(*pairs, strict=True)
    texts = tuple(read[row] for row in rows)
    plain = tuple(f" {normalise(text)} " for text in texts)
    return Pairs(rows, sample, records, texts, plain, part)


def _unsupported(material: Material, pairs: Pairs, found: Sequence[Named]) -> Finding:
    named = most_frequent(Counter(name for _, name in found), MOST_TOLD)
    sampled = f" (one row in {pairs.sample.step} was looked at)" if pairs.sample.step > 1 else ""
    text = (
        f"{rows_that('give', len(found), len(pairs.sample))} a field that the {pairs.text} does not support"
    )
    return material.finding(
        "unsupported",
        "warning",
        [pairs.rows[row] for row, _ in found],
        covered_label(f"{text}{sampled}: {named}."),
        "Correct the field named with each row, or take it out; the surest come first.",
        about=[covered_label(name) for _, name in found],
        evidence=_shown(material, pairs, found[:10]),
        numbers={"rows": len(found), "of": len(pairs.sample)},
    )


def _shown(material: Material, pairs: Pairs, places: Sequence[Named]) -> Iterator[Excerpt]:
    """Both parts of each row, the field's values marked in the record, its name where they are written otherwise."""
    for place, name in places:
        row = pairs.rows[place]
        record = (material.outputs if pairs.part == "output" else material.inputs)[row]
        field = name.rpartition(".")[2]
        marks = _values(record, field, pairs.records[place].get(name, ())) or _first(field, record)
        in_input, in_output = ((), marks) if pairs.part == "output" else (marks, ())
        yield material.shown_input(row, in_input)
        yield material.shown_output(row, in_output)


def _values(text: str, field: str, values: Sequence[str]) -> list[Mark]:
    """Where the values of a field stand behind its name, in their order; one that is written otherwise is left out."""
    named = re.compile(rf"(?<!\w){re.escape(field)}(?!\w)")
    marks: list[Mark] = []
    at = 0
    for value in values:
        name = named.search(text, at)
        forms = "|".join(map(re.escape, {value, escaped(value, True), escaped(value, False)}))
        found = re.compile(rf"(?<!\w)(?:{forms})(?!\w)").search(text, name.end() if name else at)
        if found:
            marks.append(found.span())
            at = found.end()
    return marks


def _first(field: str, text: str) -> list[Mark]:
    found = re.search(re.escape(field), text, re.IGNORECASE) if field else None
    return [found.span()] if found else []
