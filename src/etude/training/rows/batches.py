"""Token rows into batches: which rows make a step, and how a step is split to fit memory.

A global batch is a fixed number of rows and is one step of the optimizer. A micro-batch is a part of it that is
computed at once. No row is ever cut.

B = rows of a micro-batch, T = its longest row in tokens, N = learned tokens of a micro-batch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import torch

from etude.errors import InputError, Issue

MICRO_BATCH_COST = 64
"""What one more micro-batch costs beyond its tokens, in tokens: measured on two CPU cores, and used for GPUs
unmeasured. It decides where batches are cut, not what is computed."""
ATTENTION_LIKE_REST = 1000
"""Tokens of a row at which attention would take as long as all else: it takes 8% of a step of SmolLM2-135M at 76 tokens
on two CPU cores. As MICRO_BATCH_COST, used for other models and GPUs unmeasured."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One conversation as token ids, and which of them the model learns to produce."""

    id: str
    """`file:line` where it is known."""
    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    """For each token whether it is learned, and not only read; the first token has nothing before it and never is."""

    @property
    def num_trained(self) -> int:
        """Tokens that are learned."""
        return sum(self.trained[1:])


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows padded on the right to one length, and where a learned token is predicted."""

    rows: tuple[TokenRow, ...]
    ids: torch.Tensor
    """(B, T) token ids."""
    positions: torch.Tensor
    """(N,) indices into the flattened (B * T) positions whose next token is learned."""
    targets: torch.Tensor
    """(N,) the next tokens themselves."""


def check_rows(
    rows: Sequence[TokenRow],
    dev_rows: Sequence[TokenRow],
    max_tokens: int,
    weight: Callable[[TokenRow], float] = attrgetter("num_trained"),
    together: int = 1,
) -> None:
    """Raise InputError listing every row that cannot be trained on; `weight` and `together` are those of the loss."""
    faults = [fault for row in [*rows, *dev_rows] for fault in _faults(row, max_tokens, weight)]
    for where, side in (("training rows", rows), ("dev rows", dev_rows)):
        if not side:
            faults.append(Issue(where, "there are none", "", "give at least one row"))
        if len(side) % together:
            remedy = f"give a multiple of {together} rows"
            faults.append(Issue(where, "the last group is not complete", f"{len(side)} rows", remedy))
    if faults:
        raise InputError(faults)


def groups_of(rows: Sequence[TokenRow], together: int) -> list[Sequence[TokenRow]]:
    """Rows in groups that are computed together, each of `together` rows that follow each other."""
    return [rows[start : start + together] for start in range(0, len(rows), together)]


def groups_per_step(rows_per_step: int, together: int) -> int:
    """The groups of one global batch, one at least."""
    return max(1, rows_per_step // together)


def make_batches(
    rows: Sequence[TokenRow], rows_per_step: int, seed: int, epoch: int, together: int = 1
) -> list[tuple[TokenRow, ...]]:
    """The global batches of one epoch. The order depends on seed, epoch and the number of rows only.

    Every row comes once, beside those of its group; the last batch may be smaller.
    """
    groups, size = groups_of(rows, together), groups_per_step(rows_per_step, together)
    order = list(range(len(groups)))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return [
        tuple(row for i in order[start : start + size] for row in groups[i])
        for start in range(0, len(order), size)
    ]


def share_of(rows: Sequence[TokenRow], rank: int, size: int, together: int = 1) -> Sequence[TokenRow]:
    """The rows that process `rank` of `size` computes: the longest group first, each goes to the process with the
    fewest tokens so far. Every row goes to one process; a process may get none."""
    if size == 1:
        return rows
    shares: list[list[TokenRow]] = [[] for _ in range(size)]
    tokens = [0] * size
    for group in sorted(groups_of(rows, together), key=num_tokens, reverse=True):
        least = tokens.index(min(tokens))
        shares[least] += group
        tokens[least] += num_tokens(group)
    return shares[rank]


def split_micro(
    rows: Sequence[TokenRow], micro_tokens: int, packed: bool = False, together: int = 1
) -> list[tuple[TokenRow, ...]]:
    """Split rows into micro-batches of similar length, so that work and overhead are least.

    No micro-batch exceeds `micro_tokens` with its padding, except a single group longer than that. `packed` says
    whether padding is computed by attention alone (packing.py). Exact, by dynamic programming over the groups sorted
    by their longest row, longest first.
    """
    groups = sorted(groups_of(rows, together), key=_longest, reverse=True)
    best = [0.0] + [float("inf")] * len(groups)
    cut = [0] * (len(groups) + 1)
    for start, longest in enumerate(map(_longest, groups)):
        most = max(1, micro_tokens // (longest * together))
        share = _padding_share(longest, packed)
        cost = best[start] + MICRO_BATCH_COST
        for end in range(start + 1, min(start + most, len(groups)) + 1):
            length = num_tokens(groups[end - 1])
            cost += length + share * (longest * together - length)
            if cost < best[end]:
                best[end], cut[end] = cost, start
    return _cut_at(groups, cut)


def num_tokens(rows: Sequence[TokenRow]) -> int:
    """Tokens of all rows, without padding."""
    return sum(len(row.ids) for row in rows)


def work_of(part: Sequence[TokenRow], packed: bool) -> float:
    """The tokens of a micro-batch, those of padding by what they cost beside them."""
    longest, tokens = _longest(part), num_tokens(part)
    return tokens + _padding_share(longest, packed) * (longest * len(part) - tokens)


def _padding_share(longest: int, packed: bool) -> float:
    """What a token of padding costs beside one of a row, where the longest row has so many tokens."""
    return min(1.0, longest / ATTENTION_LIKE_REST) if packed else 1.0


def collate(rows: Sequence[TokenRow], device: torch.device) -> MicroBatch:
    """Pads rows on the right (with token 0, which no real token can attend to) and finds the targets."""
    length = _longest(rows)
    ids = torch.tensor([row.ids + (0,) * (length - len(row.ids)) for row in rows], dtype=torch.long)
    positions = [
        number * length + i
        for number, row in enumerate(rows)
        for i, trained in enumerate(row.trained[1:])
        if trained
    ]
    at = torch.tensor(positions, dtype=torch.long)
    return MicroBatch(tuple(rows), ids.to(device), at.to(device), ids.flatten()[at + 1].to(device))


def _longest(rows: Sequence[TokenRow]) -> int:
    return max(len(row.ids) for row in rows)


def _cut_at(groups: Sequence[Sequence[TokenRow]], cut: Sequence[int]) -> list[tuple[TokenRow, ...]]:
    parts: list[tuple[TokenRow, ...]] = []
    end = len(groups)
    while end:
        parts.append(tuple(row for group in groups[cut[end] : end] for row in group))
        end = cut[end]
    return parts[::-1]


def _faults(row: TokenRow, max_tokens: int, weight: Callable[[TokenRow], float]) -> list[Issue]:
    if len(row.ids) != len(row.trained):
        got = f"{len(row.ids)} tokens, {len(row.trained)} marks"
        return [Issue(row.id, "tokens and their marks differ in number", got, "mark every token once")]
    faults = []
    if not weight(row) > 0:
        remedy = "give the row an answer, or leave the row out"
        faults.append(Issue(row.id, "no token of the row is learned", f"{len(row.ids)} tokens", remedy))
    if len(row.ids) > max_tokens:
        remedy = f"shorten the row, leave it out, or set train: {{max_tokens: {len(row.ids)}}}"
        faults.append(Issue(row.id, "the row is longer than the limit", f"{len(row.ids)} tokens", remedy))
    return faults
