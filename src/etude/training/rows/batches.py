"""Make batches of token rows: the rows of each step, and the split of a step into parts that fit
memory.

A global batch is a fixed number of rows: one step of the optimizer. A micro-batch is a part of it
that is computed at once. Rows are never cut.

B = rows of a micro-batch, T = its longest row in tokens, N = learned tokens of a micro-batch.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import torch

from etude.errors import InputError, Issue
from etude.stats.sample import order_by_strata

MICRO_BATCH_COST = 64
"""The cost of one more micro-batch in addition to its tokens, in tokens. Measured on two CPU cores,
and used for GPUs without a measurement. It affects only how batches are split, not the result.
"""
ATTENTION_PARITY = 1000
"""With this many tokens in a row, attention would take as long as everything else. With
SmolLM2-135M on two CPU cores, it takes 8% of a step at 76 tokens. For other models and GPUs it is
used without a measurement.
"""

REPLAYED = "replay"
"""The id of all rows that repeat answers of the untuned model. They are in no count of training
rows.
"""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One conversation as token ids, and which of them the model learns."""

    id: str
    """`file:line` if known."""
    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    """For each token, whether it is learned or only read. The first is never learned, because
    nothing is before it.
    """
    stratum: str = ""
    """A value, such as the label. The first rows of a partial epoch should contain every such
    value.
    """

    @property
    def num_trained(self) -> int:
        return sum(self.trained[1:])


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows padded on the right to the same length, and the positions at which a learned token is
    predicted.
    """

    rows: tuple[TokenRow, ...]
    ids: torch.Tensor
    """(B, T) token ids."""
    positions: torch.Tensor
    """(N,) indices into the flattened (B * T) positions whose next token is learned."""
    targets: torch.Tensor
    """(N,) these next tokens."""


def check_rows(
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    max_tokens: int,
    weight: Callable[[TokenRow], float] = attrgetter("num_trained"),
    group_size: int = 1,
) -> None:
    """Raise InputError listing every row that cannot be trained on. `weight` and `group_size`
    belong to the loss.
    """
    longest = max((len(row.ids) for row in [*rows, *dev_rows]), default=0)
    issues = [
        issue
        for row in [*rows, *dev_rows]
        for issue in _check_row(row, max_tokens, weight, longest)
    ]
    for side, side_rows in (("training rows", rows), ("dev rows", dev_rows)):
        if not side_rows:
            issues.append(Issue(side, "there are no rows", "", "add at least one row"))
        if len(side_rows) % group_size:
            remedy = f"use a multiple of {group_size} rows"
            issues.append(
                Issue(
                    side, "the last group of rows is incomplete", f"{len(side_rows)} rows", remedy
                )
            )
    if issues:
        raise InputError(issues)


def _check_row(
    row: TokenRow, max_tokens: int, weight: Callable[[TokenRow], float], longest: int
) -> list[Issue]:
    if len(row.ids) != len(row.trained):
        value = f"{len(row.ids)} tokens, {len(row.trained)} marks"
        return [
            Issue(
                row.id,
                "the numbers of tokens and marks of the row differ",
                value,
                "use one mark per token",
            )
        ]
    issues = []
    if not weight(row) > 0:
        remedy = "add an answer to the row, or leave the row out"
        issues.append(
            Issue(row.id, "no token of the row is learned", f"{len(row.ids)} tokens", remedy)
        )
    if len(row.ids) > max_tokens:
        remedy = f"shorten the row, leave it out, or set train: {{max_tokens: {longest}}}"
        issues.append(
            Issue(row.id, "the row is longer than the limit", f"{len(row.ids)} tokens", remedy)
        )
    return issues


def split_groups(rows: Sequence[TokenRow], group_size: int) -> list[Sequence[TokenRow]]:
    """Split rows into groups of consecutive rows that are computed together."""
    return [rows[start : start + group_size] for start in range(0, len(rows), group_size)]


def count_groups_per_step(rows_per_step: int, group_size: int) -> int:
    """Return the number of groups in one global batch, at least one."""
    return max(1, rows_per_step // group_size)


def make_batches(
    rows: Sequence[TokenRow],
    rows_per_step: int,
    seed: int,
    epoch: int,
    group_size: int = 1,
    is_stratified: bool = False,
) -> list[tuple[TokenRow, ...]]:
    """Make the global batches of one epoch. The order depends only on seed, epoch and the number of
    rows; with `is_stratified` also on the strata, so the first rows contain every stratum.

    Every row is in one batch, together with its group. The last batch may be smaller.
    """
    groups = split_groups(rows, group_size)
    size = count_groups_per_step(rows_per_step, group_size)
    order = list(range(len(groups)))
    # Shuffle the numbers of the rows and not the rows, so the order is the same on every machine.
    draw = random.Random(f"{seed}/{epoch}")
    strata = [group[0].stratum for group in groups]
    if is_stratified and len(set(strata)) > 1:
        order = order_by_strata(strata, draw)
    else:
        draw.shuffle(order)
    return [
        tuple(row for i in order[start : start + size] for row in groups[i])
        for start in range(0, len(order), size)
    ]


def split_micro_batches(
    rows: Sequence[TokenRow], micro_tokens: int, is_packed: bool = False, group_size: int = 1
) -> list[tuple[TokenRow, ...]]:
    """Split rows into micro-batches of similar length with the smallest sum of work and overhead.

    With its padding, no micro-batch exceeds `micro_tokens`, except a single group that is longer.
    `is_packed`: only attention computes padding (packing.py). The optimum is exact, by dynamic
    programming over the groups, which are sorted by their longest row.
    """
    groups = sorted(split_groups(rows, group_size), key=_max_length, reverse=True)
    # best[end]: lowest cost of the first `end` groups; cut[end]: the start of their last
    # micro-batch.
    best = [0.0] + [float("inf")] * len(groups)
    cut = [0] * (len(groups) + 1)
    for start, longest in enumerate(map(_max_length, groups)):
        max_groups = max(1, micro_tokens // (longest * group_size))
        padding_cost = _compute_padding_cost(longest, is_packed)
        cost = best[start] + MICRO_BATCH_COST
        for end in range(start + 1, min(start + max_groups, len(groups)) + 1):
            length = count_tokens(groups[end - 1])
            cost += length + padding_cost * (longest * group_size - length)
            if cost < best[end]:
                best[end] = cost
                cut[end] = start
    batches: list[tuple[TokenRow, ...]] = []
    end = len(groups)
    while end:
        batches.append(tuple(row for group in groups[cut[end] : end] for row in group))
        end = cut[end]
    return batches[::-1]


def count_tokens(rows: Sequence[TokenRow]) -> int:
    """Count the tokens of all rows, without padding."""
    return sum(len(row.ids) for row in rows)


def compute_work(rows: Sequence[TokenRow], is_packed: bool) -> float:
    """Compute the work of a micro-batch in tokens. A token of padding counts with its cost."""
    longest = _max_length(rows)
    tokens = count_tokens(rows)
    return tokens + _compute_padding_cost(longest, is_packed) * (longest * len(rows) - tokens)


def _compute_padding_cost(longest: int, is_packed: bool) -> float:
    # In tokens of a row. For packed rows, only attention computes padding, and its share grows with
    # the length.
    return min(1.0, longest / ATTENTION_PARITY) if is_packed else 1.0


def collate(rows: Sequence[TokenRow], device: torch.device) -> MicroBatch:
    """Pad rows on the right with token 0 and find the targets."""
    length = _max_length(rows)
    # Any token can be padding: attention is causal, so no real token attends to it.
    ids = torch.tensor([row.ids + (0,) * (length - len(row.ids)) for row in rows], dtype=torch.long)
    positions = [
        number * length + i
        for number, row in enumerate(rows)
        for i, trained in enumerate(row.trained[1:])
        if trained
    ]
    positions_N = torch.tensor(positions, dtype=torch.long)
    targets_N = ids.flatten()[positions_N + 1]
    return MicroBatch(tuple(rows), ids.to(device), positions_N.to(device), targets_N.to(device))


def _max_length(rows: Sequence[TokenRow]) -> int:
    return max(len(row.ids) for row in rows)
