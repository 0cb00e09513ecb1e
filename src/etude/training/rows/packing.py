"""Packing: the rows of a micro-batch end to end, so that padding is computed by attention alone.

Rows differ in length, and about a tenth of a padded micro-batch is padding. All of a decoder but its attention works on
each token alone, so the rows can be one long row of (1, N) tokens. Attention takes them apart, computes them side by
side (B, T), and puts its output back end to end.

B = rows, T = the longest row in tokens, N = tokens of all rows, H = heads, D = size of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Packing:
    """The place of each token in both forms."""

    shape: tuple[int, int]
    """(B, T)"""
    at: Tensor
    """(N,) for each token its place among the B * T places of rows side by side."""
    back: Tensor
    """(B * T,) for each of these places its token; at padding any token."""
    padding: Tensor
    """The places among B * T that hold no token."""

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


def packing_of(lengths: Sequence[int], device: torch.device) -> Packing | None:
    """The packing of rows of these lengths, padded on the right; None if nothing is padded."""
    longest = max(lengths, default=0)
    if sum(lengths) == longest * len(lengths):
        return None
    real = (torch.arange(longest) < torch.tensor(lengths)[:, None]).flatten()
    at, padding = real.nonzero()[:, 0], (~real).nonzero()[:, 0]
    back = real.cumsum(0) - 1
    return Packing((len(lengths), longest), at.to(device), back.to(device), padding.to(device))


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
        return None, *(_heads_of(packing.end_to_end(_flat(each)), tokens, each) for each in grads)


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, packing: Packing, output: Tensor) -> Tensor:
        ctx.packing = packing
        return packing.end_to_end(output.flatten(2).flatten(0, 1)).view(1, -1, *output.shape[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        (grad,) = grads
        packing: Packing = ctx.packing
        return None, packing.side_by_side(grad.flatten(2)[0]).view(*packing.shape, *grad.shape[2:])


def _flat(heads: Tensor) -> Tensor:
    """(B, H, T, D) -> (B * T, H * D)."""
    return heads.transpose(1, 2).flatten(2).flatten(0, 1)


def _heads_of(flat: Tensor, shape: tuple[int, int], like: Tensor) -> Tensor:
    """(B * T, H * D) -> (B, H, T, D), with the heads of `like`."""
    return flat.view(*shape, like.shape[1], like.shape[3]).transpose(1, 2)
