"""What training will learn and what it will only read, over the whole data set, before the first step.

Learning the wrong tokens (an answer that is only read, an end of turn that is never learned, two beginnings of the
text) looks like training that works and is found weeks later. So it is counted and reported first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from etude.errors import InputError, Issue, quote_value
from etude.training.rows.batches import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST = 5
"""Number of longest rows to list."""


@dataclass(frozen=True, slots=True)
class Supervision:
    """Counts over all training rows."""

    rows: int
    trained: int
    """Tokens that are learned."""
    masked: int
    """Tokens that are only read."""
    answers: int
    """Stretches of learned tokens: the answers, of which a chat has several."""
    starts: tuple[tuple[int, int], ...]
    """(beginning-of-text tokens at the front of a row, rows that have as many); empty where the model has
    no such token."""
    longest: tuple[tuple[str, int], ...]
    """(row, tokens) of the longest rows."""

    def lines(self) -> Iterator[str]:
        """The counts in words."""
        share = self.trained / (self.trained + self.masked)
        yield (
            f"{self.rows:,} rows: {self.trained:,} tokens are learned ({share:.0%}) and {self.masked:,} only read; "
            f"{self.answers:,} answers, each learned to its end of turn."
        )
        if self.starts:
            counts = ", ".join(f"{number} in each of {rows:,} rows" for number, rows in self.starts)
            yield f"Beginning-of-text tokens at the front: {counts}."
        named = ", ".join(f"{row} ({tokens:,})" for row, tokens in self.longest)
        yield f"Longest rows, in tokens: {named}."


def supervise(
    rows: Sequence[TokenRow], end: int, start: int | None = None, dev_rows: Sequence[TokenRow] = ()
) -> Supervision:
    """Count what is learned from `rows`. `end` is the token that ends a turn, `start` the one that begins a text.

    Raises InputError listing every row, of dev too, with an answer whose end of turn is not learned: a model trained
    on it would not know when to stop, and a dev loss on it may prefer a model that does not stop.
    """
    faults = [fault for row in [*rows, *dev_rows] for fault in _endless(row, end)]
    if faults:
        raise InputError(faults)
    trained = sum(row.num_trained for row in rows)
    begun = Counter(_leading(row, start) for row in rows) if start is not None else Counter()
    ordered = sorted(rows, key=lambda row: -len(row.ids))
    return Supervision(
        rows=len(rows),
        trained=trained,
        masked=sum(len(row.ids) for row in rows) - trained,
        answers=sum(len(_answers(row)) for row in rows),
        starts=tuple(sorted(begun.items())),
        longest=tuple((row.id, len(row.ids)) for row in ordered[:LONGEST]),
    )


def spans(tokenizer: PreTrainedTokenizerBase, row: TokenRow) -> list[tuple[str, bool]]:
    """The row as text, cut where learning begins and ends: (text, whether it is learned)."""
    return [(text, learned) for text, learned, _ in pieces(tokenizer, row, special=())]


def pieces(
    tokenizer: PreTrainedTokenizerBase, row: TokenRow, special: Collection[int]
) -> list[tuple[str, bool, bool]]:
    """The row as text, cut also around special tokens: (text, whether it is learned, whether it is special)."""
    marked = zip(row.ids, row.trained, strict=True)
    return [
        (str(tokenizer.decode([token for token, _ in part], clean_up_tokenization_spaces=False)), *kind)
        for kind, part in groupby(marked, key=lambda pair: (pair[1], pair[0] in special))
    ]


def telling(
    rows: Sequence[TokenRow], number: int, with_silent: Collection[str]
) -> list[tuple[TokenRow, str]]:
    """Choose at most `number` rows that differ, each with a note on it, and sort them from the shortest to the longest.

    Chosen first are a row with an answer of weight 0 (`with_silent` are the ids of those), the one with the most
    answers, the longest and the shortest; then others at even distances in length.
    """
    ordered = sorted(rows, key=lambda row: len(row.ids))
    last, gaps = len(ordered) - 1, max(1, number - 1)
    longest, shortest = ordered[last], ordered[0]
    wanted = [
        *[row for row in ordered if row.id in with_silent][:1],
        *[row for row in [max(ordered, key=lambda row: len(_answers(row)))] if len(_answers(row)) > 1],
        *(longest, shortest),
        *(ordered[last * place // gaps] for place in range(number)),
        *ordered,
    ]
    chosen = list({id(row): row for row in wanted}.values())[:number]

    def shows(row: TokenRow) -> Iterator[str]:
        tokens = f"{len(row.ids):,} tokens"
        yield f"longest, {tokens}" if row is longest else f"shortest, {tokens}" if row is shortest else tokens
        if (answers := len(_answers(row))) > 1:
            yield f"{answers} answers are learned"
        if row.id in with_silent:
            yield "an answer of weight 0 is only read"

    return [(row, "; ".join(shows(row))) for row in sorted(chosen, key=lambda row: len(row.ids))]


def _leading(row: TokenRow, token: int) -> int:
    return next((at for at, each in enumerate(row.ids) if each != token), len(row.ids))


def _answers(row: TokenRow) -> list[list[int]]:
    pairs = zip(row.ids, row.trained, strict=True)
    return [[token for token, _ in part] for learned, part in groupby(pairs, lambda pair: pair[1]) if learned]


def _endless(row: TokenRow, end: int) -> Iterator[Issue]:
    for number, answer in enumerate(_answers(row), start=1):
        if answer[-1] != end:
            what = (
                f"the end of turn of answer {number} is not learned, so the model would not know when to stop"
            )
            got = f"last learned token {quote_value(answer[-1])}, wanted {quote_value(end)}"
            yield Issue(row.id, what, got, "leave the row out, or set model: to another model")
