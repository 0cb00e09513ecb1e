"""Memory that a stretch of work needed and that there is, from the operating system or the accelerator."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch

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


def _kilobytes(file: Path, name: str) -> int:
    """The bytes that a line `NAME: 12 kB` of a file of Linux's tells; 0 where there is none."""
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
