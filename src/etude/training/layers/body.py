"""From a micro-batch to its last hidden states: the part of a model below its head.

B = rows of a micro-batch, T = its longest row in tokens, N = tokens of all its rows, D = width of the hidden states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from etude.training.layers.attention import short_rows, takes_its_place
from etude.training.rows.batches import MicroBatch, TokenRow, collate
from etude.training.rows.packing import NotPackedError, Packing, packed_so, packing_of, unpacked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Body(Protocol):
    """Makes the last hidden states (B, T, D) of a micro-batch; what stands at padding means nothing."""

    @property
    def packed(self) -> bool:
        """Whether padding is computed by attention alone."""

    def __call__(self, module: PreTrainedModel, batch: MicroBatch) -> Tensor:
        """The states, from the batch's tokens."""


WINDOWS = ("sliding_window", "attention_chunk_size")
"""Settings of a model that bound how far back a token sees."""
PROBE = (7, 4, 2)
"""Lengths of the rows on which packing is tried."""


@dataclass(frozen=True, slots=True)
class AllLayers:
    """A body that computes every layer: rows side by side or, in models that `best_body` approves, packed."""

    packed: bool

    def __call__(self, module: PreTrainedModel, batch: MicroBatch) -> Tensor:
        """No attention mask is needed: padding stands on the right and attention is causal, so no real token sees
        it; and packed rows are put side by side for attention."""
        packing = self.packing(module, batch)
        with short_rows(module):
            if packing is None:
                return _hidden(module, input_ids=batch.ids)
            ids = batch.ids.flatten()[packing.at][None]
            with packed_so(packing):
                hidden = _hidden(module, input_ids=ids, position_ids=packing.positions)
        # The head reads learned positions of rows side by side.
        return unpacked(packing, hidden[:, None])[0][:, 0]

    def packing(self, module: PreTrainedModel, batch: MicroBatch) -> Packing | None:
        """How the layers are given this batch; None: (B, T), with its padding."""
        if not self.packed or max(map(_length, batch.rows), default=0) > _window(module):
            return None
        return packing_of([*map(_length, batch.rows)], batch.ids.device)


whole_body, packed_body = AllLayers(packed=False), AllLayers(packed=True)


@torch.no_grad()
def best_body(module: PreTrainedModel) -> AllLayers:
    """`packed_body` where the model computes the same so in a trial, else `whole_body`.

    Tried on a few short rows. Up to rounding their states must be those of rows side by side; and behind another
    first row those of all others must stay the same to the bit: a convolution or a recurrent state would let rows see
    each other. Layers of experts may fail this by rounding alone, and are then not packed. What depends on a place
    thousands of tokens into the long row is not seen. Leaves the module in eval mode.
    """
    module.eval()
    if not takes_its_place(module) or _recomputes(module):
        return whole_body
    words = module.config.get_text_config().vocab_size
    rows = [[(5 * number + at) % words for at in range(length)] for number, length in enumerate(PROBE)]
    batch = _batch(rows, module.device)
    if packed_body.packing(module, batch) is None:
        return whole_body
    try:
        packed = packed_body(module, batch)
        after_another = packed_body(
            module, _batch([[(id + 1) % words for id in rows[0]], *rows[1:]], module.device)
        )
    except torch.OutOfMemoryError:
        raise
    except (NotPackedError, TypeError, ValueError, AttributeError, IndexError, RuntimeError):
        return whole_body
    apart = torch.equal(packed[1:], after_another[1:])
    whole = whole_body(module, batch)
    limit = 1e-4 if torch.finfo(whole.dtype).bits >= 32 else 3e-2
    real = [slice(len(row)) for row in rows]
    pairs = [(packed[at, part].float(), whole[at, part].float()) for at, part in enumerate(real)]
    close = all((ours - theirs).norm() <= limit * theirs.norm() for ours, theirs in pairs)
    return packed_body if apart and close else whole_body


def _recomputes(module: PreTrainedModel) -> bool:
    """Whether layers are computed again in the backward, where nothing says any more how their rows are packed."""
    return any(getattr(part, "gradient_checkpointing", False) for part in module.modules())


def _hidden(module: PreTrainedModel, **inputs: Tensor) -> Tensor:
    hidden: Tensor = module.base_model(**inputs, use_cache=False).last_hidden_state
    return hidden


def _length(row: TokenRow) -> int:
    return len(row.ids)


def _batch(rows: Sequence[Sequence[int]], device: torch.device) -> MicroBatch:
    return collate([TokenRow("", tuple(ids), (True,) * len(ids)) for ids in rows], device)


def _window(module: PreTrainedModel) -> float:
    """Tokens up to which a row sees all of itself."""
    config = module.config.get_text_config()
    given = (getattr(config, name, None) for name in WINDOWS)
    return min((window for window in given if window and window > 0), default=math.inf)
