"""RMSNorm and SwiGLU with fewer passes over memory and less stored for the backward pass.

On a CPU, memory limits the elementwise work of a decoder. As separate operations, a norm stores
three copies of its input, and a gated layer three copies of its hidden values. Here each is one
autograd function that stores only its input and computes the rest again.

Layers are not chosen by class name. A layer's forward is replaced only if the fused forward gives
the same bits for a random input and the layer uses no random numbers in training (dropout).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Forward = Callable[[Tensor], Tensor]

PROBE_TOKENS = 3
"""The number of tokens of the random input for which both forwards must give the same bits."""


class _RMSNorm(torch.autograd.Function):
    """weight * x / sqrt(mean(x^2) + eps). The quotient is computed in fp32 and rounded before the
    weight is applied; the weight is frozen.

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
        # The gradient of a norm: remove the part along the normalised input.
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
def fuse_layers(module: nn.Module) -> Iterator[None]:
    """Context manager: compute norms and gated layers of `module` with fewer passes. Other kinds of
    layers, and norms whose weight is trained, do not change.
    """
    replaced = [layer for layer in module.modules() if _replace_forward(layer)]
    try:
        yield
    finally:
        for layer in replaced:
            del layer.forward


def _replace_forward(layer: nn.Module) -> bool:
    """Replace the layer's forward by a fused forward if both give the same bits; return whether it
    was replaced.
    """
    candidate = _build_norm(layer) or _build_gated(layer)
    if candidate is None or "forward" in vars(layer) or not _has_equal_output(layer, *candidate):
        return False
    fused = candidate[0]
    weight = getattr(layer, "weight", None)
    original = layer.forward

    def forward(hidden_states: Tensor) -> Tensor:
        is_trained = weight is not None and weight.requires_grad
        return original(hidden_states) if is_trained else fused(hidden_states)

    layer.forward = forward
    return True


def _build_norm(layer: nn.Module) -> tuple[Forward, Tensor] | None:
    """Build the fused forward of a layer that may be an RMSNorm, and a tensor as long as its
    input's last axis.
    """
    eps = getattr(layer, "variance_epsilon", getattr(layer, "eps", None))
    weight = getattr(layer, "weight", None)
    if not (isinstance(eps, float) and isinstance(weight, Tensor) and weight.ndim == 1):
        return None
    return lambda x: _RMSNorm.apply(x, weight, eps), weight  # type: ignore[no-untyped-call]


def _build_gated(module: nn.Module) -> tuple[Forward, Tensor] | None:
    """Build the fused forward of gate, up and down projections, and a tensor as long as its input's
    last axis.
    """
    # The names of Llama, Qwen, Mistral, Gemma and SmolLM.
    names = ("gate_proj", "up_proj", "down_proj")
    if not all(isinstance(getattr(module, name, None), nn.Linear) for name in names):
        return None
    layer: Any = module

    def forward(x: Tensor) -> Tensor:
        # Look up the projections at each call: adapters may have replaced them.
        hidden = _SwiGLU.apply(layer.gate_proj(x), layer.up_proj(x))  # type: ignore[no-untyped-call]
        down: Tensor = layer.down_proj(hidden)
        return down

    return forward, layer.gate_proj.weight[0]


@torch.no_grad()
def _has_equal_output(layer: nn.Module, fused: Forward, like: Tensor) -> bool:
    """Whether `fused` gives the layer's bits on a random input, in both modes. Modes and random
    state are restored.
    """
    x = torch.randn(1, PROBE_TOKENS, len(like), generator=torch.Generator().manual_seed(0)).to(like)
    modes = {submodule: submodule.training for submodule in layer.modules()}
    devices = [like.device] if like.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            state = _get_random_state(like.device)
            is_equal = all(
                torch.equal(layer.train(training)(x), fused(x)) for training in (False, True)
            )
            return is_equal and torch.equal(state, _get_random_state(like.device))
    except (TypeError, RuntimeError):
        return False
    finally:
        for submodule, training in modes.items():
            submodule.training = training


def _get_random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
