"""What training minimises: the contract of a loss, and the default loss, the cross-entropy of the
learned tokens.

The cross-entropy stores the logits of only one chunk of positions at a time. Logits are computed
only at positions where a learned token is predicted. The gradients with respect to the hidden
states (and to the head's weight and bias, if they are trained) are computed in the same pass, so
nothing is computed twice.

B = rows of a micro-batch, T = its longest row in tokens, N = learned tokens, D = width of the
hidden states, V = vocabulary, C = positions of a chunk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from etude.errors import ModelError
from etude.training.layers.forward import compute_hidden_states
from etude.training.rows.batches import MicroBatch, TokenRow, collate, split_micro_batches

CHUNK_LOGITS = 2**22
"""Logits of one chunk on a CPU: 16 MiB in fp32. Larger chunks are not faster and raise the peak
memory.
"""
CHUNK_LOGITS_GPU = 2**26
"""Logits of one chunk on a GPU: 256 MiB in fp32. With a vocabulary of 152,000, a product then has
441 rows. CHUNK_LOGITS would give 27 rows, too few to keep a GPU busy. This was calculated and not
measured.
"""

LARGE_LOGIT = 100.0
"""Logits of this size show whether a model caps them. Gemma 2 caps at 30."""


class _SummedLoss(torch.autograd.Function):
    """Sum over N of -log softmax(hidden @ weight^T + bias)[target]."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        chunks = _Chunks(weight_VD, bias_V, len(targets_N))
        wide = chunks.wide.dtype
        grad_ND = torch.empty_like(hidden_ND) if any(ctx.needs_input_grad) else None
        grad_VD = torch.zeros_like(weight_VD, dtype=wide) if needs_weight else None
        grad_V = torch.zeros_like(weight_VD[:, 0], dtype=wide) if needs_bias else None
        total = torch.zeros((), dtype=wide, device=hidden_ND.device)
        for chunk in _split_chunks(len(targets_N), chunks.size):
            total += chunks.compute_losses(hidden_ND[chunk], targets_N[chunk]).sum()
            if grad_ND is not None:
                chunks.compute_gradient(targets_N[chunk], out_CD=grad_ND[chunk])
            chunks.add_head_gradients(hidden_ND[chunk], grad_VD, grad_V)
        ctx.save_for_backward(
            grad_ND if needs_hidden else None, *_narrow(weight_VD.dtype, grad_VD, grad_V)
        )
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # The factor stays in 32 bits: rounded to 16 bits, all gradients would be wrong by up to
        # 0.4%.
        factor = grads[0]
        scaled = (
            g if g is None else (g.to(factor.dtype) * factor).to(g.dtype) for g in ctx.saved_tensors
        )
        return *scaled, None


class _TokenLosses(torch.autograd.Function):
    """-log softmax(hidden @ weight^T + bias)[target] of each of N, for losses in which the weight
    of a token depends on all rows of a group. The backward pass computes the logits again, so only
    one chunk of them is in memory.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor
    ) -> Tensor:
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, targets_N)
        chunks = _Chunks(weight_VD, bias_V, len(targets_N))
        slices = _split_chunks(len(targets_N), chunks.size)
        return torch.cat(
            [chunks.compute_losses(hidden_ND[chunk], targets_N[chunk]) for chunk in slices]
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, bias_V, targets_N = ctx.saved_tensors
        (factors_N,) = grads
        chunks = _Chunks(weight_VD, bias_V, len(targets_N))
        grad_ND = torch.empty_like(hidden_ND)
        grad_VD = (
            torch.zeros_like(weight_VD, dtype=factors_N.dtype) if ctx.needs_input_grad[1] else None
        )
        grad_V = (
            torch.zeros_like(weight_VD[:, 0], dtype=factors_N.dtype)
            if ctx.needs_input_grad[2]
            else None
        )
        for chunk in _split_chunks(len(targets_N), chunks.size):
            chunks.compute_losses(hidden_ND[chunk], targets_N[chunk])
            chunks.compute_gradient(
                targets_N[chunk], out_CD=grad_ND[chunk], factors_C=factors_N[chunk]
            )
            chunks.add_head_gradients(hidden_ND[chunk], grad_VD, grad_V)
        return grad_ND, *_narrow(weight_VD.dtype, grad_VD, grad_V), None


def _narrow(dtype: torch.dtype, *grads: Tensor | None) -> list[Tensor | None]:
    return [None if grad is None else grad.to(dtype) for grad in grads]


def _split_chunks(total: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, total, size)]


class _Chunks:
    """Computes the logits of one chunk after another in the same memory."""

    def __init__(self, weight_VD: Tensor, bias_V: Tensor | None, num_tokens: int) -> None:
        self.weight_VD = weight_VD
        self.bias_V = bias_V
        self.size = min(
            num_tokens, max(1, count_chunk_logits(weight_VD.device) // weight_VD.shape[0])
        )
        self.narrow = weight_VD.new_empty(self.size, weight_VD.shape[0])
        wide = torch.promote_types(weight_VD.dtype, torch.float32)
        self.wide = (
            self.narrow if wide == weight_VD.dtype else torch.empty_like(self.narrow, dtype=wide)
        )

    def compute_losses(self, hidden_CD: Tensor, targets_C: Tensor) -> Tensor:
        """Compute the losses of the chunk. After this, `wide` contains its probabilities."""
        narrow_CV = self.narrow[: len(hidden_CD)]
        wide_CV = self.wide[: len(hidden_CD)]
        torch.mm(hidden_CD, self.weight_VD.t(), out=narrow_CV)
        if self.bias_V is not None:
            narrow_CV += self.bias_V
        if wide_CV is not narrow_CV:
            wide_CV.copy_(narrow_CV)
        wide_CV -= wide_CV.amax(-1, keepdim=True)
        # From here on the largest logit is 0, so exp cannot overflow.
        at_target_C = wide_CV.gather(-1, targets_C[:, None])[:, 0]
        sums_C = wide_CV.exp_().sum(-1)
        wide_CV /= sums_C[:, None]
        return sums_C.log() - at_target_C

    def compute_gradient(
        self, targets_C: Tensor, out_CD: Tensor, factors_C: Tensor | None = None
    ) -> None:
        """Compute the gradient of the summed losses, each times its factor, with respect to the
        hidden states. Uses the probabilities in `wide`. After this, `narrow` contains the gradient
        with respect to the logits.
        """
        narrow_CV = self.narrow[: len(targets_C)]
        wide_CV = self.wide[: len(targets_C)]
        wide_CV[torch.arange(len(targets_C), device=targets_C.device), targets_C] -= 1
        if factors_C is not None:
            wide_CV *= factors_C[:, None]
        if wide_CV is not narrow_CV:
            narrow_CV.copy_(wide_CV)
        torch.mm(narrow_CV, self.weight_VD, out=out_CD)

    def add_head_gradients(
        self, hidden_CD: Tensor, grad_VD: Tensor | None, grad_V: Tensor | None
    ) -> None:
        """Add the gradients of the head's weight and bias, computed from the gradient of the
        logits.
        """
        narrow_CV = self.narrow[: len(hidden_CD)]
        if grad_VD is not None:
            grad_VD += narrow_CV.t() @ hidden_CD
        if grad_V is not None:
            grad_V += narrow_CV.sum(0)


def count_chunk_logits(device: torch.device) -> int:
    """Return the maximum of logits in memory at once."""
    return CHUNK_LOGITS_GPU if device.type == "cuda" else CHUNK_LOGITS


def compute_cross_entropy(module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor) -> Tensor:
    """Sum the losses of the batch's learned tokens, in nats."""
    hidden_ND = hidden_BTD.flatten(0, 1)[batch.positions]
    head = module.get_output_embeddings()
    loss: Tensor = _SummedLoss.apply(hidden_ND, head.weight, head.bias, batch.targets)  # type: ignore[no-untyped-call]
    return loss


def compute_row_log_probs(module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor) -> Tensor:
    """Sum the log-probabilities of each row's learned tokens: (B,) in nats."""
    hidden_ND = hidden_BTD.flatten(0, 1)[batch.positions]
    head = module.get_output_embeddings()
    losses_N = _TokenLosses.apply(hidden_ND, head.weight, head.bias, batch.targets)  # type: ignore[no-untyped-call]
    sums_B: Tensor = losses_N.new_zeros(len(batch.rows))
    return -sums_B.index_add(0, batch.positions // batch.ids.shape[1], losses_N)


@torch.no_grad()
def check_head(module: PreTrainedModel) -> None:
    """Raise ModelError if the model's logits are not exactly its head applied to its last hidden
    states.

    Some models scale or cap their logits. A loss that ignores that would silently train something
    else. Two tests are made: except for rounding, the head's input must equal the hidden states;
    and if the head's output is replaced by large numbers, the logits must be exactly these numbers.
    Leaves the module in eval mode.
    """
    module.eval()
    ids = torch.arange(8, device=module.device)[None] % module.config.get_text_config().vocab_size
    head = module.get_output_embeddings()
    hidden = module.base_model(input_ids=ids, use_cache=False).last_hidden_state
    large = (
        torch.linspace(-LARGE_LOGIT, LARGE_LOGIT, head.weight.shape[0])
        .to(hidden)
        .expand(*ids.shape, -1)
    )
    head_inputs: list[Tensor] = []

    def replace_output(_: object, inputs: tuple[Tensor, ...], __: object) -> Tensor:
        head_inputs.append(inputs[0])
        return large

    # Replace the head's output, so the logits show every change that the model makes after its
    # head.
    handle = head.register_forward_hook(replace_output)
    try:
        logits = module(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    limit = 1e-4 if torch.finfo(hidden.dtype).bits >= 32 else 1e-2
    agree = [
        torch.allclose(head_input, hidden, rtol=limit, atol=limit, equal_nan=True)
        for head_input in head_inputs
    ]
    if agree != [True] or not torch.equal(logits.float(), large.float()):
        raise ModelError(
            f"{type(module).__name__} scales or caps its logits after its head, which training "
            "does not support. In the task file, set model: to a model of another family, such "
            "as Llama, Qwen or SmolLM."
        )


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss to minimise. For the rows of one step it is the sum of `compute` over their
    micro-batches, divided by the sum of their `weight`. The dev loss is the same over all dev rows.

    Micro-batches do not change the result: each is divided by the weight of the whole step, and the
    gradients are added up. A loss looks up other data that it needs (the log-probabilities of a
    reference, weights of rows) by the `id` of a row.
    """

    name: str
    """Part of a checkpoint's fingerprint, so a run is never resumed with another loss."""
    compute: Callable[[PreTrainedModel, MicroBatch, Tensor], Tensor]
    """(model, micro-batch, its last hidden states (B, T, D)) -> a scalar, the sum over its rows.
    States at padding are arbitrary. It is called in train mode for a step, and in eval mode without
    gradients for dev.
    """
    weight: Callable[[TokenRow], float] = attrgetter("num_trained")
    """The amount that a row adds to the divisor. It is above 0 and depends only on the row."""
    group_size: int = 1
    """This many consecutive rows are always in the same micro-batch and in order; 2 for pairs."""
    check_model: Callable[[PreTrainedModel], None] = check_head
    """Raises ModelError if this loss does not work with the model. It may leave the model in eval
    mode.
    """


supervised = Loss("supervised", compute_cross_entropy)
"""The mean cross-entropy of the learned tokens, each with the same weight."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A model, and the loss that is minimised."""

    module: PreTrainedModel
    loss: Loss = supervised
    is_packed: bool = False
    """Whether rows are packed, so only attention computes padding."""

    def split_batch(
        self, rows: Sequence[TokenRow], micro_tokens: int
    ) -> list[tuple[TokenRow, ...]]:
        """Split a global batch into micro-batches."""
        return split_micro_batches(rows, micro_tokens, self.is_packed, self.loss.group_size)

    def compute_loss(self, rows: Sequence[TokenRow]) -> Tensor:
        """Compute the loss of a micro-batch, not yet divided by its weight."""
        batch = collate(rows, self.module.device)
        return self.loss.compute(
            self.module, batch, compute_hidden_states(self.module, batch, self.is_packed)
        )
