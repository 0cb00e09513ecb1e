"""Causal attention in training: faster for short rows on a CPU, and able to compute packed rows (packing.py).

On two CPU cores the backward of torch's fused kernel takes most of attention's time for rows of up to some 250 tokens.
For these the plain products are several times faster: scores, softmax, values, with the probabilities kept for the
backward. Longer rows, other devices and everything special (masks, windows, caps) use the fused kernel.

B rows, H query heads, K key heads, G = H / K, T tokens, D size of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from etude.training.rows.packing import NotPackedError, current_packing, fits, packed, unpacked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "etude_training"
SHORT = 256
"""Longest row, in tokens, computed by plain products; steps take 20% less at 70 tokens, 15% at 200."""


class _ShortAttention(torch.autograd.Function):
    """softmax(scaling * q k^T, causal) v. Heads of one key lie below each other: (B * K, G * T, D)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        rows, heads, length, size = query.shape
        groups, shared = rows * key.shape[1], heads // key.shape[1]
        q, k, v = (
            query.reshape(groups, -1, size),
            key.reshape(groups, -1, size),
            value.reshape(groups, -1, size),
        )
        wide = torch.promote_types(q.dtype, torch.float32)
        scores = torch.bmm(q, k.transpose(1, 2)).to(wide).mul_(scaling).view(groups, shared, length, length)
        future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu_(1)
        weights = scores.masked_fill_(future, -torch.inf).softmax(-1).to(q.dtype).view(groups, -1, length)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scaling = scaling
        return torch.bmm(weights, v).view(query.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        (grad,) = grads
        rows, heads, length, size = grad.shape
        grad_out = grad.reshape(q.shape)
        wide = torch.promote_types(q.dtype, torch.float32)
        grad_weights = torch.bmm(grad_out, v.transpose(1, 2)).to(wide)
        through = weights.to(wide)
        inner = (grad_weights * through).sum(-1, keepdim=True)
        grad_scores = grad_weights.sub_(inner).mul_(through).mul_(ctx.scaling).to(q.dtype)
        keys = (rows, -1, length, size)
        return (
            torch.bmm(grad_scores, k).view(rows, heads, length, size),
            torch.bmm(grad_scores.transpose(1, 2), q).view(keys),
            torch.bmm(weights.transpose(1, 2), grad_out).view(keys),
            None,
        )


def training_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: q (B, H, T, D), k and v (B, K, T, D) -> (B, T, H, D).

    Packed rows are one long row on both sides: (1, H, N, D) -> (1, N, H, D).
    """
    packing = current_packing()
    if packing is None:
        return _attention(module, query, key, value, attention_mask, **options), None
    if attention_mask is not None or not fits(packing, query, key, value):
        raise NotPackedError
    query, key, value = unpacked(packing, query, key, value)
    return packed(packing, _attention(module, query, key, value, None, **options)), None


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **special: Any,
) -> Tensor:
    """Plain products if they are faster and sufficient, else the fused kernel."""
    short = query.device.type == "cpu" and query.shape[2] == key.shape[2] <= SHORT
    plain = attention_mask is None and not dropout and getattr(module, "is_causal", True)
    if not (short and plain) or any(special.get(name) is not None for name in ("softcap", "position_bias")):
        fused: Tensor = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **special
        )[0]
        return fused
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    output: Tensor = _ShortAttention.apply(query, key, value, scale)  # type: ignore[no-untyped-call]
    return output.transpose(1, 2).contiguous()


def training_mask(*given: Any, **named: Any) -> Tensor | None:
    """The fused kernel's mask; none for packed rows, which attention computes side by side."""
    return None if current_packing() is not None else sdpa_mask(*given, **named)


AttentionInterface.register(NAME, training_attention)
AttentionMaskInterface.register(NAME, training_mask)


def uses_fused_kernel(module: PreTrainedModel) -> bool:
    """Whether the model computes attention with the fused kernel. Another choice (eager, a flash kernel) is kept."""
    return module.config._attn_implementation in ("sdpa", "etude_shared_prefix", NAME)


@contextmanager
def using_training_attention(module: PreTrainedModel) -> Iterator[None]:
    """Replace the fused kernel's attention by that of training for the length of a `with`."""
    config = module.config
    before = config._attn_implementation
    if uses_fused_kernel(module):
        config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
