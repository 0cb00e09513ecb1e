"""Where the learned weights of a run stand: a copy in every process, or a part of them in each (shards.py).

What the loop does alike in both cases it asks of a `Placement`. Processes tell each other things inside its
methods, so all of them call the same ones in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from etude.base.processes import ONE, World
from etude.training.losses import Loss, summed_loss
from etude.training.memory.buffer import Buffer
from etude.training.rows.batches import TokenRow, share_of, split_micro

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Part = tuple[Sequence[TokenRow], float]
"""Rows that are computed at once, and what their loss is multiplied by."""


class Placement(Protocol):
    """What differs between copies and shards of the learned weights."""

    @property
    def world(self) -> World:
        """The processes, among which the rows of every batch are shared out."""

    @property
    def module(self) -> PreTrainedModel:
        """The model that computes."""

    @property
    def loss(self) -> Loss:
        """Its loss."""

    def parts(self, rows: Sequence[TokenRow], micro_tokens: int, packed: bool) -> list[Part]:
        """The micro-batches of a global batch that this process computes; `packed` as for split_micro."""

    def collect(self, buffer: Buffer) -> None:
        """After each backward: brings its gradient to the buffer's where it is not there yet."""

    def total_norm(self, buffer: Buffer) -> Tensor:
        """After the last backward: the buffer's gradient becomes that of the global batch; the norm of all of
        it."""

    def spread(self, buffer: Buffer) -> None:
        """Brings the model's parameters to the buffer's weights."""

    def whole(self, held: Tensor) -> Tensor:
        """For process 0 what all of them hold of a tensor like the buffer's weights; numbers stay as they are."""

    def stretches(self, buffer: Buffer) -> list[tuple[int, int]]:
        """Where the numbers of this process's buffer stand in that whole, in their order: first, and behind the
        last."""

    def given(self, buffer: Buffer, whole: Tensor) -> AbstractContextManager[None]:
        """Within it, the learned parameters of the model that training was given are `whole`."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Every process holds all learned weights and computes with the model that training was given."""

    module: PreTrainedModel
    world: World = ONE
    loss: Loss = summed_loss

    def parts(self, rows: Sequence[TokenRow], micro_tokens: int, packed: bool) -> list[Part]:
        """The micro-batches of this process's rows."""
        mine = share_of(rows, self.world.rank, self.world.size)
        return [(part, 1.0) for part in split_micro(mine, micro_tokens, packed)]

    def collect(self, buffer: Buffer) -> None:
        """Gradients are the buffer's own."""

    def total_norm(self, buffer: Buffer) -> Tensor:
        """Adds up the gradients of all processes."""
        grad = buffer.weights.grad
        assert grad is not None
        self.world.sum(grad)
        return nn.utils.get_total_norm([grad])

    def spread(self, buffer: Buffer) -> None:
        """Parameters are views of the buffer."""
        buffer.spread()

    def whole(self, held: Tensor) -> Tensor:
        """What each process holds."""
        return held

    def stretches(self, buffer: Buffer) -> list[tuple[int, int]]:
        """All of it."""
        return [(0, buffer.weights.numel())]

    @contextmanager
    def given(self, buffer: Buffer, whole: Tensor) -> Iterator[None]:
        """Puts them into the buffer, for good."""
        buffer.weights.data.copy_(whole)
        buffer.spread()
        yield
