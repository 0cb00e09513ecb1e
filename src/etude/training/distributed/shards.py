"""The model in parts, one in each process: fully sharded data parallel (FSDP2, torch's `fully_shard`).

Each process holds an even part of every parameter, of its gradient and of the optimizer's states. A decoder layer is
gathered in all processes just before it computes, and split again afterwards. The model that training was given is not
changed: a twin without weights of its own is made from it, and the twin's parts are cut from its weights. So the whole
model must fit each GPU once, before it is split: what is saved is the memory that training takes beside the model, and
from then on the model's own.

Source: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054), Zhao et al. 2023 (PyTorch FSDP, 2304.11277).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from etude.base.processes import World
from etude.training.distributed.placement import Part, Placement, summed_loss
from etude.training.layers.decoder import decoder_layers
from etude.training.losses import Loss
from etude.training.memory.buffer import Buffer
from etude.training.rows.batches import TokenRow, collate, groups_of, num_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Shards(Placement):
    """The learned weights in parts: `module` is the sharded twin, and the buffer holds this process's part."""

    learned: Sequence[nn.Parameter] = ()
    """The learned parameters of the model that training was given."""
    sharded: Sequence[nn.Parameter] = ()
    """Those of the twin, in the same order."""
    parameters: Sequence[nn.Parameter] = ()
    """This process's part of each, as the buffer takes them."""

    def summed_loss(self, rows: Sequence[TokenRow]) -> Tensor:
        """As `Placement.summed_loss`; each layer is gathered when it computes."""
        twin: Any = self.module
        loss: Tensor = twin.summed_loss(self.loss, collate(rows, twin.device), self.packed)
        return loss

    def parts(self, rows: Sequence[TokenRow], micro_tokens: int) -> list[Part]:
        """As `Placement.parts`. All processes compute equally many, since each holds parts that the others need; one
        that has fewer computes a group of rows that does not count."""
        shares = [self.micro_batches(rows, micro_tokens, rank) for rank in range(self.world.size)]
        mine: list[Part] = [(part, 1.0) for part in shares[self.world.rank]]
        idle: Part = (min(groups_of(rows, self.loss.rows_together), key=num_tokens), 0.0)
        return mine + [idle] * (max(map(len, shares)) - len(mine))

    def collect_gradients(self, buffer: Buffer) -> None:
        """Add the gradients of the parts, which fully_shard has summed over all processes, in 32 bits."""
        total = buffer.weights.grad
        assert total is not None
        pieces = torch.split(total, [each.numel() for each in self.parameters])
        for each, piece in zip(self.sharded, pieces, strict=True):
            if each.grad is not None:
                piece.add_(_local(each.grad).flatten())
                each.grad = None

    def total_norm(self, buffer: Buffer) -> Tensor:
        """Calculate it from the norms of the parts."""
        grad = buffer.weights.grad
        assert grad is not None
        squares = self.world.total(float(nn.utils.get_total_norm([grad])) ** 2)
        return torch.tensor(math.sqrt(squares), device=grad.device)

    def update_model(self, buffer: Buffer) -> None:
        """Copy the buffer's weights into the parts."""
        buffer.update_narrow()
        for each, part in zip(self.sharded, self.parameters, strict=True):
            _local(each.detach()).copy_(part.detach())

    def gathered(self, held: Tensor) -> Tensor:
        """Gather the parts of all processes in process 0's memory, in the order of a single process's buffer, so that
        a checkpoint is the same for any number of processes."""
        if not held.ndim:
            return held
        parts = self.world.gather(held, [sum(self._numels(rank)) for rank in range(self.world.size)])
        if not self.world.leads:
            return held
        pieces = [torch.split(part, self._numels(rank)) for rank, part in enumerate(parts)]
        return torch.cat([piece for parameter in zip(*pieces, strict=True) for piece in parameter])

    def slices(self, buffer: Buffer) -> list[tuple[int, int]]:
        """This process's part of each parameter, after those of the processes before it."""
        first, found = 0, []
        before = [self._numels(rank) for rank in range(self.world.rank)]
        for at, (each, numel) in enumerate(zip(self.learned, self._numels(self.world.rank), strict=True)):
            start = first + sum(numels[at] for numels in before)
            found.append((start, start + numel))
            first += each.numel()
        return found

    @contextmanager
    def holding(self, buffer: Buffer, gathered: Tensor) -> Iterator[None]:
        """Give the model that training was given other data for a while."""
        own = [each.data for each in self.learned]
        pieces = torch.split(gathered, [each.numel() for each in self.learned])
        try:
            for each, piece in zip(self.learned, pieces, strict=True):
                each.data = piece.view_as(each).to(each.dtype)
            yield
        finally:
            for each, data in zip(self.learned, own, strict=True):
                each.data = data

    def _numels(self, rank: int) -> list[int]:
        """How many numbers of each learned parameter a process holds: even shares of its first axis, the last ones
        shorter or empty."""
        return [
            _rows(len(each), rank, self.world.size) * (each.numel() // len(each)) for each in self.learned
        ]


@contextmanager
def sharded(
    module: PreTrainedModel, learned: Sequence[nn.Parameter], world: World, loss: Loss
) -> Iterator[Shards]:
    """Shard the `learned` parameters of `module` for the length of a `with`; meanwhile the module's own weights are
    moved from a GPU to the machine's memory."""
    device = module.device
    twin = _twin(module, device, world)
    if device.type == "cuda":
        module.to("cpu")
    names = {id(each): name for name, each in module.named_parameters()}
    found = dict(twin.named_parameters())
    shards = [found[names[id(each)]] for each in learned]
    held = [nn.Parameter(_local(each.detach())) for each in shards]
    try:
        yield Shards(twin, world, loss, False, learned, shards, held)
    finally:
        if device.type == "cuda":
            module.to(device)


def _twin(module: PreTrainedModel, device: torch.device, world: World) -> PreTrainedModel:
    """A sharded copy of the model, of which this process holds its part."""
    empty = {
        id(each): nn.Parameter(torch.empty_like(each, device="meta"), each.requires_grad)
        for each in module.parameters()
    }
    twin: Any = copy.deepcopy(module, empty)
    mesh = init_device_mesh(device.type, (world.size,))
    options: dict[str, Any] = {"mesh": mesh, "mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32)}
    for layer in decoder_layers(twin)[1]:
        fully_shard(layer, **options)
    # The head is used by the loss and not by the model's own forward, so the loss is registered as a forward.
    twin.summed_loss = MethodType(summed_loss, twin)
    fully_shard(twin, reshard_after_forward=True, **options)
    register_fsdp_forward_method(twin, "summed_loss")
    for part in twin.modules():
        if isinstance(part, FSDPModule):
            # Losses are divided by the tokens of the global batch, so gradients are summed and not averaged.
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
    twin.load_state_dict(_cut(module, twin), strict=False, assign=True)
    return twin


def _cut(module: nn.Module, twin: nn.Module) -> dict[str, nn.Parameter]:
    """This process's parts of the module's weights, by the twin's names; tied weights are one parameter."""
    own = dict(module.named_parameters(remove_duplicate=False))
    cut: dict[int, nn.Parameter] = {}
    state = {}
    for name, each in twin.named_parameters(remove_duplicate=False):
        assert isinstance(each, DTensor)
        if id(each) not in cut:
            part = distribute_tensor(
                own[name].detach(), each.device_mesh, each.placements, src_data_rank=None
            )
            cut[id(each)] = nn.Parameter(part, each.requires_grad)
        state[name] = cut[id(each)]
    return state


def _local(tensor: Tensor) -> Tensor:
    assert isinstance(tensor, DTensor)
    return tensor.to_local()


def _rows(length: int, rank: int, size: int) -> int:
    """How many of `length` rows are in the shard of process `rank`."""
    most = -(-length // size)
    return max(0, min(length - rank * most, most))
