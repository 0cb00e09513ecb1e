"""Notes on what a method answered, beside its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from etude.assistant import Assistant
from etude.errors import quote_value
from etude.evaluate import Scored
from etude.types import Side

NEARLY_ALL = 0.95
"""Share of rows from which one label counts as the same answer to all."""


def left_out(assistant: Assistant, side: Side, rows: Sequence[Scored]) -> Iterator[str]:
    """From how many prompts examples, or every passage, were left out to fit the context."""
    dropped = [row.answer.shots_dropped for row in rows if row.answer.shots_dropped]
    where = f"of {len(rows):,} {side} rows, to fit the model's context"
    if dropped:
        most = "1 example was" if max(dropped) == 1 else f"up to {max(dropped)} examples were"
        yield f"{assistant.method}: {most} left out of the prompts of {len(dropped):,} {where}"
    if alone := assistant.search is not None and sum(not row.answer.citations for row in rows):
        yield f"{assistant.method}: every passage was left out of the prompts of {alone:,} {where}"


def same_answer(method: str, rows: Sequence[Scored]) -> Iterator[str]:
    """That a classifier gives nearly all dev rows one label, and more rows than have it."""
    if not rows:
        return
    outcomes = [row.outcome for row in rows]
    label, given = Counter(outcome.predicted for outcome in outcomes).most_common(1)[0]
    wanted = sum(outcome.expected == label for outcome in outcomes)
    if given >= NEARLY_ALL * len(rows) and given > wanted:
        yield (
            f"{method} answers {quote_value(label)} on {given / len(rows):.0%} of {len(rows):,} dev rows; "
            f"{wanted / len(rows):.0%} have that label"
        )
