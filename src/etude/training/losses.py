"""What training minimises: the contract of a loss, and the default one, cross-entropy of the learned tokens.

The cross-entropy never holds the logits of more than a chunk of positions. Logits are computed only where a learned
token is predicted, chunk by chunk, and the gradient with respect to the hidden states in the same pass, so that
nothing is computed twice; so are those of the head's weight and bias when they are learned.

B = rows of a micro-batch, T = its longest row in tokens, N = learned tokens, D = width of the hidden states,
V = vocabulary, C = positions of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from etude.errors import ModelError
from etude.training.rows.batches import MicroBatch, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK_LOGITS = 2**22
"""Logits of one chunk on a processor: 16 MiB in fp32; larger ones are no faster and raise the peak memory."""
CHUNK_LOGITS_GPU = 2**26
"""On a GPU: 256 MiB in fp32. With a vocabulary of 152,000 a product then has 441 rows; the processor's number would
give 27, too few to keep a GPU busy. Calculated, not measured: there was no GPU."""

LARGE = 100.0
"""Logits up to this size show whether a model caps them: the caps of Gemma 2 begin at 30."""


class _SummedLoss(torch.autograd.Function):
    """Sum over N of -log softmax(hidden @ weight^T + bias)[target]."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor
    ) -> Tensor:
        wanted_hidden, wanted_weight, wanted_bias = ctx.needs_input_grad[:3]
        chunks = _Chunks(weight_VD, bias_V, len(targets_N))
        wide = chunks.wide.dtype
        grad_ND = torch.empty_like(hidden_ND) if any(ctx.needs_input_grad) else None
        grad_VD = torch.zeros_like(weight_VD, dtype=wide) if wanted_weight else None
        grad_V = torch.zeros_like(bias_V, dtype=wide) if bias_V is not None and wanted_bias else None
        total = torch.zeros((), dtype=wide, device=hidden_ND.device)
        for start in range(0, len(targets_N), chunks.size):
            part = slice(start, start + chunks.size)
            total += chunks.losses(hidden_ND[part], targets_N[part]).sum()
            if grad_ND is not None:
                chunks.gradient(targets_N[part], out_CD=grad_ND[part])
            if grad_VD is not None:
                grad_VD += chunks.narrow[: len(hidden_ND[part])].t() @ hidden_ND[part]
            if grad_V is not None:
                grad_V += chunks.narrow[: len(hidden_ND[part])].sum(0)
        ctx.save_for_backward(
            grad_ND if wanted_hidden else None,
            None if grad_VD is None else grad_VD.to(weight_VD.dtype),
            None if grad_V is None else grad_V.to(weight_VD.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # In 32 bits: rounded to 16 the factor would be off by up to 0.4% for all numbers alike.
        wide, kept = grads[0], ctx.saved_tensors
        scaled = [None if each is None else (each.to(wide.dtype) * wide).to(each.dtype) for each in kept]
        return *scaled, None


class _TokenLosses(torch.autograd.Function):
    """-log softmax(hidden @ weight^T + bias)[target] of each of N, for losses that weigh tokens by what the rows of a
    group come to. The logits are computed again in the backward, so that no more than a chunk of them is held."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor
    ) -> Tensor:
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, targets_N)
        chunks = _Chunks(weight_VD, bias_V, len(targets_N))
        parts = _parts(len(targets_N), chunks.size)
        return torch.cat([chunks.losses(hidden_ND[part], targets_N[part]) for part in parts])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, bias_V, targets_N = ctx.saved_tensors
        (factors_N,) = grads
        chunks = _Chunks(weight_VD, bias_V, len(targets_N))
        grad_ND = torch.empty_like(hidden_ND)
        grad_VD = torch.zeros_like(weight_VD, dtype=factors_N.dtype) if ctx.needs_input_grad[1] else None
        grad_V = torch.zeros_like(weight_VD[:, 0], dtype=factors_N.dtype) if ctx.needs_input_grad[2] else None
        for part in _parts(len(targets_N), chunks.size):
            chunks.losses(hidden_ND[part], targets_N[part])
            chunks.gradient(targets_N[part], out_CD=grad_ND[part], factors_C=factors_N[part])
            narrow_CV = chunks.narrow[: len(hidden_ND[part])]
            if grad_VD is not None:
                grad_VD += narrow_CV.t() @ hidden_ND[part]
            if grad_V is not None:
                grad_V += narrow_CV.sum(0)
        return (
            grad_ND,
            None if grad_VD is None else grad_VD.to(weight_VD.dtype),
            None if grad_V is None else grad_V.to(weight_VD.dtype),
            None,
        )


def _parts(total: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, total, size)]


class _Chunks:
    """The logits of one chunk after the other, computed in place in the same memory."""

    def __init__(self, weight_VD: Tensor, bias_V: Tensor | None, num_tokens: int) -> None:
        self.weight_VD, self.bias_V = weight_VD, bias_V
        self.size = min(num_tokens, max(1, chunk_logits(weight_VD.device) // weight_VD.shape[0]))
        self.narrow = weight_VD.new_empty(self.size, weight_VD.shape[0])
        wide = torch.promote_types(weight_VD.dtype, torch.float32)
        self.wide = self.narrow if wide == weight_VD.dtype else torch.empty_like(self.narrow, dtype=wide)

    def losses(self, hidden_CD: Tensor, targets_C: Tensor) -> Tensor:
        """The losses of the chunk; afterwards `wide` holds its probabilities."""
        narrow_CV, wide_CV = self.narrow[: len(hidden_CD)], self.wide[: len(hidden_CD)]
        torch.mm(hidden_CD, self.weight_VD.t(), out=narrow_CV)
        if self.bias_V is not None:
            narrow_CV += self.bias_V
        if wide_CV is not narrow_CV:
            wide_CV.copy_(narrow_CV)
        wide_CV -= wide_CV.amax(-1, keepdim=True)
        at_target_C = wide_CV.gather(-1, targets_C[:, None])[:, 0]
        sums_C = wide_CV.exp_().sum(-1)
        wide_CV /= sums_C[:, None]
        return sums_C.log() - at_target_C

    def gradient(self, targets_C: Tensor, out_CD: Tensor, factors_C: Tensor | None = None) -> None:
        """The gradient of the summed losses, each times its factor, with respect to the hidden states, from the
        probabilities."""
        narrow_CV, wide_CV = self.narrow[: len(targets_C)], self.wide[: len(targets_C)]
        wide_CV[torch.arange(len(targets_C), device=targets_C.device), targets_C] -= 1
        if factors_C is not None:
            wide_CV *= factors_C[:, None]
        if wide_CV is not narrow_CV:
            narrow_CV.copy_(wide_CV)
        torch.mm(narrow_CV, self.weight_VD, out=out_CD)


def chunk_logits(device: torch.device) -> int:
    """How many logits are held at once."""
    return CHUNK_LOGITS_GPU if device.type == "cuda" else CHUNK_LOGITS


def cross_entropy(module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor) -> Tensor:
    """Sum of the losses of the batch's learned tokens, in nats."""
    hidden_ND = hidden_BTD.flatten(0, 1)[batch.positions]
    head = module.get_output_embeddings()
    loss: Tensor = _SummedLoss.apply(hidden_ND, head.weight, head.bias, batch.targets)  # type: ignore[no-untyped-call]
    return loss


def row_log_probs(module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor) -> Tensor:
    """Sum of the log-probabilities of each row's learned tokens, (B,) in nats."""
    hidden_ND = hidden_BTD.flatten(0, 1)[batch.positions]
    head = module.get_output_embeddings()
    losses_N = _TokenLosses.apply(hidden_ND, head.weight, head.bias, batch.targets)  # type: ignore[no-untyped-call]
    sums_B: Tensor = losses_N.new_zeros(len(batch.rows))
    return -sums_B.index_add(0, batch.positions // batch.ids.shape[1], losses_N)


@torch.no_grad()
def check_head(module: PreTrainedModel) -> None:
    """Raise ModelError if the model's logits are not simply its head applied to its last hidden states.

    Some models scale or cap their logits; a loss without that would silently train something else. The head's input
    must be the hidden states, up to rounding, and large numbers put in place of its output must be the logits, to the
    last bit. Leaves the module in eval mode.
    """
    module.eval()
    ids = torch.arange(8, device=module.device)[None] % module.config.get_text_config().vocab_size
    head = module.get_output_embeddings()
    hidden = module.base_model(input_ids=ids, use_cache=False).last_hidden_state
    large = torch.linspace(-LARGE, LARGE, head.weight.shape[0]).to(hidden).expand(*ids.shape, -1)
    given: list[Tensor] = []

    def instead(_: object, inputs: tuple[Tensor, ...], __: object) -> Tensor:
        given.append(inputs[0])
        return large

    handle = head.register_forward_hook(instead)
    try:
        logits = module(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    limit = 1e-4 if torch.finfo(hidden.dtype).bits >= 32 else 1e-2
    same = [torch.allclose(each, hidden, rtol=limit, atol=limit, equal_nan=True) for each in given]
    if same != [True] or not torch.equal(logits.float(), large.float()):
        raise ModelError(
            f"{type(module).__name__} scales or caps its logits after its head, which training does not support. "
            "Set model: in the task file to one of another family, such as Llama, Qwen or SmolLM."
        )


@dataclass(frozen=True, slots=True)
class Loss:
    """What training minimises: for the rows of one step, the sum of `total` over their micro-batches, divided by the
    sum of their `weight`; for dev the same over all dev rows.

    Neither micro-batches nor the number of processes change the result: every process computes the micro-batches of
    its own rows, divides by the weight of the whole step, and gradients are added up. What a loss needs beside the
    model (the log-probabilities of a reference, weights of rows) it finds by the `id` of a row.
    """

    name: str
    """Part of a checkpoint's fingerprint: a run does not go on under another loss."""
    total: Callable[[PreTrainedModel, MicroBatch, Tensor], Tensor]
    """(model, micro-batch, its last hidden states (B, T, D)) -> a scalar to which each row adds its part. States at
    padding mean nothing. In train mode for a step; for dev in eval mode and without gradients. The model's head may
    be used and no other layer: with `fsdp` only the head's weights are there."""
    weight: Callable[[TokenRow], float] = attrgetter("num_trained")
    """What a row adds to the divisor; above 0, and known before anything is computed."""
    rows_together: int = 1
    """So many rows, one after the other in the rows given to `train`, are always in one micro-batch and in this order:
    2 for pairs."""
    check: Callable[[PreTrainedModel], None] = check_head
    """Raises ModelError if this loss does not fit the model; may leave the model in eval mode."""


supervised = Loss("supervised", cross_entropy)
"""Mean cross-entropy of the learned tokens, each with the same weight."""
