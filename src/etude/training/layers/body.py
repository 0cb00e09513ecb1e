"""From a micro-batch to its last hidden states: the part of a model below its head.

B = rows of a micro-batch, T = its longest row in tokens, N = tokens of all its rows, D = width of the hidden states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etude.training.layers.attention import uses_fused_kernel, using_training_attention
from etude.training.rows.batches import MicroBatch, TokenRow, collate
from etude.training.rows.packing import (
    NotPackedError,
    Packing,
    packing_of,
    shared_starts,
    unpacked,
    using_packing,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WINDOWS = ("sliding_window", "attention_chunk_size")
"""Settings of a model that bound how far back a token sees."""
PROBE = (7, 4, 2)
"""Lengths of the rows on which packing is tried."""


def hidden_states(module: PreTrainedModel, batch: MicroBatch, packed: bool) -> Tensor:
    """Return the last hidden states (B, T, D) of a micro-batch; the values at padding mean nothing.

    With `packed`, which only a model that `can_pack` may use, no padding is computed outside attention. No attention
    mask is needed: padding is on the right and attention is causal, so no real token sees it.
    """
    packing = _packing(module, batch) if packed else None
    with using_training_attention(module):
        if packing is None:
            return _computed(module, input_ids=batch.ids)
        ids = batch.ids.flatten()[packing.at][None]
        with using_packing(packing):
            hidden = _computed(module, input_ids=ids, position_ids=packing.positions)
    return unpacked(packing, hidden[:, None])[0][:, 0]


@torch.no_grad()
def can_pack(module: PreTrainedModel) -> bool:
    """Whether the model computes the same hidden states for packed rows, tried on a few short rows.

    Up to rounding the states must be those of rows side by side. With another first row the states of all others must
    stay equal to the last bit: a convolution or a recurrent state would let rows see each other. Layers of experts may
    fail this by rounding alone. An effect that starts thousands of tokens into the packed row is not found. Leaves the
    module in eval mode.
    """
    module.eval()
    if not uses_fused_kernel(module) or _recomputes(module):
        return False
    words = module.config.get_text_config().vocab_size
    rows = [[(5 * number + at) % words for at in range(length)] for number, length in enumerate(PROBE)]
    batch = _batch(rows, module.device)
    if _packing(module, batch) is None:
        return False
    other = _batch([[(id + 1) % words for id in rows[0]], *rows[1:]], module.device)
    try:
        packed, after_another = (hidden_states(module, each, packed=True) for each in (batch, other))
    except torch.OutOfMemoryError:
        raise
    except (NotPackedError, TypeError, ValueError, AttributeError, IndexError, RuntimeError):
        return False
    apart = torch.equal(packed[1:], after_another[1:])
    whole = hidden_states(module, batch, packed=False)
    limit = 1e-4 if torch.finfo(whole.dtype).bits >= 32 else 3e-2
    real = [slice(len(row)) for row in rows]
    pairs = [(packed[at, part].float(), whole[at, part].float()) for at, part in enumerate(real)]
    return apart and all((ours - theirs).norm() <= limit * theirs.norm() for ours, theirs in pairs)


def _packing(module: PreTrainedModel, batch: MicroBatch) -> Packing | None:
    """The packing of a batch; None if nothing is padded or shared, or a row is longer than the model's window."""
    lengths = [len(row.ids) for row in batch.rows]
    if max(lengths) > _window(module):
        return None
    return packing_of(lengths, batch.ids.device, shared_starts([row.ids for row in batch.rows]))


def _recomputes(module: PreTrainedModel) -> bool:
    """Whether layers are computed again in the backward, when the packing of their rows is no longer known."""
    return any(getattr(part, "gradient_checkpointing", False) for part in module.modules())


def _computed(module: PreTrainedModel, **inputs: Tensor) -> Tensor:
    hidden: Tensor = module.base_model(**inputs, use_cache=False).last_hidden_state
    return hidden


def _batch(rows: Sequence[Sequence[int]], device: torch.device) -> MicroBatch:
    return collate([TokenRow("", tuple(ids), (True,) * len(ids)) for ids in rows], device)


def _window(module: PreTrainedModel) -> float:
    """The longest row, in tokens, whose last token still sees its first."""
    config = module.config.get_text_config()
    given = (getattr(config, name, None) for name in WINDOWS)
    return min((window for window in given if window and window > 0), default=math.inf)
