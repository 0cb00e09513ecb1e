"""The processes that train one model together, as torchrun starts them: which this one is, and what they tell
each other.

A `World` is passed to whatever several processes do together; nothing else knows of them. `ONE` is the world of
a single process: it costs nothing. Process 0 leads: it alone reads the task, writes and speaks.

Numbers go as tensors and messages as JSON, so that nothing is unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from etude.errors import RunError, WorkerExited

if TYPE_CHECKING:
    from torch import Tensor

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others, which may be asking the user or answering dev; one that has ended is
noticed at once."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among `size` of them. Every method is called by all of them in the same order, and raises
    Parted where another one has ended."""

    rank: int = 0
    """From 0 on."""
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> None:
        """Adds up what stands in `tensor` in all processes, in place; the same bits in each."""
        if self.size > 1:
            from torch import distributed

            with _told():
                distributed.all_reduce(tensor)

    def total(self, number: float) -> float:
        """The sum of one number of each process."""
        if self.size == 1:
            return number
        import torch

        tensor = torch.tensor([number], dtype=torch.float64)
        self.sum(tensor)
        return tensor.item()

    def gather(self, tensor: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """In process 0 the flat tensors of all processes, which are so long, on the processor; elsewhere none."""
        import torch
        from torch import distributed

        padded = torch.zeros(max(lengths), dtype=tensor.dtype)
        padded[: len(tensor)].copy_(tensor)
        found = [torch.empty_like(padded) for _ in lengths] if self.leads else None
        with _told():
            distributed.gather(padded, found)
        return [each[:length] for each, length in zip(found or (), lengths, strict=self.leads)]

    def broadcast(self, value: Any = None) -> Any:
        """Process 0's `value`, which must be JSON, in all processes; what others give is not looked at."""
        if self.size == 1:
            return value
        import torch
        from torch import distributed

        text = json.dumps(value).encode() if self.leads else b""
        length = torch.tensor([len(text)])
        with _told():
            distributed.broadcast(length, 0)
            body = torch.frombuffer(bytearray(text or int(length)), dtype=torch.uint8)
            distributed.broadcast(body, 0)
        return json.loads(body.numpy().tobytes())


ONE = World()


def rank_given() -> int:
    """The number that torchrun gave this process; 0 where there is no other."""
    return int(os.environ.get("RANK", "0")) if _size_given() > 1 else 0


@contextmanager
def joined() -> Iterator[World]:
    """The world of the processes that torchrun has started, or `ONE`, for the length of a `with`.

    Each takes a GPU of its own, or an even part of the processor's cores. A group that a script under torchrun has
    made with torch.distributed is used as it is. Raises RunError where processes outnumber the GPUs, and where such a
    group is for GPUs alone.
    """
    if _size_given() == 1:
        yield ONE
        return
    from torch import distributed

    if distributed.is_initialized():
        if "cpu:" not in (carries := distributed.get_backend_config()):
            raise RunError(
                f"The processes' own group ({carries}) carries no tensors of the processor. Make it with "
                "init_process_group('cpu:gloo,cuda:nccl')."
            )
        yield World(distributed.get_rank(), distributed.get_world_size())
        return
    distributed.init_process_group(_backend(), timeout=PATIENCE)
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def _size_given() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _backend() -> str:
    """What tensors travel by; takes this process's GPU, or its part of the cores."""
    import torch

    here, among = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not torch.cuda.is_available():
        # torchrun sets one thread for each process where the user has set nothing.
        if os.environ.get("OMP_NUM_THREADS", "1") == "1":
            torch.set_num_threads(max(1, _cores() // among))
        return "gloo"
    if among > torch.cuda.device_count():
        raise RunError(
            f"torchrun started {among} processes on a machine of {torch.cuda.device_count()} GPUs. Start one for "
            "each GPU (--nproc-per-node), or hide the GPUs (CUDA_VISIBLE_DEVICES=) to train on the processor."
        )
    torch.cuda.set_device(here)
    return "cpu:gloo,cuda:nccl"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _told() -> Iterator[None]:
    """Says in a sentence what torch raises where another process has ended."""
    try:
        yield
    except RuntimeError as error:
        raise WorkerExited(
            "Another of the processes that train together has ended; its own message says why. The same command "
            "goes on from the last checkpoint."
        ) from error
