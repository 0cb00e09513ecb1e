"""The processes that torchrun starts to train one model: the number of this process, and messages between them.

Only code that gets a `World` knows about other processes. `SINGLE` is the world of one process and costs nothing.
Process 0 leads: only it reads the task, writes files and reports.

Numbers are sent as tensors and messages as JSON, so nothing is unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from etude.errors import RunError, WorkerExited

if TYPE_CHECKING:
    from torch import Tensor

# The time that a process waits for the others, which may be asking the user or answering dev rows. The exit of a
# process is noticed at once.
TIMEOUT = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class World:
    """This process among `size` processes.

    All processes must call each method, in the same order. Methods raise WorkerExited if another process has exited.
    """

    rank: int = 0
    """Counted from 0."""
    size: int = 1

    @property
    def is_leader(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def sum_tensor(self, tensor: Tensor) -> None:
        """Add up `tensor` over all processes, in place. The sum has the same bits in each process."""
        if self.size > 1:
            from torch import distributed

            with _report_exit():
                distributed.all_reduce(tensor)

    def sum_number(self, number: float) -> float:
        """Add up one number per process."""
        if self.size == 1:
            return number
        import torch

        tensor = torch.tensor([number], dtype=torch.float64)
        self.sum_tensor(tensor)
        return tensor.item()

    def broadcast(self, value: Any = None) -> Any:
        """Return process 0's `value`, which must be JSON, in all processes; the values of the others are ignored."""
        if self.size == 1:
            return value
        import torch
        from torch import distributed

        text = json.dumps(value).encode() if self.is_leader else b""
        length = torch.tensor([len(text)])
        with _report_exit():
            distributed.broadcast(length, 0)
            body = torch.frombuffer(bytearray(text or int(length)), dtype=torch.uint8)
            distributed.broadcast(body, 0)
        return json.loads(body.numpy().tobytes())


SINGLE = World()


def read_rank() -> int:
    """Read this process's number from torchrun; 0 without torchrun."""
    return int(os.environ.get("RANK", "0")) if _read_world_size() > 1 else 0


def _read_world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def join_processes() -> Iterator[World]:
    """Yield the world of the processes that torchrun has started, or `SINGLE`.

    Each process gets its own GPU, or an equal share of the CPU's cores. If a script under torchrun has already made a
    group, that one is used. Raises RunError for more processes than GPUs, or if it cannot send CPU tensors.
    """
    if _read_world_size() == 1:
        yield SINGLE
        return
    from torch import distributed

    if distributed.is_initialized():
        if "cpu:" not in (backends := distributed.get_backend_config()):
            raise RunError(
                f"The existing process group ({backends}) cannot send CPU tensors. Create it with "
                "init_process_group('cpu:gloo,cuda:nccl')."
            )
        yield World(distributed.get_rank(), distributed.get_world_size())
        return
    distributed.init_process_group(_choose_backend(), timeout=TIMEOUT)
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def _choose_backend() -> str:
    """Choose the backend of the process group, and take this process's GPU or its share of the cores."""
    import torch

    rank, size = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not torch.cuda.is_available():
        # torchrun sets one thread per process if the user did not set a number
        if os.environ.get("OMP_NUM_THREADS", "1") == "1":
            is_bound = hasattr(os, "sched_getaffinity")
            num_cores = len(os.sched_getaffinity(0)) if is_bound else os.cpu_count() or 1
            torch.set_num_threads(max(1, num_cores // size))
        return "gloo"
    if size > torch.cuda.device_count():
        raise RunError(
            f"torchrun started {size} processes on a machine with {torch.cuda.device_count()} GPUs. Start one for "
            "each GPU (--nproc-per-node), or hide the GPUs (CUDA_VISIBLE_DEVICES=) to train on the CPU."
        )
    torch.cuda.set_device(rank)
    return "cpu:gloo,cuda:nccl"


@contextmanager
def _report_exit() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise WorkerExited(
            "Another training process exited; its own message says why. Run the same command again to resume from "
            "the last checkpoint."
        ) from error
