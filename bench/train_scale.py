"""Whether training costs the same from few rows and from many: 200 steps out of files of two sizes.

    python bench/train_scale.py                       # from 1,000 and from 100,000 rows
    python bench/train_scale.py --rows 1000 10000 --steps 50

The requests are made here, of words of examples/luma in random order; their answers are Luma's. Each run is
`etude.tuning.train` in a process of its own, and `train: {max_rows: ...}` makes its one epoch so many
steps. Printed for each: what comes before the first step (reading, split, dev loss of the untrained model),
the median step, its tokens a second, the peak of memory from the first step on, and that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from etude.base.files import write_lines
from etude.runs.events import StepTrained
from etude.training.memory.usage import peak_memory, reset_peak_memory
from etude.tuning import train

LUMA = Path(__file__).parents[1] / "examples" / "luma" / "examples.jsonl"
ROWS_PER_STEP = 3
"""So that 200 steps find their rows in the 700 of 1,000 that are trained on."""
WORDS = 22
"""Of a request."""
CPU = torch.device("cpu")


@dataclass
class Figures:
    """What one run took."""

    before: float = 0.0
    """Seconds from the call to the first step's end."""
    steps: list[float] = field(default_factory=list)
    """Seconds of each step."""
    tokens: int = 0
    peak_before: int = 0
    """Bytes at the highest point before the first step's end."""
    peak: int = 0
    """Bytes at the highest point behind it."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.run:
        print(json.dumps(asdict(one_run(flags.rows[0], flags.steps))))
        return
    print(f"{torch.get_num_threads()} threads, {flags.steps} steps of {ROWS_PER_STEP} rows")
    print("| rows | s before | s a step | tokens/s | peak GB of the steps | peak GB of all |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    found = [shown(rows, apart(rows, flags.steps)) for rows in flags.rows]
    (slow, large), (first_slow, first_large) = found[-1], found[0]
    print(
        f"{flags.rows[-1]:,} rows beside {flags.rows[0]:,}: a token {slow / first_slow - 1:+.1%} seconds, memory of "
        f"the steps {large / first_large - 1:+.1%}"
    )


def shown(rows: int, found: Figures) -> tuple[float, float]:
    """Prints a line; returns seconds a token and the peak of the steps."""
    step = statistics.median(found.steps)
    speed = found.tokens / sum(found.steps)
    whole = max(found.peak, found.peak_before)
    print(
        f"| {rows:,} | {found.before:.0f} | {step:.3f} | {speed:.0f} | {found.peak / 1e9:.2f} | {whole / 1e9:.2f} |",
        flush=True,
    )
    return 1 / speed, found.peak


def apart(rows: int, steps: int) -> Figures:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "--run", "--rows", str(rows), "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def one_run(rows: int, steps: int) -> Figures:
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        task = written(Path(folder), rows, steps)
        began = time.perf_counter()

        def watch(event: object) -> None:
            if isinstance(event, StepTrained) and event.step == 1:
                figures.before = time.perf_counter() - began
                figures.peak_before = peak_memory(CPU)
                reset_peak_memory(CPU)

        training = train(task, on_event=watch)
        log = training.run.method("fine_tune") / "train.jsonl"
        news = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in news if "step" in line][1:]
    figures.steps = [line["seconds"] for line in lines]
    figures.tokens = sum(line["tokens"] for line in lines)
    figures.peak = peak_memory(CPU)
    return figures


def written(folder: Path, number: int, steps: int) -> Path:
    """A task of so many rows, no two of them alike."""
    luma = [json.loads(line) for line in LUMA.read_text(encoding="utf-8").splitlines()]
    words = sorted({word for row in luma for word in row["input"].split()})
    chance = random.Random(0)
    rows = (
        {"input": " ".join(chance.choices(words, k=WORDS)), "output": chance.choice(luma)["output"]}
        for _ in range(number)
    )
    write_lines(folder / "examples.jsonl", rows)
    task = folder / "task.yaml"
    task.write_text(
        "name: scale\nkind: answer\nmodel: smollm2-135m-instruct\nexamples: examples.jsonl\n"
        "instructions: Recommend one book.\n"
        f"train: {{max_rows: {steps * ROWS_PER_STEP}, rows_per_step: {ROWS_PER_STEP}, epochs: 1}}\n",
        encoding="utf-8",
    )
    return task


if __name__ == "__main__":
    main()
