"""The model below its head in training: attention, and the last hidden states of a micro-batch.

On two CPU cores, the backward pass of torch's fused attention kernel takes most of attention's time
for rows of up to about 250 tokens. For these rows, plain products (scores, softmax, values) are
several times faster; the probabilities are stored for the backward pass. Longer rows, other devices
and special cases (masks, windows, caps) use the fused kernel. Both compute packed rows (packing.py)
side by side.

B = rows of a micro-batch, T = its longest row in tokens, N = tokens of all its rows, H = query
heads, K = key heads, G = H / K, D = size of a head, or width of the hidden states.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from etude.training.rows import packing as packed_rows
from etude.training.rows.batches import MicroBatch, TokenRow, collate

ATTENTION_NAME = "etude_training"
MAX_PLAIN_TOKENS = 256
"""The longest row, in tokens, that plain products compute. A step is 20% faster at 70 tokens and
15% at 200.
"""
WINDOW_SETTINGS = ("sliding_window", "attention_chunk_size")
"""The settings of a model that limit how far back a token attends."""
PROBE_LENGTHS = (7, 4, 2)
"""The lengths of the rows with which packing is tested."""


class _ShortAttention(torch.autograd.Function):
    """softmax(scaling * q k^T, causal) v. The G query heads of a key head are stacked: (B * K, G *
    T, D).
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        rows, heads, length, size = query.shape
        groups = rows * key.shape[1]
        shared = heads // key.shape[1]
        q, k, v = (states.reshape(groups, -1, size) for states in (query, key, value))
        wide = torch.promote_types(q.dtype, torch.float32)
        scores = (
            torch.bmm(q, k.transpose(1, 2))
            .to(wide)
            .mul_(scaling)
            .view(groups, shared, length, length)
        )
        # True above the diagonal: a token must not attend to later tokens.
        future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu_(1)
        weights = (
            scores.masked_fill_(future, -torch.inf).softmax(-1).to(q.dtype).view(groups, -1, length)
        )
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
        # Gradient of the softmax: weights * (grad - sum(grad * weights)).
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
    """Compute attention with transformers' interface: q (B, H, T, D), k and v (B, K, T, D) -> (B,
    T, H, D).

    Packed rows are passed and returned as one long row: (1, H, N, D) -> (1, N, H, D).
    """
    packing = packed_rows.get_packing()
    if packing is None:
        return _compute_attention(module, query, key, value, attention_mask, **options), None
    if attention_mask is not None or not packed_rows.has_packed_shape(packing, query, key, value):
        raise packed_rows.NotPackedError
    query, key, value = packed_rows.unpack(packing, query, key, value)
    return packed_rows.pack(
        packing, _compute_attention(module, query, key, value, None, **options)
    ), None


def _compute_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **special: Any,
) -> Tensor:
    """Use plain products if they are possible and faster, else the fused kernel."""
    # The fused kernel is used for generation, which has fewer queries than keys.
    is_short = query.device.type == "cpu" and query.shape[2] == key.shape[2] <= MAX_PLAIN_TOKENS
    is_plain = attention_mask is None and not dropout and getattr(module, "is_causal", True)
    if not (is_short and is_plain) or any(
        special.get(name) is not None for name in ("softcap", "position_bias")
    ):
        fused: Tensor = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **special
        )[0]
        return fused
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    output: Tensor = _ShortAttention.apply(query, key, value, scale)  # type: ignore[no-untyped-call]
    return output.transpose(1, 2).contiguous()


def training_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """Build the fused kernel's mask; None for packed rows, which attention computes side by
    side.
    """
    return None if packed_rows.get_packing() is not None else sdpa_mask(*args, **kwargs)


AttentionInterface.register(ATTENTION_NAME, training_attention)
AttentionMaskInterface.register(ATTENTION_NAME, training_mask)


def uses_fused_kernel(module: PreTrainedModel) -> bool:
    """Whether attention uses the fused kernel. Another choice (eager, a flash kernel) is not
    changed.
    """
    return module.config._attn_implementation in ("sdpa", "etude_shared_prefix", ATTENTION_NAME)


@contextmanager
def use_training_attention(module: PreTrainedModel) -> Iterator[None]:
    """Context manager: replace the fused kernel's attention by `training_attention`."""
    config = module.config
    previous = config._attn_implementation
    if uses_fused_kernel(module):
        config._attn_implementation = ATTENTION_NAME
    try:
        yield
    finally:
        config._attn_implementation = previous


def compute_hidden_states(module: PreTrainedModel, batch: MicroBatch, is_packed: bool) -> Tensor:
    """Compute the last hidden states (B, T, D) of a micro-batch; the values at padding are
    arbitrary.

    With `is_packed`, only attention computes padding; this requires a model for which `can_pack` is
    true. No attention mask is needed: padding is on the right and attention is causal, so no real
    token attends to it.
    """
    packing = _build_packing(module, batch) if is_packed else None
    with use_training_attention(module):
        if packing is None:
            return _run_body(module, input_ids=batch.ids)
        # Compute the whole micro-batch as one long row (1, N), with the positions of each row.
        ids = batch.ids.flatten()[packing.slots][None]
        with packed_rows.use_packing(packing):
            hidden = _run_body(module, input_ids=ids, position_ids=packing.positions)
    return packed_rows.unpack(packing, hidden[:, None])[0][:, 0]


@torch.no_grad()
def can_pack(module: PreTrainedModel) -> bool:
    """Test with a few short rows whether the model computes the same hidden states for packed rows.

    Except for rounding, the states must equal those of rows side by side. If the first row changes,
    the states of all other rows must not change in any bit, because a convolution or a recurrent
    state would mix rows. Layers of experts may fail this test because of rounding alone. An effect
    that starts thousands of tokens into the packed row is not detected. Leaves the module in eval
    mode.
    """
    module.eval()
    # Layers that are computed again in the backward pass (checkpointing) no longer have the packing
    # of their rows.
    recomputes = any(getattr(layer, "gradient_checkpointing", False) for layer in module.modules())
    if recomputes or not uses_fused_kernel(module):
        return False
    vocabulary = module.config.get_text_config().vocab_size
    rows = [
        [(5 * row + i) % vocabulary for i in range(length)]
        for row, length in enumerate(PROBE_LENGTHS)
    ]
    changed_rows = [[(token + 1) % vocabulary for token in rows[0]], *rows[1:]]
    batch, changed = (
        collate([TokenRow("", tuple(ids), (True,) * len(ids)) for ids in probe], module.device)
        for probe in (rows, changed_rows)
    )
    if _build_packing(module, batch) is None:
        return False
    try:
        packed, packed_changed = (
            compute_hidden_states(module, probe, is_packed=True) for probe in (batch, changed)
        )
    except torch.OutOfMemoryError:
        raise
    except (
        packed_rows.NotPackedError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        RuntimeError,
    ):
        return False
    if not torch.equal(packed[1:], packed_changed[1:]):
        return False
    padded = compute_hidden_states(module, batch, is_packed=False)
    # Packed and padded rows use different kernels, so their states differ by rounding.
    limit = 1e-4 if torch.finfo(padded.dtype).bits >= 32 else 3e-2
    pairs = [
        (packed[row, :length].float(), padded[row, :length].float())
        for row, length in enumerate(PROBE_LENGTHS)
    ]
    return all(
        (packed_row - padded_row).norm() <= limit * padded_row.norm()
        for packed_row, padded_row in pairs
    )


def _build_packing(module: PreTrainedModel, batch: MicroBatch) -> packed_rows.Packing | None:
    """Build the packing of a batch; None without padding and shared tokens, or if a row exceeds the
    model's window.
    """
    lengths = [len(row.ids) for row in batch.rows]
    config = module.config.get_text_config()
    windows = (getattr(config, name, None) for name in WINDOW_SETTINGS)
    if max(lengths) > min(
        (window for window in windows if window and window > 0), default=math.inf
    ):
        return None
    return packed_rows.build_packing(
        lengths, batch.ids.device, packed_rows.count_shared_tokens([row.ids for row in batch.rows])
    )


def _run_body(module: PreTrainedModel, **inputs: Tensor) -> Tensor:
    hidden: Tensor = module.base_model(**inputs, use_cache=False).last_hidden_state
    return hidden
