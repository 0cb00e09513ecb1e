"""Timings of this machine, saved in the cache folder so a second run need not measure them again."""

import contextlib
import hashlib
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from etude import __version__
from etude.base.files import hold_lock, read_json, write_json
from etude.models.weights import find_cache_root

FILE = "timings.json"
MIN_SECONDS = 0.5
"""A measurement that takes less time is repeated and not saved."""
MIN_CPU_SHARE = 0.6
"""A measurement with a smaller share of its threads' processor time was slowed by other work; it is not saved."""
MAX_KEPT = 500
"""The oldest timings are dropped beyond this number."""
SETTINGS = (
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY",
    "CUDA_VISIBLE_DEVICES",
)
"""Environment variables on which the speed depends."""


def measure_once(subject: Sequence[object], measure: Callable[[], Sequence[float]]) -> list[float]:
    """Return the saved measurement of the same subject on this machine; without one, measure it and save it.

    `subject` is everything that the result depends on, such as model, texts and settings; machine, threads and
    versions are added. A cache folder that cannot be read or written is ignored. Delete timings.json in it to measure
    again.
    """
    key = hashlib.sha256(repr((tuple(subject), _describe_machine())).encode()).hexdigest()[:32]
    file = find_cache_root() / FILE
    if (values := _read(file).get(key)) is not None:
        return values
    started, cpu_started = time.perf_counter(), time.process_time()
    values = list(measure())
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    torch = sys.modules.get("torch")
    num_threads = torch.get_num_threads() if torch and not torch.cuda.is_available() else 1
    if seconds >= MIN_SECONDS and cpu_seconds >= MIN_CPU_SHARE * num_threads * seconds:
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            with hold_lock(file):
                kept = list({**_read(file), key: values}.items())[-MAX_KEPT:]
                write_json(file, dict(kept))
    return values


def _read(file: Path) -> dict[str, list[float]]:
    try:
        return read_json(file) if file.exists() else {}
    except Exception:  # noqa: BLE001 - a broken file is written anew
        return {}


def _describe_machine() -> tuple[object, ...]:
    torch = sys.modules.get("torch")
    return (
        __version__,
        platform.node(),
        platform.machine(),
        os.cpu_count(),
        getattr(torch, "__version__", None),
        torch.get_num_threads() if torch else None,
        torch.cuda.is_available() if torch else None,
        *(os.environ.get(name) for name in SETTINGS),
    )
