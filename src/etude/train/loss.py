"""Token-weighted cross-entropy that never holds the logits of more than a chunk of positions.

Logits are computed only where a trained token is predicted, chunk by chunk, and the gradient with
respect to the hidden states is made in the same pass, so that nothing is computed twice. The head
is taken as frozen: it gets no gradient.

N = trained tokens, D = width of the hidden states, V = vocabulary, C = positions of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from etude.errors import ModelError
from etude.train.attention import short_rows
from etude.train.batches import MicroBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Body = Callable[["PreTrainedModel", MicroBatch], Tensor]
"""Makes the last hidden states (B, T, D) of a micro-batch."""
CHUNK_LOGITS = 2**24
"""Logits of one chunk: 64 MiB in fp32."""


class _SummedLoss(torch.autograd.Function):
    """Sum over N of -log softmax(hidden @ weight^T + bias)[target]."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor
    ) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        grad_ND = torch.empty_like(hidden_ND) if wanted else None
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=hidden_ND.device)
        size = max(1, CHUNK_LOGITS // weight_VD.shape[0])
        for start in range(0, len(targets_N), size):
            part = slice(start, start + size)
            losses, grad_CV = _chunk(hidden_ND[part], weight_VD, bias_V, targets_N[part], wanted)
            total += losses.sum()
            if grad_ND is not None:
                torch.mm(grad_CV.to(weight_VD.dtype), weight_VD, out=grad_ND[part])
        ctx.save_for_backward(grad_ND)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_ND,) = ctx.saved_tensors
        return grad_ND * grads[0].to(grad_ND.dtype), None, None, None


def _chunk(
    hidden_CD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_C: Tensor, wanted: bool
) -> tuple[Tensor, Tensor]:
    """Losses of a chunk and, when wanted, their gradient with respect to its logits."""
    logits_CV = functional.linear(hidden_CD, weight_VD, bias_V)
    logits_CV = logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))
    norms_C1 = logits_CV.logsumexp(-1, keepdim=True)
    at_C1 = targets_C[:, None]
    losses_C = (norms_C1 - logits_CV.gather(-1, at_C1))[:, 0]
    if not wanted:
        return losses_C, logits_CV
    grad_CV = logits_CV.sub_(norms_C1).exp_()
    return losses_C, grad_CV.scatter_add_(-1, at_C1, torch.full_like(norms_C1, -1.0))


def whole_body(module: PreTrainedModel, batch: MicroBatch) -> Tensor:
    """The last hidden states (B, T, D) of a micro-batch, from its tokens.

    No attention mask is needed: padding stands on the right and attention is causal, so no real
    token sees it.
    """
    with short_rows(module):
        hidden: Tensor = module.base_model(input_ids=batch.ids, use_cache=False).last_hidden_state
    return hidden


def summed_loss(module: PreTrainedModel, batch: MicroBatch, body: Body = whole_body) -> Tensor:
    """Sum of the losses of the batch's trained tokens, as a scalar; divide by their number."""
    hidden_ND = body(module, batch).flatten(0, 1)[batch.positions]
    head = module.get_output_embeddings()
    loss: Tensor = _SummedLoss.apply(hidden_ND, head.weight, head.bias, batch.targets)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def check_head(module: PreTrainedModel) -> None:
    """Raises ModelError when the model's logits are not simply its head over its last hidden states.

    Some models scale or cap their logits; training on a loss that leaves this out would be silently wrong.
    Leaves the module in eval mode.
    """
    module.eval()
    ids = torch.arange(8, device=module.device)[None] % module.config.get_text_config().vocab_size
    head = module.get_output_embeddings()
    hidden = module.base_model(input_ids=ids, use_cache=False).last_hidden_state
    theirs = module(input_ids=ids, use_cache=False).logits.float()
    ours = functional.linear(hidden, head.weight, head.bias).float()
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=1e-2, atol=1e-2):
        name = type(module).__name__
        raise ModelError(
            f"{name} changes its logits after the head, which training cannot do yet. Use another."
        )
