"""Where the learned weights of a run are: a copy in every process, or a part of them in each (shards.py).

The loop uses a `Placement` for everything that differs between the two. Its methods exchange data between processes,
so all processes call the same ones in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from etude.base.processes import ONE, World
from etude.training.layers.body import hidden_states
from etude.training.losses import Loss, supervised
from etude.training.memory.buffer import Buffer
from etude.training.rows.batches import MicroBatch, TokenRow, collate, share_of, split_micro

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Part = tuple[Sequence[TokenRow], float]
"""The rows of a micro-batch, and a factor for their loss."""


def summed_loss(module: PreTrainedModel, loss: Loss, batch: MicroBatch, packed: bool) -> Tensor:
    """The loss of a micro-batch, not yet divided by a weight."""
    return loss.total(module, batch, hidden_states(module, batch, packed))


@dataclass(frozen=True, slots=True)
class Placement:
    """Every process holds all learned weights and computes with the model that training was given."""

    module: PreTrainedModel
    """The model that computes."""
    world: World = ONE
    """The processes, which share the rows of every batch."""
    loss: Loss = supervised
    """What is minimised."""
    packed: bool = False
    """Whether padding is computed by attention alone."""

    def parts(self, rows: Sequence[TokenRow], micro_tokens: int) -> list[Part]:
        """The micro-batches of a global batch that this process computes."""
        return [(part, 1.0) for part in self.micro_batches(rows, micro_tokens, self.world.rank)]

    def micro_batches(
        self, rows: Sequence[TokenRow], micro_tokens: int, rank: int
    ) -> list[tuple[TokenRow, ...]]:
        """The micro-batches of a global batch that process `rank` computes."""
        together = self.loss.rows_together
        mine = share_of(rows, rank, self.world.size, together)
        return split_micro(mine, micro_tokens, self.packed, together)

    def summed_loss(self, rows: Sequence[TokenRow]) -> Tensor:
        """The loss of a micro-batch, not yet divided by a weight."""
        return summed_loss(self.module, self.loss, collate(rows, self.module.device), self.packed)

    def collect_gradients(self, buffer: Buffer) -> None:
        """Add the gradients of a backward to the buffer's; copies write them there directly."""

    def total_norm(self, buffer: Buffer) -> Tensor:
        """After the last backward: make the buffer's gradient that of the global batch; return its whole norm."""
        grad = buffer.weights.grad
        assert grad is not None
        self.world.sum(grad)
        return nn.utils.get_total_norm([grad])

    def update_model(self, buffer: Buffer) -> None:
        """Copy the buffer's weights to the model's parameters; those of 32 bits are views of the buffer."""
        buffer.update_narrow()

    def gathered(self, held: Tensor) -> Tensor:
        """In process 0, the parts that all processes hold of a tensor like the buffer's weights; scalars unchanged."""
        return held

    def slices(self, buffer: Buffer) -> list[tuple[int, int]]:
        """Which numbers of the gathered tensor this process's buffer holds, in order: (start, stop)."""
        return [(0, buffer.weights.numel())]

    @contextmanager
    def holding(self, buffer: Buffer, gathered: Tensor) -> Iterator[None]:
        """Within the `with`, the model that training was given has the learned weights `gathered`; copies keep them."""
        buffer.weights.data.copy_(gathered)
        buffer.update_narrow()
        yield
