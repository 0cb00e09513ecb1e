"""Packing: the rows of a micro-batch end to end, so that only attention computes padding, and what rows begin with in
common: the question of a better and a worse answer, the instructions before every question.

Rows differ in length, and about a tenth of a padded micro-batch is padding. All of a decoder but its attention works on
each token alone, so the rows can be one long row of (1, N) tokens. Attention takes them apart, computes them side by
side (B, T), and puts its output back end to end. A shared beginning stands in the long row once: under causal attention
its tokens have the same states in all rows, and their gradients add up.

B = rows, T = the longest row in tokens, N = tokens of all rows, shared ones once, H = heads, D = size of a head.
"""

from __future__ import annotations

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
    """The place of each token in both forms."""

    shape: tuple[int, int]
    """(B, T)"""
    at: Tensor
    """(N,) for each token its first place among the B * T places of rows side by side."""
    back: Tensor
    """(B * T,) for each of these places its token; at padding any token."""
    padding: Tensor
    """The places among B * T that hold no token."""
    copies: Tensor
    """The places that hold a token which stands in an earlier row too."""

    @property
    def positions(self) -> Tensor:
        """(1, N): the place of each token in its own row."""
        return (self.at % self.shape[1])[None]

    def side_by_side(self, tokens: Tensor) -> Tensor:
        """(N, F) -> (B * T, F), zero at padding."""
        return tokens.index_select(0, self.back).index_fill_(0, self.padding, 0)

    def end_to_end(self, places: Tensor) -> Tensor:
        """(B * T, F) -> (N, F)."""
        return places.index_select(0, self.at)

    def first_places(self, tokens: Tensor) -> Tensor:
        """(N, F) -> (B * T, F), zero at padding and at copies: the gradient of `end_to_end`."""
        places = self.side_by_side(tokens)
        return places.index_fill_(0, self.copies, 0) if len(self.copies) else places

    def summed(self, places: Tensor) -> Tensor:
        """(B * T, F) -> (N, F), over all places of a token: the gradient of `side_by_side`."""
        tokens = self.end_to_end(places)
        if not len(self.copies):
            return tokens
        wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
        more = places.index_select(0, self.copies).to(wide.dtype)
        return wide.index_add(0, self.back.index_select(0, self.copies), more).to(tokens.dtype)


def packing_of(lengths: Sequence[int], device: torch.device, shared: Sequence[int] = ()) -> Packing | None:
    """The packing of rows of these lengths, padded on the right, of which each begins with `shared` tokens of the row
    before it (none by default, and 0 for the first); None if nothing is padded or shared."""
    longest, starts = max(lengths, default=0), [*shared] or [0] * len(lengths)
    if sum(lengths) - sum(starts) == longest * len(lengths):
        return None
    column = torch.arange(longest)
    real = column < torch.tensor(lengths)[:, None]
    own = real & (column >= torch.tensor(starts)[:, None])
    back = (own.flatten().cumsum(0) - 1).view(real.shape)
    for row, start in enumerate(starts):
        back[row, :start] = back[row - 1, :start]
    masks = own, ~real, real & ~own
    at, padding, copies = (mask.flatten().nonzero()[:, 0].to(device) for mask in masks)
    return Packing((len(lengths), longest), at, back.flatten().to(device), padding, copies)


def shared_starts(rows: Sequence[Sequence[int]]) -> list[int]:
    """For each row of token ids, how many of its first are those of the row before; 0 for the first row."""
    return [0, *(_common(one, other) for one, other in pairwise(rows))]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    differing = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


_current: ContextVar[Packing | None] = ContextVar("packing", default=None)


def current_packing() -> Packing | None:
    """The packing of the current forward; None if its rows are side by side."""
    return _current.get()


@contextmanager
def using_packing(packing: Packing) -> Iterator[None]:
    """Compute the forwards within the `with` with this packing."""
    token = _current.set(packing)
    try:
        yield
    finally:
        _current.reset(token)


def unpacked(packing: Packing, *heads: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values, each (1, H, N, D), side by side: (B, H, T, D), zero at padding."""
    side_by_side: tuple[Tensor, ...] = _Unpacked.apply(packing, *heads)  # type: ignore[no-untyped-call]
    return side_by_side


def packed(packing: Packing, output: Tensor) -> Tensor:
    """Attention's output end to end: (B, T, H, D) -> (1, N, H, D)."""
    end_to_end: Tensor = _Packed.apply(packing, output)  # type: ignore[no-untyped-call]
    return end_to_end


def fits(packing: Packing, *heads: Tensor) -> bool:
    """Whether all are (1, H, N, D) with as many tokens as the packing."""
    return all(each.shape[0] == 1 and each.shape[2] == len(packing.at) for each in heads)


class NotPackedError(Exception):
    """The model did not pass its packed rows to attention."""


class _Unpacked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, packing: Packing, *heads: Tensor) -> tuple[Tensor, ...]:
        ctx.packing = packing
        return tuple(_heads_of(packing.side_by_side(_flat(each)), packing.shape, each) for each in heads)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        packing: Packing = ctx.packing
        tokens = (1, len(packing.at))
        return None, *(_heads_of(packing.summed(_flat(each)), tokens, each) for each in grads)


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, packing: Packing, output: Tensor) -> Tensor:
        ctx.packing = packing
        return packing.end_to_end(output.flatten(2).flatten(0, 1)).view(1, -1, *output.shape[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        (grad,) = grads
        packing: Packing = ctx.packing
        return None, packing.first_places(grad.flatten(2)[0]).view(*packing.shape, *grad.shape[2:])


def _flat(heads: Tensor) -> Tensor:
    """(B, H, T, D) -> (B * T, H * D)."""
    return heads.transpose(1, 2).flatten(2).flatten(0, 1)


def _heads_of(flat: Tensor, shape: tuple[int, int], like: Tensor) -> Tensor:
    """(B * T, H * D) -> (B, H, T, D), with the heads of `like`."""
    return flat.view(*shape, like.shape[1], like.shape[3]).transpose(1, 2)
