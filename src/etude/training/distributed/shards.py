"""The model in shards, one per process: fully sharded data parallel (FSDP2, torch's `fully_shard`).

Each process has an equal part of every parameter, of its gradient and of the optimizer's states. A decoder layer is
gathered in all processes just before it computes, and sharded again afterwards. The caller's model does not change:
its weights are distributed over a sharded copy, the twin. Therefore each GPU must have enough memory for the whole
model before it is sharded. After that, the model and the other memory of training are divided among the GPUs.

Source: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054), Zhao et al. 2023 (PyTorch FSDP, 2304.11277).
"""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import fsdp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from etude.base.processes import World
from etude.training.distributed.placement import Placement, WeightedRows, compute_summed_loss
from etude.training.layers.lora import find_decoder_layers
from etude.training.losses import Loss
from etude.training.memory.buffer import Buffer
from etude.training.rows.batches import TokenRow, collate, count_tokens, split_groups


@dataclass(frozen=True, slots=True)
class Shards(Placement):
    """The trained weights in shards: `module` is the sharded twin, and the buffer has this process's part."""

    learned: Sequence[nn.Parameter] = ()
    """The trained parameters of the caller's model."""
    sharded: Sequence[nn.Parameter] = ()
    """The same parameters of the twin, in the same order."""
    parameters: Sequence[nn.Parameter] = ()
    """This process's part of each parameter, for the buffer."""

    def compute_loss(self, rows: Sequence[TokenRow]) -> Tensor:
        """As `Placement.compute_loss`. Each layer is gathered when it computes."""
        twin: Any = self.module
        loss: Tensor = twin.compute_loss(self.loss, collate(rows, twin.device), self.is_packed)
        return loss

    def split_batch(self, rows: Sequence[TokenRow], micro_tokens: int) -> list[WeightedRows]:
        """As `Placement.split_batch`. All processes compute the same number of micro-batches, because each has parts
        that the others need. A process with fewer micro-batches also computes a group of rows with factor 0."""
        # Every process computes all shares, so all get the same number of micro-batches.
        shares = [self.split_micro_batches(rows, micro_tokens, rank) for rank in range(self.world.size)]
        own: list[WeightedRows] = [(micro_batch, 1.0) for micro_batch in shares[self.world.rank]]
        idle: WeightedRows = (min(split_groups(rows, self.loss.group_size), key=count_tokens), 0.0)
        return own + [idle] * (max(map(len, shares)) - len(own))

    def collect_gradients(self, buffer: Buffer) -> None:
        """Add the gradients of this process's parts. fully_shard has summed them over all processes in 32 bits."""
        total = buffer.weights.grad
        assert total is not None
        gradients = torch.split(total, [parameter.numel() for parameter in self.parameters])
        for parameter, gradient in zip(self.sharded, gradients, strict=True):
            if parameter.grad is not None:
                gradient.add_(_to_local(parameter.grad).flatten())
                parameter.grad = None

    def compute_norm(self, buffer: Buffer) -> Tensor:
        """Compute the norm from the norms of the parts."""
        grad = buffer.weights.grad
        assert grad is not None
        squares = self.world.sum_number(float(nn.utils.get_total_norm([grad])) ** 2)
        return torch.tensor(math.sqrt(squares), device=grad.device)

    def update_model(self, buffer: Buffer) -> None:
        """Copy the buffer's weights into the twin."""
        buffer.update_narrow()
        for parameter, own_rows in zip(self.sharded, self.parameters, strict=True):
            _to_local(parameter.detach()).copy_(own_rows.detach())

    def gather(self, held: Tensor) -> Tensor:
        """Gather the parts of all processes in process 0's memory, in the order of a single process's buffer. A
        checkpoint is therefore the same for any number of processes."""
        if not held.ndim:
            return held
        shards = self.world.gather(held, [sum(self._count_numbers(rank)) for rank in range(self.world.size)])
        if not self.world.is_leader:
            return held
        # The shards of one parameter are adjacent, as in the buffer of a single process.
        pieces = [torch.split(shard, self._count_numbers(rank)) for rank, shard in enumerate(shards)]
        return torch.cat([piece for parameter in zip(*pieces, strict=True) for piece in parameter])

    def list_slices(self, buffer: Buffer) -> list[tuple[int, int]]:
        """List this process's slice of each parameter in the gathered tensor."""
        offset, slices = 0, []
        earlier = [self._count_numbers(rank) for rank in range(self.world.rank)]
        for index, (parameter, numel) in enumerate(
            zip(self.learned, self._count_numbers(self.world.rank), strict=True)
        ):
            start = offset + sum(numels[index] for numels in earlier)
            slices.append((start, start + numel))
            offset += parameter.numel()
        return slices

    @contextmanager
    def use_weights(self, buffer: Buffer, gathered: Tensor) -> Iterator[None]:
        """Context manager: put other weights into the caller's model."""
        own_data = [parameter.data for parameter in self.learned]
        pieces = torch.split(gathered, [parameter.numel() for parameter in self.learned])
        try:
            for parameter, piece in zip(self.learned, pieces, strict=True):
                parameter.data = piece.view_as(parameter).to(parameter.dtype)
            yield
        finally:
            for parameter, data in zip(self.learned, own_data, strict=True):
                parameter.data = data

    def _count_numbers(self, rank: int) -> list[int]:
        # Each parameter's first axis is split into equal parts; the last parts are shorter or empty.
        numbers = []
        for parameter in self.learned:
            rows_each = -(-len(parameter) // self.world.size)
            rows = max(0, min(len(parameter) - rank * rows_each, rows_each))
            numbers.append(rows * (parameter.numel() // len(parameter)))
        return numbers


@contextmanager
def shard_model(
    module: PreTrainedModel, learned: Sequence[nn.Parameter], world: World, loss: Loss
) -> Iterator[Shards]:
    """Context manager: shard the `learned` parameters of `module`. Within it, the module's own weights are in the
    machine's memory instead of the GPU's."""
    device = module.device
    twin = _build_twin(module, device, world)
    if device.type == "cuda":
        module.to("cpu")
    # Parameters of the twin are found by name; adapters are among them.
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    twin_parameters = dict(twin.named_parameters())
    shards = [twin_parameters[names[id(parameter)]] for parameter in learned]
    own_parts = [nn.Parameter(_to_local(parameter.detach())) for parameter in shards]
    try:
        yield Shards(twin, world, loss, False, learned, shards, own_parts)
    finally:
        if device.type == "cuda":
            module.to(device)


def _build_twin(module: PreTrainedModel, device: torch.device, world: World) -> PreTrainedModel:
    """Build a sharded copy of the model. This process has only its part of the weights."""
    # A deep copy with weights on the meta device: the twin uses no memory before it is sharded.
    empty = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in module.parameters()
    }
    twin: Any = copy.deepcopy(module, empty)
    mesh = init_device_mesh(device.type, (world.size,))
    options: dict[str, Any] = {
        "mesh": mesh,
        "mp_policy": fsdp.MixedPrecisionPolicy(reduce_dtype=torch.float32),
    }
    for layer in find_decoder_layers(twin)[1]:
        fsdp.fully_shard(layer, **options)
    # The loss uses the head, and the model's own forward does not, so the loss is registered as a forward.
    twin.compute_loss = MethodType(compute_summed_loss, twin)
    fsdp.fully_shard(twin, reshard_after_forward=True, **options)
    fsdp.register_fsdp_forward_method(twin, "compute_loss")
    for submodule in twin.modules():
        if isinstance(submodule, fsdp.FSDPModule):
            # Losses are divided by the tokens of the global batch, so gradients are summed and not averaged.
            submodule.set_gradient_divide_factor(1.0)
            submodule.set_force_sum_reduction_for_comms(True)
    twin.load_state_dict(_split_state(module, twin), strict=False, assign=True)
    return twin


def _split_state(module: nn.Module, twin: nn.Module) -> dict[str, nn.Parameter]:
    """Cut this process's parts from the module's weights: name in the twin -> part. Tied weights are one parameter."""
    weights = dict(module.named_parameters(remove_duplicate=False))
    parts_by_id: dict[int, nn.Parameter] = {}
    state = {}
    for name, parameter in twin.named_parameters(remove_duplicate=False):
        assert isinstance(parameter, DTensor)
        if id(parameter) not in parts_by_id:
            own_part = distribute_tensor(
                weights[name].detach(), parameter.device_mesh, parameter.placements, src_data_rank=None
            )
            parts_by_id[id(parameter)] = nn.Parameter(own_part, parameter.requires_grad)
        state[name] = parts_by_id[id(parameter)]
    return state


def _to_local(tensor: Tensor) -> Tensor:
    assert isinstance(tensor, DTensor)
    return tensor.to_local()
