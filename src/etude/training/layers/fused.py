"""RMSNorm and SwiGLU in fewer passes over memory, and with less kept for the backward.

On a CPU the elementwise work of a decoder is limited by memory: as single operations, a norm keeps three copies of its
input and a gated layer three of its hidden values. Here each is one autograd function that keeps its input and computes
the rest again.

Layers are not chosen by class name: one is replaced only if, on a random input, ours gives the same bits as its own,
and if it draws no random numbers in training (dropout).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Forward = Callable[[Tensor], Tensor]

PROBE_TOKENS = 3
"""Tokens of the random input on which ours and theirs must agree."""


class _RMSNorm(torch.autograd.Function):
    """weight * x / sqrt(mean(x^2) + eps), the quotient in fp32 and rounded before the weight; weight frozen.

    Source: Zhang and Sennrich 2019 (arXiv 1910.07467).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        inverse = wide.pow(2).mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return weight * (wide * inverse).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        grad = (grads[0] * weight).to(inverse.dtype)
        unit = x.to(inverse.dtype) * inverse
        along = (grad * unit).mean(-1, keepdim=True)
        return grad.sub_(unit.mul_(along)).mul_(inverse).to(x.dtype), None, None


class _SwiGLU(torch.autograd.Function):
    """silu(gate) * up. Source: Shazeer 2020 (arXiv 2002.05202)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_up = functional.silu(gate).mul_(grads[0])
        grad_gate: Tensor = torch.ops.aten.silu_backward(grads[0] * up, gate)
        return grad_gate, grad_up


@contextmanager
def fused(module: nn.Module) -> Iterator[None]:
    """Compute norms and gated layers of `module` in fewer passes for the length of a `with`. Layers of other forms, and
    norms whose weight is learned, are not changed."""
    replaced = [part for part in module.modules() if _replace(part)]
    try:
        yield
    finally:
        for part in replaced:
            del part.forward


def _replace(part: nn.Module) -> bool:
    """Replace the layer's own forward by ours if both give the same; return whether it did."""
    ours = _norm(part) or _gated(part)
    if ours is None or "forward" in vars(part) or not _agree(part, *ours):
        return False
    forward, weight = ours[0], getattr(part, "weight", None)
    theirs = part.forward

    def unless_learned(hidden_states: Tensor) -> Tensor:
        learned = weight is not None and weight.requires_grad
        return theirs(hidden_states) if learned else forward(hidden_states)

    part.forward = unless_learned
    return True


def _norm(part: nn.Module) -> tuple[Forward, Tensor] | None:
    """Ours for a layer that looks like an RMSNorm, and a tensor like its input's last axis."""
    eps = getattr(part, "variance_epsilon", getattr(part, "eps", None))
    weight = getattr(part, "weight", None)
    if not (isinstance(eps, float) and isinstance(weight, Tensor) and weight.ndim == 1):
        return None
    return lambda x: _RMSNorm.apply(x, weight, eps), weight  # type: ignore[no-untyped-call]


def _gated(part: nn.Module) -> tuple[Forward, Tensor] | None:
    """Ours for a layer of gate, up and down projections, and a tensor like its input's last axis. The projections are
    looked up at each call: adapters may have replaced them."""
    names = ("gate_proj", "up_proj", "down_proj")
    if not all(isinstance(getattr(part, name, None), nn.Linear) for name in names):
        return None
    layer: Any = part

    def forward(x: Tensor) -> Tensor:
        hidden = _SwiGLU.apply(layer.gate_proj(x), layer.up_proj(x))  # type: ignore[no-untyped-call]
        down: Tensor = layer.down_proj(hidden)
        return down

    return forward, layer.gate_proj.weight[0]


@torch.no_grad()
def _agree(part: nn.Module, ours: Forward, like: Tensor) -> bool:
    """Whether ours gives the same bits as the layer on a random input, in both modes. Modes and random state are
    restored."""
    drawn = torch.randn(1, PROBE_TOKENS, len(like), generator=torch.Generator().manual_seed(0))
    x = drawn.to(like)
    modes = {each: each.training for each in part.modules()}
    devices = [like.device] if like.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            before = _random_state(like.device)
            agree = all(torch.equal(part.train(training)(x), ours(x)) for training in (False, True))
            return agree and torch.equal(before, _random_state(like.device))
    except (TypeError, RuntimeError):
        return False
    finally:
        for each, training in modes.items():
            each.training = training


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
