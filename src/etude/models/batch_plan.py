"""Which requests are answered together: decided from the whole list, before anything is computed."""

from collections.abc import Hashable, Sequence
from itertools import takewhile

MAX_ROWS = 32
MAX_TOKENS = 4096  # Tokens of one batch, padding included


def plan_batches(
    lengths: Sequence[int],
    kinds: Sequence[Hashable] | None = None,
    max_rows: int = MAX_ROWS,
    max_tokens: int = MAX_TOKENS,
) -> list[tuple[int, ...]]:
    """Group positions of `lengths` (tokens) into batches of similar length and the same kind.

    A batch has at most `max_rows` rows and, padded to its longest row, at most `max_tokens` tokens; a longer row gets a
    batch of its own. The result depends only on the arguments.
    """
    kinds = kinds if kinds is not None else [None] * len(lengths)
    first_of_kind: dict[Hashable, int] = {}
    for row, kind in enumerate(kinds):
        first_of_kind.setdefault(kind, row)
    order = sorted(range(len(lengths)), key=lambda row: (first_of_kind[kinds[row]], lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        if batches and kinds[batches[-1][0]] == kinds[row]:
            num_rows = len(batches[-1]) + 1
            if num_rows <= max_rows and num_rows * lengths[row] <= max_tokens:
                batches[-1].append(row)
                continue
        batches.append([row])
    return [tuple(batch) for batch in batches]


def count_shared_tokens(sequences: Sequence[Sequence[Hashable]]) -> int:
    """Count the tokens that all sequences begin with, leaving at least one of each; 0 for a single sequence."""
    if len(sequences) < 2:
        return 0
    columns = zip(*(sequence[:-1] for sequence in sequences), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
