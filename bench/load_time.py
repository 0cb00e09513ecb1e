"""Measure the seconds of `import etude`, of `etude --help`, and of loading the packaged model until it can answer.

    python bench/load_time.py [loads]

Every measurement runs in a new process and includes the start of Python. `import etude` and `etude --help` are medians
of ten processes and do not load torch; the target is under 0.4 s. Loading the model includes its imports. The first
load also unpacks the weights on disk; the target for all other loads is under 3 s. The exit code is 1 if a target is
missed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

STARTS = 10
START_AIM, LOAD_AIM = 0.4, 3.0
NO_TORCH = "import sys; sys.exit('torch' in sys.modules)"
IMPORT = f"import etude; {NO_TORCH}"
HELP = f"""
from etude.cli import main
main(["--help"])
{NO_TORCH}
"""
LOAD = """
import time; begin = time.perf_counter()
import torch, transformers; imported = time.perf_counter()
from etude.models.registry import Models
from etude.types import ModelRef
Models().get(ModelRef("smollm2-135m-instruct")); loaded = time.perf_counter()
print(loaded - begin, imported - begin)
"""


def main(loads: int) -> bool:
    """Prints a line for every figure; returns whether all targets are met."""
    results = [time_start(name, code) for name, code in (("import etude", IMPORT), ("etude --help", HELP))]
    with tempfile.TemporaryDirectory() as cache:
        time_load("first load", cache)
        results += [time_load("later load", cache) < LOAD_AIM for _ in range(loads)]
    return all(results)


def time_start(name: str, code: str) -> bool:
    """Prints the median and the range of the seconds of ten processes; returns whether the target is met."""
    seconds = []
    for _ in range(STARTS):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - begin)
    median = statistics.median(seconds)
    print(f"{name}: median {median:.2f} s of {STARTS} ({min(seconds):.2f} to {max(seconds):.2f}), no torch")
    return median < START_AIM


def time_load(name: str, cache: str) -> float:
    """Prints the seconds of one load of the packaged model, and returns them."""
    result = subprocess.run(
        [sys.executable, "-c", LOAD],
        env={**os.environ, "ETUDE_CACHE": cache},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    whole, imports = map(float, result.stdout.split())
    print(f"{name}: {whole:.2f} s, of which importing torch and transformers {imports:.2f} s")
    return whole


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 3) else 1)
