"""One step of the optimizer, and the state of a training run.

The loss of a step is a sum over all rows of the global batch, divided by their weight (losses.py).
Micro-batches and padding therefore do not change it.

The optimizer is AdamW over the buffer (Loshchilov and Hutter 2019, arXiv 1711.05101), without
weight decay.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from etude.errors import TrainingDiverged
from etude.training.config import TrainConfig
from etude.training.layers.forward import can_pack
from etude.training.layers.fused import fuse_layers
from etude.training.layers.lora import Adapter, add_adapters
from etude.training.losses import Loss, Objective, supervised
from etude.training.memory.usage import explain_memory_errors
from etude.training.rows.batches import TokenRow, count_groups_per_step

MAX_NORM = 1.0
"""Highest norm of the whole gradient."""
BETAS = (0.9, 0.999)
"""AdamW's two decay rates. With 0.95 instead of 0.999, the dev loss was 2% worse."""


class Optimizer:
    """AdamW over `weights` (all numbers,), which have a gradient, and its states, which checkpoints
    write and read.
    """

    def __init__(self, weights: nn.Parameter) -> None:
        self.adamw = torch.optim.AdamW([weights], lr=0.0, betas=BETAS, weight_decay=0.0, fused=True)
        self.states = {
            "step": torch.zeros((), device=weights.device),
            "exp_avg": torch.zeros_like(weights),
            "exp_avg_sq": torch.zeros_like(weights),
        }
        """By name: the number of finished steps, and the running means of the gradients and of
        their squares. Writing to these tensors changes the optimizer.
        """
        self.adamw.state[weights] = self.states

    def step(self, learning_rate: float) -> None:
        """Update the weights by their gradient."""
        self.adamw.param_groups[0]["lr"] = learning_rate
        self.adamw.step()


@dataclass(slots=True, kw_only=True)
class TrainResult:
    """Counters and losses of a training run so far. A checkpoint contains these and the tensors of
    `TrainingState`.
    """

    epoch: int = -1
    """The number of finished and measured epochs; -1 before the base is measured."""
    batch: int = 0
    """The number of finished batches in the current epoch."""
    steps: int = 0
    """The number of finished optimizer steps over all epochs."""
    tokens: int = 0
    """The number of tokens computed in these steps, without padding and dev rows."""
    rows: int = 0
    """The number of rows in these steps; each row counts once per epoch."""
    seconds: float = 0.0
    """Wall-clock seconds of steps and dev losses, over all attempts."""
    best_epoch: int = 0
    """The epoch with the best weights; 0 is the untrained base."""
    dev_losses: list[float] = field(default_factory=list)
    """The dev loss after each epoch, epoch 0 first. For the supervised loss it is in nats per
    trained token.
    """
    scores: list[float] = field(default_factory=list)
    """The score of each epoch, by which the best is chosen; higher is better. Without a score from
    `on_eval`, it is the negative dev loss.
    """
    train_losses: list[float] = field(default_factory=list)
    """The mean loss of the steps of each finished epoch."""
    epoch_loss: float = 0.0
    """The sum of the losses of the current epoch's steps."""
    recent: list[float] = field(default_factory=list)
    """The losses of the latest steps, with which the next loss is compared (early_stopping.py)."""
    num_risen: int = 0
    """The number of latest consecutive steps with a risen loss (early_stopping.py)."""
    measured_steps: list[int] = field(default_factory=list)
    """The number of finished steps at each dev loss."""
    plans: list[list[Any]] = field(default_factory=list)
    """Each plan of a time box: finished steps, planned steps in total, and the used share of the
    box.
    """
    box_used: float = 0.0
    """The used seconds of the time box, over all attempts."""
    step_seconds: list[float] = field(default_factory=list)
    """Seconds of the latest steps in a time box."""
    dev_seconds: float = 0.0
    """Seconds of the last dev loss in a time box."""
    total_dev_seconds: float = 0.0
    """Seconds of all dev losses in a time box."""
    kept_steps: int = 0
    """The number of steps of the first epoch that the chosen weights have seen."""
    num_trained: int = 0
    """The number of different rows in all steps; set at the end."""
    peak_memory: int = 0
    """The peak bytes since this process began or resumed; set at the end; 0 if unknown."""

    def compute_schedule_share(self) -> float:
        """Compute the finished share of the learning rate's schedule in a time box."""
        start, num_steps, share = self.plans[-1]
        return float(share + (1 - share) * (self.steps - start) / max(1, num_steps - start))


@dataclass(slots=True)
class TrainingState:
    """The state of a running training."""

    objective: Objective
    config: TrainConfig
    adapters: list[Adapter]
    weights: nn.Parameter
    """The weights of all adapters in one buffer (see `use_buffer`)."""
    optimizer: Optimizer
    best: Tensor
    """The weights at the best epoch."""
    total_steps: int
    """The number of steps of all epochs."""
    progress: TrainResult = field(default_factory=TrainResult)

    @property
    def module(self) -> PreTrainedModel:
        return self.objective.module


@contextmanager
def start_training(
    module: PreTrainedModel,
    config: TrainConfig,
    num_rows: int,
    loss: Loss = supervised,
    saved: Path | None = None,
) -> Iterator[TrainingState]:
    """Context manager: prepare a new run over `module`, with adapters, buffer and optimizer. The
    adapters start with those in the folder `saved`, if it is given.

    At the end the module is restored, and so is the random state of the CPU and of the module's
    device. Raises ModelError if memory runs out, also within the `with`.
    """
    devices = [module.device] if module.device.type == "cuda" else []
    with (
        explain_memory_errors(config, module.device),
        torch.random.fork_rng(devices),
        fuse_layers(module),
        add_adapters(module, config, saved) as adapters,
        use_buffer(
            [parameter for adapter in adapters for parameter in (adapter.a, adapter.b)]
        ) as weights,
    ):
        groups_per_step = count_groups_per_step(config.rows_per_step, loss.group_size)
        steps = config.epochs * -(-(num_rows // loss.group_size) // groups_per_step)
        optimizer = Optimizer(weights)
        best = weights.detach().clone()
        objective = Objective(module, loss, can_pack(module))
        yield TrainingState(objective, config, adapters, weights, optimizer, best, steps)


@contextmanager
def use_buffer(parameters: Sequence[nn.Parameter]) -> Iterator[nn.Parameter]:
    """Context manager: make the parameters, in order, views of one new buffer (all numbers,), and
    their gradients views of its gradient. So there is one clip, one step of the optimizer, and few
    tensors to save.

    All parameters have the same type. At the end they have their own data again.
    """
    own_data = [parameter.data for parameter in parameters]
    buffer = nn.Parameter(torch.cat([data.flatten() for data in own_data]))
    buffer.grad = grad = torch.zeros_like(buffer)
    start = 0
    for parameter in parameters:
        span = slice(start, start + parameter.numel())
        parameter.data = buffer.data[span].view_as(parameter)
        parameter.grad = grad[span].view_as(parameter)
        start = span.stop
    try:
        yield buffer
    finally:
        for parameter, data in zip(parameters, own_data, strict=True):
            parameter.data = data
            parameter.grad = None


def measure_dev_loss(objective: Objective, rows: Sequence[TokenRow], micro_tokens: int) -> float:
    """Measure the loss over all rows in eval mode; for `supervised` in nats per trained token."""
    objective.module.eval()
    with torch.no_grad():
        losses = [
            float(objective.compute_loss(micro_batch))
            for micro_batch in objective.split_batch(rows, micro_tokens)
        ]
    return math.fsum(losses) / sum(map(objective.loss.weight, rows))


def train_step(state: TrainingState, batch: Sequence[TokenRow]) -> dict[str, float]:
    """Do one optimizer step on one global batch; return its loss, gradient norm and learning rate.

    Raises TrainingDiverged, and leaves the weights unchanged, if the loss or the norm is NaN or
    infinite.
    """
    config = state.config
    weights = state.weights
    _set_seed(state.module.device, config.seed * 1_000_003 + state.progress.steps)
    state.module.train()
    # 1. Add up the gradients of all micro-batches, so their number does not matter, and clip the
    # sum.
    loss = accumulate_gradients(state.objective, batch, config.micro_tokens)
    assert weights.grad is not None
    total_norm = nn.utils.get_total_norm([weights.grad])
    nn.utils.clip_grads_with_norm_([weights], MAX_NORM, total_norm)
    norm = float(total_norm)
    if not math.isfinite(loss) or not math.isfinite(norm):
        ids = ", ".join(row.id for row in batch)
        raise TrainingDiverged(
            f"Training stopped at step {state.progress.steps + 1}: loss {loss}, gradient norm "
            f"{norm}. Rows of the batch: {ids}. Correct these rows if they are wrong, or lower "
            f"the learning rate (train: {{learning_rate: {config.learning_rate / 2:g}}})."
        )
    # 2. Update the 32-bit buffer, and copy it to the model.
    rate = learning_rate(config, *_find_schedule_step(state))
    state.optimizer.step(rate)
    weights.grad.zero_()
    return {"loss": loss, "gradient": norm, "learning_rate": rate}


def _set_seed(device: torch.device, seed: int) -> None:
    # torch.manual_seed would seed every GPU, also those that other programs use.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def accumulate_gradients(
    objective: Objective, batch: Sequence[TokenRow], micro_tokens: int
) -> float:
    """Add the gradient of the batch's loss to the parameters; return the loss of the batch."""
    weight = sum(map(objective.loss.weight, batch))
    losses = []
    for micro_batch in objective.split_batch(batch, micro_tokens):
        loss = objective.compute_loss(micro_batch) / weight
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss.detach()))
    return math.fsum(losses)


def _find_schedule_step(state: TrainingState) -> tuple[float, int]:
    if not state.progress.plans:
        return state.progress.steps, state.total_steps
    num_steps = state.progress.plans[-1][1]
    return num_steps * state.progress.compute_schedule_share(), num_steps


def learning_rate(config: TrainConfig, step: float, total_steps: int) -> float:
    """Compute the learning rate of step `step` (from 0) of `total_steps`: a linear warm-up, then
    linearly to zero.
    """
    # The rate of the first step is already above 0.
    warmup = max(1, round(config.warmup * total_steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    share = (total_steps - step) / max(1, total_steps - warmup)
    return config.learning_rate * share
