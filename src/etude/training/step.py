"""One step of the optimizer, and the state of a training run.

The loss of a step is a sum over all rows of the global batch, divided by their weight (losses.py), so micro-batches,
padding and the number of processes do not change it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from etude.base.processes import ONE, World
from etude.errors import TrainingDiverged
from etude.training.config import TrainConfig
from etude.training.distributed.placement import Placement
from etude.training.layers.body import can_pack
from etude.training.layers.fused import fused
from etude.training.layers.lora import Adapter, adapted, unchanged
from etude.training.losses import Loss, supervised
from etude.training.memory.buffer import Buffer, buffered
from etude.training.memory.usage import memory_errors_explained
from etude.training.optimizer import Optimizer, optimizer_of
from etude.training.rows.batches import TokenRow, groups_per_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(slots=True, kw_only=True)
class TrainResult:
    """What a run has reached so far; with the tensors of `Run`, the whole content of a checkpoint."""

    epoch: int = -1
    """Epochs finished and measured; -1 before the base is measured."""
    batch: int = 0
    """Batches done in the current epoch."""
    steps: int = 0
    """Steps of the optimizer done, over all epochs."""
    tokens: int = 0
    """Tokens computed in these steps, without padding and without dev."""
    rows: int = 0
    """Rows of these steps, counted once for each epoch."""
    seconds: float = 0.0
    """Wall-clock seconds of steps and dev losses, over all attempts."""
    best_epoch: int = 0
    """The epoch whose weights are kept; 0 is the untrained base."""
    dev_losses: list[float] = field(default_factory=list)
    """The loss on dev after each epoch, epoch 0 first; of the supervised loss, nats a learned token."""
    scores: list[float] = field(default_factory=list)
    """What the best epoch is chosen by, higher is better; the negative dev loss if nothing else was measured."""
    train_losses: list[float] = field(default_factory=list)
    """Mean loss of the steps of each finished epoch."""
    epoch_loss: float = 0.0
    """Sum of the losses of the steps of the current epoch."""
    recent: list[float] = field(default_factory=list)
    """Losses of the latest steps, with which the next one is compared."""
    peak_memory: int = 0
    """Peak bytes since this process began or resumed, set at the end; 0 if unknown."""


@dataclass(slots=True)
class Run:
    """One training run."""

    placement: Placement
    """The model that computes, and where the learned weights are."""
    config: TrainConfig
    adapters: list[Adapter]
    """Empty if all weights of the module are learned."""
    buffer: Buffer
    """The learned weights, or this process's part of them."""
    optimizer: Optimizer
    best: Tensor
    total_steps: int
    progress: TrainResult = field(default_factory=TrainResult)

    @property
    def module(self) -> PreTrainedModel:
        """The model that computes."""
        return self.placement.module

    @property
    def world(self) -> World:
        """The processes that train together."""
        return self.placement.world


@contextmanager
def started_run(
    module: PreTrainedModel, config: TrainConfig, num_rows: int, world: World = ONE, loss: Loss = supervised
) -> Iterator[Run]:
    """A new run over `module`. At the end the module and the random state of the processor and of the module's device
    are restored. Raises ModelError if memory runs out, here or within the `with`."""
    devices = [module.device] if module.device.type == "cuda" else []
    shards = world.size > 1 and config.data_parallel == "fsdp"
    with (
        memory_errors_explained(config, module.device),
        torch.random.fork_rng(devices),
        # Fused layers keep references to weights, which shards replace.
        nullcontext() if shards else fused(module),
        _learned(module, config) as (adapters, parameters),
        _placed(module, parameters, world, shards, loss) as (placement, held),
        buffered(held) as buffer,
    ):
        groups = num_rows // loss.rows_together
        steps = config.epochs * -(-groups // groups_per_step(config.rows_per_step, loss.rows_together))
        num_decayed = sum(each.numel() for each in held if each.ndim > 1)
        optimizer = optimizer_of(buffer.weights, num_decayed, config)
        yield Run(placement, config, adapters, buffer, optimizer, buffer.current.clone(), steps)


@contextmanager
def _placed(
    module: PreTrainedModel, learned: list[nn.Parameter], world: World, shards: bool, loss: Loss
) -> Iterator[tuple[Placement, Sequence[nn.Parameter]]]:
    """The learned parameters in copies or shards, and this process's part of them."""
    if not shards:
        yield Placement(module, world, loss, can_pack(module)), learned
        return
    from etude.training.distributed.shards import sharded

    with sharded(module, learned, world, loss) as placement:
        yield placement, placement.parameters


@contextmanager
def _learned(
    module: PreTrainedModel, config: TrainConfig
) -> Iterator[tuple[list[Adapter], list[nn.Parameter]]]:
    if config.weights == "full":
        with all_weights(module) as parameters:
            yield [], parameters
        return
    with adapted(module, config) as adapters:
        yield adapters, [each for adapter in adapters for each in (adapter.a, adapter.b)]


@contextmanager
def all_weights(module: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Every parameter once, learnable for the length of a `with`; tied ones are one parameter. Matrices come first,
    then vectors, as the optimizer expects. Their own data is not written to: `buffered` learns on copies."""
    with unchanged(module):
        floating = [each for each in module.parameters() if each.is_floating_point()]
        parameters = sorted(floating, key=lambda each: each.ndim < 2)
        for each in parameters:
            each.requires_grad_(True)
        yield parameters


def dev_loss(placement: Placement, rows: Sequence[TokenRow], micro_tokens: int) -> float:
    """The loss over all rows, in eval mode; of `supervised`, nats a learned token."""
    placement.module.eval()
    with torch.no_grad():
        losses = [
            factor * float(placement.summed_loss(part))
            for part, factor in placement.parts(rows, micro_tokens)
        ]
    return placement.world.total(math.fsum(losses)) / sum(map(placement.loss.weight, rows))


def train_step(run: Run, batch: Sequence[TokenRow]) -> dict[str, float]:
    """One step of the optimizer on one global batch; returns its loss, gradient norm and learning rate.

    Raises Diverged, and leaves the weights unchanged, if the loss or the norm is NaN or infinite.
    """
    config, world, weights = run.config, run.world, run.buffer.weights
    # Each process computes other rows, so its dropout differs.
    _seed(run.module.device, (config.seed * 1_000_003 + run.progress.steps) * world.size + world.rank)
    run.module.train()
    loss = accumulate(
        run.placement,
        batch,
        config.micro_tokens,
        collect=lambda: run.placement.collect_gradients(run.buffer),
    )
    total_norm = run.placement.total_norm(run.buffer)
    nn.utils.clip_grads_with_norm_([weights], config.clip, total_norm)
    norm = float(total_norm)
    if not math.isfinite(loss) or not math.isfinite(norm):
        ids = ", ".join(row.id for row in batch)
        raise TrainingDiverged(
            f"Training stopped at step {run.progress.steps + 1}: loss {loss}, gradient norm {norm}. "
            f"Rows of the batch: {ids}. Look at these rows, or lower the learning rate "
            f"(train: {{learning_rate: {config.learning_rate / 2:g}}})."
        )
    rate = learning_rate(config, run.progress.steps, run.total_steps)
    run.optimizer.step(rate)
    run.placement.update_model(run.buffer)
    assert weights.grad is not None
    weights.grad.zero_()
    return {"loss": loss, "gradient": norm, "learning_rate": rate}


def _seed(device: torch.device, seed: int) -> None:
    """Seed the processor and `device`. torch.manual_seed would seed every GPU, which others may use."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def accumulate(
    placement: Placement,
    batch: Sequence[TokenRow],
    micro_tokens: int,
    collect: Callable[[], None] = lambda: None,
) -> float:
    """Add the gradient of the batch's loss to the parameters, in each process that of its own rows; return the loss
    of the whole batch. `collect` is called after each backward."""
    weight = sum(map(placement.loss.weight, batch))
    losses = []
    for part, factor in placement.parts(batch, micro_tokens):
        loss = placement.summed_loss(part) / weight * factor
        loss.backward()  # type: ignore[no-untyped-call]
        collect()
        losses.append(float(loss.detach()))
    return placement.world.total(math.fsum(losses))


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """The learning rate of step `step` (from 0) of `total_steps`: linear warm-up, then down to zero."""
    warmup = max(1, round(config.warmup * total_steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    left = (total_steps - step) / max(1, total_steps - warmup)
    if config.schedule == "cosine":
        left = (1 - math.cos(math.pi * left)) / 2
    return config.learning_rate * left
