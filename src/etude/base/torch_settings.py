"""Settings of torch and its libraries. They read them from the environment only when they are
loaded.
"""

import os
import time

# The number of matrix product kernels that oneDNN and torch's layer over it cache, one per shape.
# With the default of 1,000, every new number of tokens used 26 MB more with SmolLM2-135M.
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
MAX_KERNELS = "64"  # more than one step needs
# GOMP_SPINCOUNT on an idle machine, and on one where other processes run (docs/training.md).
QUIET_SPINS = "10000"
BUSY_SPINS = "1000"


def configure_torch() -> None:
    """Set the environment variables that the user has not set. Call this before torch is
    imported.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, MAX_KERNELS)
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        # By default a waiting OpenMP thread spins for milliseconds. On a busy machine, it then
        # occupies the core that the thread it waits for needs.
        os.environ["GOMP_SPINCOUNT"] = BUSY_SPINS if is_machine_busy() else QUIET_SPINS


def is_machine_busy(loads: str = "/proc/loadavg") -> bool:
    """Whether other processes used at least half a core in the last minute, and one is running now
    at each of five looks within 16 ms.

    False if the system has no such file. (Only on Linux does torch use libgomp.)
    """
    try:
        for look in range(5):
            time.sleep(0.004 if look else 0)
            with open(loads, encoding="ascii") as file:  # noqa: PTH123 - pathlib loads slowly
                minute, *_, running, _ = file.read().split()  # "0.71 0.40 0.20 2/165 4714"
            if (
                float(minute) < 0.5 or int(running.partition("/")[0]) <= 1
            ):  # this process is one of them
                return False
    except (OSError, ValueError):
        return False
    return True
