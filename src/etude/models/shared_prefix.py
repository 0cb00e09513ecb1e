"""Attention with a prefix that all rows of a batch share, and the cache that goes with it.

The prefix's keys and values exist once, whatever the number of rows: every step reads them once for
the whole batch, where a cache per row would copy and read them for each row. (The idea is Hydragen's,
Juravsky et al. 2024, arXiv 2402.05099.)

Shapes: B rows, H query heads, K key heads, G = H / K, T new tokens, S tokens of the row, P tokens of
the prefix, D size of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "etude_shared_prefix"
GROWTH = 64
"""Tokens by which a full cache grows."""


@dataclass(frozen=True)
class Prefix:
    """Keys and values (1, K, P, D) of the shared tokens, one pair a layer."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    length: int


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer in buffers with room to grow, so that a step copies one token only."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def update(self, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Adds (B, K, T, D) and returns everything so far."""
        end = self.length + key.shape[2]
        self.keys = self._with(self.keys, key, end)
        self.values = self._with(self.values, value, end)
        self.is_initialized = True
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _with(self, buffer: Tensor | None, new: Tensor, end: int) -> Tensor:
        if buffer is None or end > buffer.shape[2]:
            rows, heads, _, size = new.shape
            grown = new.new_empty(rows, heads, end + GROWTH, size)
            if buffer is not None:
                grown[:, :, : self.length] = buffer[:, :, : self.length]
            buffer = grown
        buffer[:, :, self.length : end] = new
        return buffer

    @torch.inference_mode()
    def join(self, other: GrowingLayer, first: int) -> None:
        """Adds the rows of another layer, padded on the left to the same length; then `first` tokens are left out."""
        length = max(self.length, other.length)
        self.keys = torch.cat([self._padded(self.keys, length), other._padded(other.keys, length)])[
            :, :, first:
        ]
        self.values = torch.cat([self._padded(self.values, length), other._padded(other.values, length)])[
            :, :, first:
        ]
        self.length = length - first

    def _padded(self, buffer: Tensor | None, length: int) -> Tensor:
        """What a buffer holds, behind padding."""
        assert buffer is not None, "rows that were read have a cache"
        return pad(buffer[:, :, : self.length], (0, 0, length - self.length, 0))

    def get_seq_length(self) -> int:
        """Tokens held for each row."""
        return self.length

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps some rows only."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[indices], self.values[indices]


def growing_cache(num_layers: int) -> Any:
    """An empty cache for a model with full attention in every layer."""
    return Cache(layers=[GrowingLayer() for _ in range(num_layers)])


def shared_prefix_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    prefix: Prefix | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    """Attention of (B, H, T, D) over the prefix and the rows' own (B, K, S, D); `attention_mask`
    (B, 1, T, S), true where a token sees, speaks of the rows' own tokens. Without a prefix it is
    transformers' own scaled dot product attention."""
    if prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    assert attention_mask is not None, "rows beside a prefix come with their mask"
    rows, heads, new, size = query.shape
    key_heads, scale = key.shape[1], kwargs["scaling"]
    prefix_key, prefix_value = prefix.layers[module.layer_idx]
    # The G query heads of a key head are laid out as G * T queries, so that no key is repeated.
    q = query.reshape(rows, key_heads, -1, size)
    mask = torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill_(~attention_mask, float("-inf"))
    own, own_sum = _attend(q, key, value, mask.repeat(1, 1, heads // key_heads, 1), scale)
    q = q.transpose(0, 1).reshape(1, key_heads, -1, size)
    shared, shared_sum = _attend(q, prefix_key, prefix_value, None, scale)
    shared = shared.reshape(key_heads, rows, -1, size).transpose(0, 1)
    shared_sum = shared_sum.reshape(key_heads, rows, -1).transpose(0, 1)
    share = torch.sigmoid(shared_sum - own_sum)[..., None].to(query.dtype)
    out = torch.lerp(own, shared, share)
    return out.reshape(rows, heads, new, size).transpose(1, 2), None


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention, and the logarithm of the sum by which each query's weights were divided."""
    if query.device.type == "cpu":
        # The public function keeps this sum to itself.
        op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return op(query, key, value, attn_mask=mask, scale=scale)  # type: ignore[no-any-return]
    scores = (query @ key.transpose(2, 3)).float() * scale
    scores = scores if mask is None else scores + mask
    return torch.softmax(scores, dim=-1).to(value.dtype) @ value, scores.logsumexp(dim=-1)


AttentionInterface.register(ATTENTION, shared_prefix_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def can_share_prefix(module: Any) -> bool:
    """Whether a model's attention is the plain kind that `shared_prefix_attention` computes: every
    layer attends to everything before, without soft caps or sinks."""
    config = module.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    odd = ("attn_logit_softcapping", "sliding_window", "use_alibi", "alibi")
    return (
        config.model_type in PLAIN_ATTENTION
        and kinds == {"full_attention"}
        and not any(getattr(config, name, None) for name in odd)
    )


PLAIN_ATTENTION = frozenset({"llama", "qwen2", "qwen3", "mistral", "smollm3", "olmo2", "granite", "phi3"})
"""Architectures whose attention was read or tested to be the plain kind."""
