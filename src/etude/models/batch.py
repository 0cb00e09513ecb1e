"""One batch on its way through a model: cache, mask and positions of its rows.

Shapes: B rows, T new tokens, S tokens a row holds, P tokens of the shared prefix, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from etude.models.shared_prefix import ATTENTION, Prefix, can_share_prefix, growing_cache


class Engine:
    """A causal language model that computes, with what differs between architectures settled once."""

    def __init__(self, module: Any, pad: int) -> None:
        self.module = module.eval()
        self.pad = pad
        self.shares = can_share_prefix(module)
        if self.shares:
            module.set_attn_implementation(ATTENTION)
        parameters = inspect.signature(module.forward).parameters
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device  # type: ignore[no-any-return]

    def new_cache(self) -> Any:
        """An empty cache."""
        config = self.module.config
        return growing_cache(config.num_hidden_layers) if self.shares else DynamicCache(config=config)

    def forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any, **options: Any) -> Tensor:
        """Logits (B, kept, V); the cache takes up the new tokens."""
        options = {**options, self._cache_name: cache}
        out = self.module(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, **options
        )
        return out.logits  # type: ignore[no-any-return]

    def prefix(self, tokens: Sequence[int]) -> Prefix | None:
        """Computes a shared prefix once; None when it is empty."""
        if not tokens:
            return None
        rows = Rows(self, None, 1)
        rows.read([list(tokens)])
        layers = tuple(
            (layer.keys[:, :, : len(tokens)].contiguous(), layer.values[:, :, : len(tokens)].contiguous())
            for layer in rows.cache.layers
        )
        return Prefix(layers, len(tokens))


class Rows:
    """The rows of one batch, all behind the same prefix."""

    def __init__(self, engine: Engine, prefix: Prefix | None, num_rows: int) -> None:
        self.engine = engine
        self.prefix = prefix
        self.cache = engine.new_cache()
        self.seen = torch.zeros(num_rows, 0, dtype=torch.bool, device=engine.device)
        """(B, S): which of the tokens held are real, the others are padding."""

    def read(self, sequences: Sequence[Sequence[int]], keep: int = 1) -> Tensor:
        """Takes up one sequence a row, padded on the left; logits (B, keep, V) of the last `keep` places."""
        width = max(map(len, sequences))
        pad = self.engine.pad
        ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in sequences])
        real = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in sequences])
        depth = (real.cumsum(1) - 1).clamp(min=0)
        return self._forward(ids, real, torch.ones(width, width).tril().bool(), depth, keep)

    def read_tree(self, ids: Tensor, ancestors: Tensor, depth: Tensor) -> Tensor:
        """Takes up the same tree of T tokens in every row; `ancestors` (T, T) says which token sees
        which, `depth` (T) counts from 0. Logits (B, T, V)."""
        num_rows = len(self.seen)
        real = torch.ones(num_rows, len(ids), dtype=torch.bool)
        return self._forward(ids.expand(num_rows, -1), real, ancestors, depth.expand(num_rows, -1), len(ids))

    def select(self, rows: Sequence[int]) -> None:
        """Keeps only these rows."""
        indices = torch.tensor(rows, device=self.engine.device)
        self.cache.batch_select_indices(indices)
        self.seen = self.seen[indices]

    def join(self, others: Rows) -> None:
        """Takes up rows that stand behind the same prefix; of all rows the padding that none needs is left out."""
        widths = [rows.seen.shape[1] for rows in (self, others)]
        seen = [pad(rows.seen, (max(widths) - rows.seen.shape[1], 0)) for rows in (self, others)]
        both = torch.cat(seen)
        first = int(both.any(dim=0).int().argmax())
        self.seen = both[:, first:]
        for own, other in zip(self.cache.layers, others.cache.layers, strict=True):
            own.join(other, first)

    @torch.inference_mode()
    def _forward(self, ids: Tensor, real: Tensor, sees: Tensor, depth: Tensor, keep: int) -> Tensor:
        device = self.engine.device
        ids, real, sees, depth = (tensor.to(device) for tensor in (ids, real, sees, depth))
        past, self.seen = self.seen, torch.cat([self.seen, real], dim=1)
        begin = (self.prefix.length if self.prefix else 0) + past.sum(1, keepdim=True)
        # Chosen by index, which copies: on a slice of the hidden states the head would be multiplied row
        # by row, which took four fifths of the time that a batch of prompts takes.
        width = ids.shape[1]
        options: dict[str, Any] = {"logits_to_keep": torch.arange(width - keep, width, device=device)}
        if self.prefix:
            options["prefix"] = self.prefix
        mask = _mask(past, real, sees) if self.engine.shares else self.seen.long()
        return self.engine.forward(ids, mask, begin + depth, self.cache, **options)


def _mask(past: Tensor, real: Tensor, sees: Tensor) -> Tensor:
    """(B, 1, T, S + T): every new token sees the row's real tokens before it and itself. Padding sees
    itself too, since a softmax over nothing is not a number and would spread."""
    width = real.shape[1]
    eye = torch.eye(width, dtype=torch.bool, device=real.device)
    new = (real[:, None, :] & sees) | eye
    return torch.cat([past[:, None, :].expand(-1, width, -1), new], dim=2)[:, None]
