"""The used and available memory that the operating system or the accelerator reports."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from etude.errors import ModelError
from etude.training.config import TrainConfig

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_MACHINE = Path("/proc/meminfo")
_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""The memory limit of a container. Without a limit, the file is absent or contains the word max."""


def release_freed_memory() -> None:
    """Return freed memory to the system, which glibc does not do automatically.

    Reading and splitting 100,000 rows frees hundreds of megabytes in small pieces. Without this
    call they would stay allocated until the end of training.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def reset_peak_memory(device: torch.device) -> None:
    """Make `peak_memory` measure from now on, if the system allows it; else it measures from the
    process's start.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _RESET.exists():
        try:
            _RESET.write_text("5")
        except OSError:
            return


def peak_memory(device: torch.device) -> int:
    """Return the peak bytes: on the accelerator, else resident in this process; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _read_bytes(_STATUS, "VmHWM")


def memory_in_use(device: torch.device) -> int:
    """Return the bytes that this process uses: on the accelerator, else resident; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _read_bytes(_STATUS, "VmRSS")


def available_memory(device: torch.device) -> int:
    """Return the bytes that this process can use, including the bytes that it already uses; 0 if
    unknown.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    free = _read_bytes(_MACHINE, "MemAvailable")
    if not free:
        return 0
    limit = _LIMIT.read_text().strip() if _LIMIT.exists() else "max"
    available = free + memory_in_use(device)
    return min(available, int(limit)) if limit.isdigit() else available


def suggest_less_memory(config: TrainConfig) -> str:
    """Return a sentence with settings that need less memory."""
    rank = f", rank: {config.rank // 2}" if config.rank > 1 else ""
    settings = f"{{micro_tokens: {max(1, config.micro_tokens // 2)}{rank}}}"
    return (
        f"Set train: {settings} or only some of these settings, or a smaller model in the task "
        "file."
    )


@contextmanager
def explain_memory_errors(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Context manager: convert an out-of-memory error into a ModelError with settings to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On a CPU, torch has no class for this error.
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_memory and "DefaultCPUAllocator" not in str(error):
            raise
        device_name = "GPU" if device.type == "cuda" else "machine"
        raise ModelError(
            f"The {device_name} ran out of memory in training. {suggest_less_memory(config)}"
        ) from error


def _read_bytes(file: Path, name: str) -> int:
    """Read the bytes in a line `NAME: 12 kB` of a Linux file; 0 if there is none."""
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
