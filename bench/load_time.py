"""Seconds until the packaged model can answer, imports included: first load (cache made) and later ones.

    python bench/load_time.py [repeats]

Every load is a process of its own. The aim is under 3 s for every load but the first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

LOAD = """
import time; begin = time.perf_counter()
import torch, transformers; imported = time.perf_counter()
from etude.models.registry import Models
from etude.types import ModelRef
Models().get(ModelRef("smollm2-135m-instruct")); loaded = time.perf_counter()
print(f"{loaded - begin:6.2f} s, of which importing torch and transformers {imported - begin:.2f} s")
"""


def main(repeats: int) -> None:
    """Prints a line for the first load and one for each later load."""
    with tempfile.TemporaryDirectory() as cache:
        for number in range(1 + repeats):
            print("first load" if number == 0 else "later load", end=": ", flush=True)
            subprocess.run([sys.executable, "-c", LOAD], env={**os.environ, "ETUDE_CACHE": cache}, check=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
