"""Which requests are answered together: decided from the whole list, before anything is computed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import takewhile

MAX_ROWS = 32
MAX_TOKENS = 4096
"""Tokens of one batch, padding included."""


def plan_batches(
    lengths: Sequence[int],
    kinds: Sequence[Hashable] | None = None,
    max_rows: int = MAX_ROWS,
    max_tokens: int = MAX_TOKENS,
) -> list[tuple[int, ...]]:
    """Groups positions of `lengths` (tokens) into batches of similar length and the same kind.

    A batch has at most `max_rows` rows and, padded to its longest row, at most `max_tokens` tokens; a
    row longer than that stands alone. The result depends on the arguments only.
    """
    kinds = kinds if kinds is not None else [None] * len(lengths)
    first_of_kind: dict[Hashable, int] = {}
    for number, kind in enumerate(kinds):
        first_of_kind.setdefault(kind, number)
    order = sorted(range(len(lengths)), key=lambda n: (first_of_kind[kinds[n]], lengths[n], n))
    batches: list[list[int]] = []
    for number in order:
        if batches and kinds[batches[-1][0]] == kinds[number]:
            rows = len(batches[-1]) + 1
            if rows <= max_rows and rows * lengths[number] <= max_tokens:
                batches[-1].append(number)
                continue
        batches.append([number])
    return [tuple(batch) for batch in batches]


def shared_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with, at least one token of each left outside; 0 for one."""
    if len(sequences) < 2:
        return 0
    columns = zip(*(sequence[:-1] for sequence in sequences), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
