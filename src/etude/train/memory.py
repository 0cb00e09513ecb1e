"""The highest memory a stretch of work needed, from the operating system or the accelerator."""

from __future__ import annotations

from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


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
    if not _STATUS.exists():
        return 0
    lines = _STATUS.read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
