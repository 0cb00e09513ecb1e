"""Notes of a comparison on labels: inputs with several labels, labels in several spellings.

No check: a run notes these before anything is fitted. `etude check` reports the same rows by
`contradiction` and `label_spelling`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from etude.base.wording import count, first_of
from etude.checks.material import hashed, of_rows
from etude.checks.rows.repeats import with_several_answers
from etude.errors import parse_location
from etude.metrics import SKEWED
from etude.task import Task
from etude.text.normal_forms import with_signs
from etude.text.spellings import all_told, spellings, written_alike
from etude.types import Example

MOST_TOLD = 3
"""Inputs, and labels of one input, whose lines are listed."""


def contradictions(task: Task, rows: Sequence[Example]) -> Iterator[str]:
    """One sentence on the inputs that stand with more than one label, none where there are none or the task has
    no labels. Texts are the same as `etude check` counts them, by their `with_signs` forms."""
    if task.kind != "classify":
        return
    rows = sorted(rows, key=lambda row: parse_location(row.location))
    asked = hashed(with_signs(row.text) for row in rows)
    given = hashed(with_signs(row.output) for row in rows)
    groups = [[rows[position] for position in group] for group in with_several_answers(asked, given)]
    if groups:
        text = first_of(groups, MOST_TOLD, "; ", lambda group: _lines(_first_of_each_label(group)))
        yield (
            f"{count(len(groups), 'input stands', 'inputs stand')} with more than one label, in "
            f"{of_rows(sum(map(len, groups)), len(rows))}: {text}. Whatever a method answers, some of "
            "these rows call it wrong. `etude check` lists them (contradiction)."
        )


def spelling_notes(task: Task, rows: Sequence[Example], metric: str) -> Iterator[str]:
    """One sentence on labels that are written in several ways, none where there are none or the task has no labels;
    it says so where macro-F1 is the metric by their spelling alone."""
    if task.kind != "classify":
        return
    rows = sorted(rows, key=lambda row: parse_location(row.location))
    labels = [row.output for row in rows]
    found = spellings(labels)
    if not found:
        return
    text = all_told(found, lambda position: rows[position].location, MOST_TOLD)
    note = f"Labels: {text}. Every spelling counts as a separate class: write each label in one way."
    sizes = written_alike(Counter(labels)).values()
    if metric == "macro_f1" and not task.metric and max(sizes) <= SKEWED * min(sizes):
        note += (
            " Written alike, no class would be so rare, and accuracy would be the metric instead of macro-F1."
        )
    yield note


def _first_of_each_label(group: Sequence[Example]) -> list[Example]:
    return list({with_signs(row.output): row for row in reversed(group)}.values())[::-1]


def _lines(rows: Sequence[Example]) -> str:
    """`rows.csv:3 and rows.csv:9`, one row of each label."""
    more = [f"{len(rows) - MOST_TOLD:,} more"] if len(rows) > MOST_TOLD else []
    return " and ".join([*(row.location for row in rows[:MOST_TOLD]), *more])
