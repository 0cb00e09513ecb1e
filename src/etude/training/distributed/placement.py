"""The placement of the trained weights of a run: a copy in every process, or a shard in each (shards.py).

The loop uses a `Placement` for everything that differs between the two cases. Its methods exchange data between
processes, so all processes must call the same methods in the same order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from etude.base.processes import SINGLE, World
from etude.training.layers.forward import compute_hidden_states
from etude.training.losses import Loss, supervised
from etude.training.memory.buffer import Buffer
from etude.training.rows.batches import MicroBatch, TokenRow, choose_share, collate, split_micro_batches

WeightedRows = tuple[Sequence[TokenRow], float]
"""The rows of a micro-batch and a factor for their loss."""


def compute_summed_loss(module: PreTrainedModel, loss: Loss, batch: MicroBatch, packed: bool) -> Tensor:
    """Compute the loss of a micro-batch, not yet divided by its weight."""
    return loss.compute(module, batch, compute_hidden_states(module, batch, packed))


@dataclass(frozen=True, slots=True)
class Placement:
    """Every process has all trained weights and computes with the model that the caller passed."""

    module: PreTrainedModel
    """The model that computes."""
    world: World = SINGLE
    """The processes that share the rows of every batch."""
    loss: Loss = supervised
    is_packed: bool = False
    """Whether rows are packed, so only attention computes padding."""

    def split_batch(self, rows: Sequence[TokenRow], micro_tokens: int) -> list[WeightedRows]:
        """Split a global batch; return the micro-batches that this process computes."""
        return [
            (micro_batch, 1.0)
            for micro_batch in self.split_micro_batches(rows, micro_tokens, self.world.rank)
        ]

    def split_micro_batches(
        self, rows: Sequence[TokenRow], micro_tokens: int, rank: int
    ) -> list[tuple[TokenRow, ...]]:
        """Split a global batch; return the micro-batches that process `rank` computes."""
        group_size = self.loss.group_size
        share = choose_share(rows, rank, self.world.size, group_size)
        return split_micro_batches(share, micro_tokens, self.is_packed, group_size)

    def compute_loss(self, rows: Sequence[TokenRow]) -> Tensor:
        """Compute the loss of a micro-batch, not yet divided by its weight."""
        return compute_summed_loss(self.module, self.loss, collate(rows, self.module.device), self.is_packed)

    def collect_gradients(self, buffer: Buffer) -> None:
        """Add the gradients of a backward pass to the buffer. With copies, they are already there."""

    def compute_norm(self, buffer: Buffer) -> Tensor:
        """After the last backward pass, sum the buffer's gradient over all processes; return its norm."""
        grad = buffer.weights.grad
        assert grad is not None
        self.world.sum_tensor(grad)
        return nn.utils.get_total_norm([grad])

    def update_model(self, buffer: Buffer) -> None:
        """Copy the buffer's weights to the model's 16-bit parameters. Those of 32 bits are views of the buffer."""
        buffer.update_narrow()

    def gather(self, held: Tensor) -> Tensor:
        """Gather in process 0 all parts of a tensor with the buffer's shape. Scalars are returned unchanged."""
        return held

    def list_slices(self, buffer: Buffer) -> list[tuple[int, int]]:
        """List the slices (start, stop) of the gathered tensor that this process's buffer has, in order."""
        return [(0, buffer.weights.numel())]

    @contextmanager
    def use_weights(self, buffer: Buffer, gathered: Tensor) -> Iterator[None]:
        """Put the weights `gathered` into the caller's model. Shards remove them again at the end."""
        buffer.weights.data.copy_(gathered)
        buffer.update_narrow()
        yield
