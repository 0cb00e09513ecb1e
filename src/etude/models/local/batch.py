"""The state of one batch in a model: cache, mask and positions of its rows.

Shapes: B rows, T new tokens, S tokens in a row of the cache, P tokens of the shared prefix, V
vocabulary.
"""

import inspect
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from etude.models.local.shared_prefix import ATTENTION, Prefix, can_share_prefix, create_cache


class CausalModel:
    """A causal language model with one interface, whatever name its architecture has for the
    cache.
    """

    def __init__(self, module: Any, pad: int) -> None:
        self.module = module.eval()
        self.pad = pad
        self.can_share = can_share_prefix(module)
        if self.can_share:
            module.set_attn_implementation(ATTENTION)
        parameters = inspect.signature(module.forward).parameters
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device  # type: ignore[no-any-return]

    def new_cache(self) -> Any:
        """Create an empty cache."""
        config = self.module.config
        return (
            create_cache(config.num_hidden_layers)
            if self.can_share
            else DynamicCache(config=config)
        )

    def forward(
        self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any, **options: Any
    ) -> Tensor:
        """Compute logits (B, kept, V) and add the new tokens to the cache."""
        options = {**options, self._cache_name: cache}
        output = self.module(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, **options
        )
        return output.logits  # type: ignore[no-any-return]

    def compute_prefix(self, tokens: Sequence[int]) -> Prefix | None:
        """Compute a shared prefix; None if there are no tokens."""
        if not tokens:
            return None
        state = BatchState(self, None, 1)
        state.read([list(tokens)])
        layers = tuple(
            (
                layer.keys[:, :, : len(tokens)].contiguous(),
                layer.values[:, :, : len(tokens)].contiguous(),
            )
            for layer in state.cache.layers
        )
        return Prefix(layers, len(tokens))


class BatchState:
    """The rows of one batch, which all follow the same prefix."""

    def __init__(self, model: CausalModel, prefix: Prefix | None, num_rows: int) -> None:
        self.model = model
        self.prefix = prefix
        self.cache = model.new_cache()
        self.is_real = torch.zeros(num_rows, 0, dtype=torch.bool, device=model.device)
        """(B, S): which tokens in the cache are real; the others are padding."""

    def read(self, sequences: Sequence[Sequence[int]], keep: int = 1) -> Tensor:
        """Read one sequence per row, padded on the left; return logits (B, keep, V) of the last
        `keep` positions.
        """
        width = max(map(len, sequences))
        padding = self.model.pad
        ids = torch.tensor([[padding] * (width - len(row)) + list(row) for row in sequences])
        is_real = torch.tensor(
            [[False] * (width - len(row)) + [True] * len(row) for row in sequences]
        )
        depth = (is_real.cumsum(1) - 1).clamp(min=0)
        return self._forward(ids, is_real, torch.ones(width, width).tril().bool(), depth, keep)

    def read_tree(self, ids: Tensor, ancestors: Tensor, depth: Tensor) -> Tensor:
        """Read the same tree of T tokens in every row; return logits (B, T, V).

        `ancestors` (T, T) is true where a token attends to another; `depth` (T) counts from 0.
        """
        num_rows = len(self.is_real)
        is_real = torch.ones(num_rows, len(ids), dtype=torch.bool)
        ids = ids.expand(num_rows, -1)
        depth = depth.expand(num_rows, -1)
        return self._forward(ids, is_real, ancestors, depth, ids.shape[1])

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows."""
        indices = torch.tensor(rows, device=self.model.device)
        self.cache.batch_select_indices(indices)
        self.is_real = self.is_real[indices]

    def join(self, other: Self) -> None:
        """Add rows that follow the same prefix; remove padding that no row needs."""
        masks = [state.is_real for state in (self, other)]
        width = max(mask.shape[1] for mask in masks)
        joined = torch.cat([pad(mask, (width - mask.shape[1], 0)) for mask in masks])
        first = int(joined.any(dim=0).int().argmax())
        self.is_real = joined[:, first:]
        for layer, other_layer in zip(self.cache.layers, other.cache.layers, strict=True):
            layer.join(other_layer, first)

    @torch.inference_mode()
    def _forward(
        self, ids: Tensor, is_real: Tensor, sees: Tensor, depth: Tensor, keep: int
    ) -> Tensor:
        device = self.model.device
        ids, is_real, sees, depth = (tensor.to(device) for tensor in (ids, is_real, sees, depth))
        past = self.is_real
        self.is_real = torch.cat([self.is_real, is_real], dim=1)
        begin = (self.prefix.length if self.prefix else 0) + past.sum(1, keepdim=True)
        # Select by index, which copies. With a slice of the hidden states, the head is multiplied
        # row by row, which took four fifths of the time of a batch of prompts.
        width = ids.shape[1]
        options: dict[str, Any] = {
            "logits_to_keep": torch.arange(width - keep, width, device=device)
        }
        if self.prefix:
            options["prefix"] = self.prefix
        mask = _build_mask(past, is_real, sees) if self.model.can_share else self.is_real.long()
        return self.model.forward(ids, mask, begin + depth, self.cache, **options)


def _build_mask(past: Tensor, is_real: Tensor, sees: Tensor) -> Tensor:
    """Build the mask (B, 1, T, S + T): each new token attends to itself and to the real tokens
    before it in its row.
    """
    width = is_real.shape[1]
    # Padding also attends to itself: a softmax over nothing is NaN, and NaN would spread.
    eye = torch.eye(width, dtype=torch.bool, device=is_real.device)
    new = (is_real[:, None, :] & sees) | eye
    return torch.cat([past[:, None, :].expand(-1, width, -1), new], dim=2)[:, None]
