"""Attention with a prefix that all rows of a batch share, and the cache for it.

The keys and values of the prefix are stored once, whatever the number of rows, and each step reads
them once for the whole batch. A cache per row would copy and read them for each row. (The idea is
from Hydragen, Juravsky et al. 2024, arXiv 2402.05099.)

Shapes: B rows, H query heads, K key heads, G = H / K, T new tokens, S tokens of the row, P tokens
of the prefix, D size of a head.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "etude_shared_prefix"
GROWTH_TOKENS = 64  # Tokens by which a full cache grows
# Architectures with plain attention, as checked by reading their code or by a test.
VERIFIED_MODEL_TYPES = frozenset(
    {"llama", "qwen2", "qwen3", "mistral", "smollm3", "olmo2", "granite", "phi3"}
)


@dataclass(frozen=True)
class Prefix:
    """Keys and values (1, K, P, D) of the shared tokens, one pair per layer."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    length: int


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer in buffers with spare room, so a step copies only one token."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def update(
        self, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values (B, K, T, D) and return all so far."""
        end = self.length + key.shape[2]
        self.keys = self._append(self.keys, key, end)
        self.values = self._append(self.values, value, end)
        self.is_initialized = True
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _append(self, buffer: Tensor | None, new: Tensor, end: int) -> Tensor:
        if buffer is None or end > buffer.shape[2]:
            num_rows, heads, _, size = new.shape
            grown = new.new_empty(num_rows, heads, end + GROWTH_TOKENS, size)
            if buffer is not None:
                grown[:, :, : self.length] = buffer[:, :, : self.length]
            buffer = grown
        buffer[:, :, self.length : end] = new
        return buffer

    @torch.inference_mode()
    def join(self, other: Self, first: int) -> None:
        """Add the rows of another layer, padded on the left to the same length; then drop the
        `first` tokens.
        """
        length = max(self.length, other.length)
        keys = [layer._pad(layer.keys, length) for layer in (self, other)]
        values = [layer._pad(layer.values, length) for layer in (self, other)]
        self.keys = torch.cat(keys)[:, :, first:]
        self.values = torch.cat(values)[:, :, first:]
        self.length = length - first

    def _pad(self, buffer: Tensor | None, length: int) -> Tensor:
        assert buffer is not None, "rows that were read have a cache"
        return pad(buffer[:, :, : self.length], (0, 0, length - self.length, 0))

    def get_seq_length(self) -> int:
        """Return the number of cached tokens per row."""
        return self.length

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the rows with these indices."""
        if self.keys is not None and self.values is not None:
            self.keys = self.keys[indices]
            self.values = self.values[indices]


def create_cache(num_layers: int) -> Any:
    """Create an empty cache for a model with full attention in every layer."""
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
    """Compute attention of (B, H, T, D) over the prefix and the rows' own (B, K, S, D).

    `attention_mask` (B, 1, T, S) is for the rows' own tokens and true where a token attends to
    another. Without a prefix this is the scaled dot product attention of transformers.
    """
    if prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    assert attention_mask is not None, "rows after a prefix need a mask"
    num_rows, heads, num_new, size = query.shape
    key_heads = key.shape[1]
    scale = kwargs["scaling"]
    prefix_key, prefix_value = prefix.layers[module.layer_idx]
    # The G query heads of a key head are arranged as G * T queries, so no key is repeated.
    q = query.reshape(num_rows, key_heads, -1, size)
    mask = torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill_(
        ~attention_mask, float("-inf")
    )
    row_output, row_sum = _attend(q, key, value, mask.repeat(1, 1, heads // key_heads, 1), scale)
    # The prefix is read once, for the queries of all rows as if they were one row.
    q = q.transpose(0, 1).reshape(1, key_heads, -1, size)
    prefix_output, prefix_sum = _attend(q, prefix_key, prefix_value, None, scale)
    prefix_output = prefix_output.reshape(key_heads, num_rows, -1, size).transpose(0, 1)
    prefix_sum = prefix_sum.reshape(key_heads, num_rows, -1).transpose(0, 1)
    # Each output is weighted by its share of the softmax's sum.
    share = torch.sigmoid(prefix_sum - row_sum)[..., None].to(query.dtype)
    output = torch.lerp(row_output, prefix_output, share)
    return output.reshape(num_rows, heads, num_new, size).transpose(1, 2), None


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Compute attention and, for each query, the logarithm of the softmax's sum."""
    if query.device.type == "cpu":
        # the public function does not return this sum
        op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return op(query, key, value, attn_mask=mask, scale=scale)  # type: ignore[no-any-return]
    scores = (query @ key.transpose(2, 3)).float() * scale
    scores = scores if mask is None else scores + mask
    return torch.softmax(scores, dim=-1).to(value.dtype) @ value, scores.logsumexp(dim=-1)


AttentionInterface.register(ATTENTION, shared_prefix_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def can_share_prefix(module: Any) -> bool:
    """Whether `shared_prefix_attention` computes a model's attention.

    This is so if every layer attends to all earlier tokens, without soft caps or sinks.
    """
    config = module.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    unsupported = ("attn_logit_softcapping", "sliding_window", "use_alibi", "alibi")
    return (
        config.model_type in VERIFIED_MODEL_TYPES
        and kinds == {"full_attention"}
        and not any(getattr(config, name, None) for name in unsupported)
    )
