"""The rows of each batch that this process computes, and their loss."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from etude.base.processes import SINGLE, World
from etude.training.layers.forward import compute_hidden_states
from etude.training.losses import Loss, supervised
from etude.training.rows.batches import TokenRow, choose_share, collate, split_micro_batches


@dataclass(frozen=True, slots=True)
class Placement:
    """A model, and the processes that share the rows of every batch. Each process has a copy of the model."""

    module: PreTrainedModel
    world: World = SINGLE
    loss: Loss = supervised
    is_packed: bool = False
    """Whether rows are packed, so only attention computes padding."""

    def split_batch(
        self, rows: Sequence[TokenRow], micro_tokens: int, rank: int | None = None
    ) -> list[tuple[TokenRow, ...]]:
        """Split a global batch; return the micro-batches that this process computes, or process `rank`."""
        group_size = self.loss.group_size
        share = choose_share(rows, self.world.rank if rank is None else rank, self.world.size, group_size)
        return split_micro_batches(share, micro_tokens, self.is_packed, group_size)

    def compute_loss(self, rows: Sequence[TokenRow]) -> Tensor:
        """Compute the loss of a micro-batch, not yet divided by its weight."""
        batch = collate(rows, self.module.device)
        return self.loss.compute(
            self.module, batch, compute_hidden_states(self.module, batch, self.is_packed)
        )
