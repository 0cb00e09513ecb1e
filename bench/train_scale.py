"""Test whether a training step takes the same time with few and with many rows: 200 steps with files of two sizes.

    python bench/train_scale.py                       # from 1,000 and from 100,000 rows
    python bench/train_scale.py --rows 1000 10000 --steps 50

The requests are words of examples/luma in random order, with Luma's answers. Each run is `etude.tuning.train` in its
own process, and `train: {max_rows: ...}` limits its one epoch to this number of steps. Prints for
each the seconds before the first step (reading, split, dev loss of the untrained model), the median step, its tokens
per second, the peak memory from the first step on, and the peak memory of the whole process.
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
"""Small enough that 200 steps need at most the 700 training rows of 1,000 rows."""
WORDS = 22
"""The number of words of a request."""
CPU = torch.device("cpu")


@dataclass
class ScaleFigures:
    """Time and memory of one run."""

    seconds_before_steps: float = 0.0
    """Seconds from the call to the end of the first step."""
    steps: list[float] = field(default_factory=list)
    """Seconds of each step."""
    tokens: int = 0
    peak_before: int = 0
    """Peak bytes until the end of the first step."""
    peak: int = 0
    """Peak bytes after the first step."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.run:
        print(json.dumps(asdict(measure_run(flags.rows[0], flags.steps))))
        return
    print(f"{torch.get_num_threads()} threads, {flags.steps} steps of {ROWS_PER_STEP} rows")
    print("| rows | s before | s a step | tokens/s | peak GB of the steps | peak GB of all |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for rows in flags.rows:
        print_line(rows, run_in_process(rows, flags.steps))


def print_line(rows: int, figures: ScaleFigures) -> None:
    step = statistics.median(figures.steps)
    speed = figures.tokens / sum(figures.steps)
    peak = max(figures.peak, figures.peak_before)
    memory = f"{figures.peak / 1e9:.2f} | {peak / 1e9:.2f}"
    before = f"{figures.seconds_before_steps:.0f}"
    print(f"| {rows:,} | {before} | {step:.3f} | {speed:.0f} | {memory} |", flush=True)


def run_in_process(rows: int, steps: int) -> ScaleFigures:
    """Do one run in its own process."""
    command = [sys.executable, __file__, "--run", "--rows", str(rows), "--steps", str(steps)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(process.stderr)
    return ScaleFigures(**json.loads(process.stdout.splitlines()[-1]))


def measure_run(rows: int, steps: int) -> ScaleFigures:
    figures = ScaleFigures()
    with tempfile.TemporaryDirectory() as folder:
        task = write_task(Path(folder), rows, steps)
        began = time.perf_counter()

        def watch(event: object) -> None:
            if isinstance(event, StepTrained) and event.step == 1:
                figures.seconds_before_steps = time.perf_counter() - began
                figures.peak_before = peak_memory(CPU)
                reset_peak_memory(CPU)

        training = train(task, on_event=watch)
        log = training.run.method_folder("fine_tune") / "train.jsonl"
        log_lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in log_lines if "step" in line][1:]
    figures.steps = [line["seconds"] for line in lines]
    figures.tokens = sum(line["tokens"] for line in lines)
    figures.peak = peak_memory(CPU)
    return figures


def write_task(folder: Path, num_rows: int, steps: int) -> Path:
    """Write a task of `num_rows` different rows."""
    luma = [json.loads(line) for line in LUMA.read_text(encoding="utf-8").splitlines()]
    words = sorted({word for row in luma for word in row["input"].split()})
    chance = random.Random(0)
    rows = (
        {"input": " ".join(chance.choices(words, k=WORDS)), "output": chance.choice(luma)["output"]}
        for _ in range(num_rows)
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
