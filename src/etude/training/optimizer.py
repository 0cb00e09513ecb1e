"""AdamW over the buffer: matrices decay, vectors do not.

Weight decay is meant for matrices, embeddings among them; norms and biases, which are vectors, are left out, as in
transformers' Trainer.

Source: Loshchilov and Hutter 2019 (arXiv 1711.05101).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from etude.training.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW and its states, so that a checkpoint can be written from them and read into them."""

    adamw: torch.optim.AdamW
    mean: Tensor
    """(all numbers,), of the gradients."""
    square: Tensor
    """(all numbers,), the mean of their squares."""
    counts: list[Tensor]
    """Steps done, of matrices and of vectors."""

    def step(self, learning_rate: float) -> None:
        """Update the weights by their gradient."""
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        self.adamw.step()

    def tensors(self) -> dict[str, Tensor]:
        """All states by name; writing to them changes the optimizer."""
        counts = {f"step_{number}": count for number, count in enumerate(self.counts)}
        return {"exp_avg": self.mean, "exp_avg_sq": self.square, **counts}


def optimizer_of(weights: nn.Parameter, num_decayed: int, config: TrainConfig) -> Optimizer:
    """The optimizer of all `weights` (all numbers,), which have a gradient; the first `num_decayed` of them decay."""
    grad, mean, square = weights.grad, torch.zeros_like(weights), torch.zeros_like(weights)
    assert grad is not None
    whole = len(weights) if config.weight_decay == 0 else num_decayed
    groups: list[dict[str, Any]] = []
    states: dict[Tensor, dict[str, Tensor]] = {}
    for part, decay in ((slice(0, whole), config.weight_decay), (slice(whole, len(weights)), 0.0)):
        if part.start < part.stop:
            piece = nn.Parameter(weights.data[part])
            piece.grad = grad[part]
            groups.append({"params": [piece], "weight_decay": decay})
            count = torch.zeros((), device=weights.device)
            states[piece] = {"step": count, "exp_avg": mean[part], "exp_avg_sq": square[part]}
    adamw = torch.optim.AdamW(groups, lr=0.0, betas=config.betas, fused=True)
    adamw.state.update(states)
    return Optimizer(adamw, mean, square, [state["step"] for state in states.values()])
