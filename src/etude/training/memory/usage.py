"""Memory that a stretch of work needed and that there is, from the operating system or the accelerator."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from etude.errors import ModelError
from etude.task.settings import ALL
from etude.training.config import TrainConfig

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_MACHINE = Path("/proc/meminfo")
_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""What a container allows; absent, or the word max, where it sets no limit."""


def give_back_freed_memory() -> None:
    """Hands what was freed back to the system, where the C library keeps it for itself (glibc).

    Reading and splitting 100,000 rows frees hundreds of megabytes in small pieces, which would stand beside the
    training until its end.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def reset_peak_memory(device: torch.device) -> None:
    """Makes `peak_memory` count from now on, where the system allows it; else it counts from the start."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _RESET.exists():
        try:
            _RESET.write_text("5")
        except OSError:
            return


def peak_memory(device: torch.device) -> int:
    """Bytes at the highest point: of the accelerator, else resident of this process; 0 where unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _kilobytes(_STATUS, "VmHWM")


def memory_in_use(device: torch.device) -> int:
    """Bytes in use now: of the accelerator by this process, else resident of it; 0 where unknown."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _kilobytes(_STATUS, "VmRSS")


def memory_within_reach(device: torch.device) -> int:
    """Bytes that this process can have, those that it has among them; 0 where unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    free = _kilobytes(_MACHINE, "MemAvailable")
    if not free:
        return 0
    limit = _LIMIT.read_text().strip() if _LIMIT.exists() else "max"
    reach = free + memory_in_use(device)
    return min(reach, int(limit)) if limit.isdigit() else reach


def less_memory(config: TrainConfig, at_rest: bool = False) -> str:
    """What to set so that a run takes less memory, as a sentence; `at_rest`: less before its first step."""
    settings = [] if at_rest else [f"micro_tokens: {max(1, config.micro_tokens // 2)}"]
    if config.weights == "full":
        settings.append("weights: lora")
    else:
        settings += [f"rank: {config.rank // 2}"] if config.rank > 1 else []
        settings += ["lora_layers: top-8"] if config.lora_layers == ALL else []
    lower = f"Set train: {{{', '.join(settings)}}} or one of these, or" if settings else "Set"
    return f"{lower} a smaller model in the task file."


@contextmanager
def memory_told(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Within it, memory that runs out is a ModelError that says what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On the processor torch has no class for it.
        told = isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
        if not told:
            raise
        where = "GPU" if device.type == "cuda" else "machine"
        raise ModelError(f"The memory of the {where} ran out in training. {less_memory(config)}") from error


def _kilobytes(file: Path, name: str) -> int:
    """The bytes that a line `NAME: 12 kB` of a file of Linux's tells; 0 where there is none."""
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
