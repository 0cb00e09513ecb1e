"""Packing: the rows of a micro-batch are put end to end, so only attention computes padding. A
beginning that rows share is computed once, such as the question of a better and a worse answer, or
the same instructions.

Rows differ in length, and about a tenth of a padded micro-batch is padding. Except for attention, a
decoder works on each token separately, so the rows can be one long row of (1, N) tokens. Attention
splits it, computes the rows side by side (B, T), and puts its output end to end again. A shared
beginning is in the long row once: with causal attention its tokens have the same states in all
rows, and their gradients add up.

B = rows, T = the longest row in tokens, N = tokens of all rows (shared tokens count once), H =
heads, D = size of a head, F = features of a token. A slot is one of the B * T positions of rows
side by side.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Packing:
    """The assignment of tokens to slots."""

    shape: tuple[int, int]
    """(B, T)"""
    slots: Tensor
    """(N,) the first slot of each token."""
    tokens: Tensor
    """(B * T,) the token of each slot; an arbitrary token at padding."""
    padding: Tensor
    """The slots without a token."""
    copies: Tensor
    """The slots whose token is also in an earlier row."""

    @property
    def positions(self) -> Tensor:
        return (self.slots % self.shape[1])[None]

    def to_padded(self, tokens_NF: Tensor) -> Tensor:
        """(N, F) -> (B * T, F), zero at padding."""
        return tokens_NF.index_select(0, self.tokens).index_fill_(0, self.padding, 0)

    def to_packed(self, slots_F: Tensor) -> Tensor:
        """(B * T, F) -> (N, F), from the first slot of each token."""
        return slots_F.index_select(0, self.slots)

    def to_first_slots(self, tokens_NF: Tensor) -> Tensor:
        """(N, F) -> (B * T, F), zero at padding and at copies: the gradient of `to_packed`."""
        slots_F = self.to_padded(tokens_NF)
        return slots_F.index_fill_(0, self.copies, 0) if len(self.copies) else slots_F

    def sum_slots(self, slots_F: Tensor) -> Tensor:
        """(B * T, F) -> (N, F), summed over all slots of a token: the gradient of `to_padded`."""
        tokens_NF = self.to_packed(slots_F)
        if not len(self.copies):
            return tokens_NF
        # Sum in 32 bits, because many rows may share a beginning.
        wide = tokens_NF.to(torch.promote_types(tokens_NF.dtype, torch.float32))
        copied = slots_F.index_select(0, self.copies).to(wide.dtype)
        return wide.index_add(0, self.tokens.index_select(0, self.copies), copied).to(
            tokens_NF.dtype
        )


def build_packing(
    lengths: Sequence[int], device: torch.device, shared: Sequence[int] = ()
) -> Packing | None:
    """Build the packing of rows of these lengths, padded on the right; None without padding and
    shared tokens.

    `shared`: for each row, the number of its first tokens that the row before also has (default: 0
    for all rows).
    """
    longest = max(lengths, default=0)
    starts = [*shared] or [0] * len(lengths)
    if sum(lengths) - sum(starts) == longest * len(lengths):
        return None
    column = torch.arange(longest)
    # Masks over (B, T): the slots with a token, and the slots with the first copy of a token.
    is_token = column < torch.tensor(lengths)[:, None]
    is_first = is_token & (column >= torch.tensor(starts)[:, None])
    # Tokens are numbered in the order of their first slots. Shared tokens have the numbers from the
    # row before.
    tokens = (is_first.flatten().cumsum(0) - 1).view(is_token.shape)
    for row, start in enumerate(starts):
        tokens[row, :start] = tokens[row - 1, :start]
    masks = is_first, ~is_token, is_token & ~is_first
    slots, padding, copies = (mask.flatten().nonzero()[:, 0].to(device) for mask in masks)
    return Packing((len(lengths), longest), slots, tokens.flatten().to(device), padding, copies)


def count_shared_tokens(rows: Sequence[Sequence[int]]) -> list[int]:
    """For each row of token ids, count its first tokens that equal those of the row before; 0 for
    the first.
    """
    counts = [0]
    for previous, row in pairwise(rows):
        differences = (i for i, (a, b) in enumerate(zip(previous, row, strict=False)) if a != b)
        counts.append(next(differences, min(len(previous), len(row))))
    return counts


_current: ContextVar[Packing | None] = ContextVar("packing", default=None)


def get_packing() -> Packing | None:
    """Return the packing of the current forward; None if its rows are side by side."""
    return _current.get()


@contextmanager
def use_packing(packing: Packing) -> Iterator[None]:
    """Context manager: use this packing for all forwards."""
    token = _current.set(packing)
    try:
        yield
    finally:
        _current.reset(token)


def unpack(packing: Packing, *heads: Tensor) -> tuple[Tensor, ...]:
    """Put queries, keys and values, each (1, H, N, D), side by side: (B, H, T, D), zero at
    padding.
    """
    padded: tuple[Tensor, ...] = _Unpack.apply(packing, *heads)  # type: ignore[no-untyped-call]
    return padded


def pack(packing: Packing, output: Tensor) -> Tensor:
    """Put attention's output end to end: (B, T, H, D) -> (1, N, H, D)."""
    packed: Tensor = _Pack.apply(packing, output)  # type: ignore[no-untyped-call]
    return packed


def has_packed_shape(packing: Packing, *heads: Tensor) -> bool:
    """Whether all tensors are (1, H, N, D) with the packing's number of tokens."""
    num_tokens = len(packing.slots)
    return all(states.shape[0] == 1 and states.shape[2] == num_tokens for states in heads)


class NotPackedError(Exception):
    """The model did not pass its packed rows to attention."""


class _Unpack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, packing: Packing, *heads: Tensor) -> tuple[Tensor, ...]:
        ctx.packing = packing
        return tuple(
            _split_heads(packing.to_padded(_flatten_heads(states)), packing.shape, states)
            for states in heads
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        packing: Packing = ctx.packing
        tokens = (1, len(packing.slots))
        return None, *(
            _split_heads(packing.sum_slots(_flatten_heads(grad)), tokens, grad) for grad in grads
        )


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, packing: Packing, output: Tensor) -> Tensor:
        ctx.packing = packing
        return packing.to_packed(output.flatten(2).flatten(0, 1)).view(1, -1, *output.shape[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        (grad,) = grads
        packing: Packing = ctx.packing
        return None, packing.to_first_slots(grad.flatten(2)[0]).view(
            *packing.shape, *grad.shape[2:]
        )


def _flatten_heads(heads: Tensor) -> Tensor:
    # (B, H, T, D) -> (B * T, H * D)
    return heads.transpose(1, 2).flatten(2).flatten(0, 1)


def _split_heads(flat: Tensor, shape: tuple[int, int], like: Tensor) -> Tensor:
    # (B * T, H * D) -> (B, H, T, D), with the heads of `like`
    return flat.view(*shape, like.shape[1], like.shape[3]).transpose(1, 2)
