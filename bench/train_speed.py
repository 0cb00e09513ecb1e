"""Measure speed and memory of fine-tuning on this machine for each data set: rows and tokens per second, peak bytes.

    python bench/train_speed.py rows.jsonl [more.jsonl] --model smollm2-135m-instruct --rows 96

Each line of a file is {"input": text, "output": text}. Trains one epoch after a warm-up step. The
median step counts, so a slow step does not matter. OMP_NUM_THREADS sets the threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from etude.models.registry import Models
from etude.render import render_training
from etude.training import Output, TokenRow, TrainConfig, estimate_speed, train
from etude.types import Message, ModelRef

LUMA = Path(__file__).parents[1] / "examples" / "luma" / "examples.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, default=[LUMA])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rows-per-step", type=int, default=8)
    args = parser.parse_args()
    model = Models().get_trainable(ModelRef(args.model))
    config = TrainConfig(rank=args.rank, rows_per_step=args.rows_per_step, epochs=1)
    print(
        f"{args.model}, {model.module.dtype}, {torch.get_num_threads()} threads, {config.rows_per_step} rows/step"
    )
    for file in args.files:
        print(measure_speed(model.module, read_rows(file, model.tokenizer, args.rows), config, file.stem))


def read_rows(file: Path, tokenizer: Any, number: int) -> list[TokenRow]:
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines()[:number]:
        pair = json.loads(line)
        chat = (Message("user", pair["input"]), Message("assistant", pair["output"]))
        ((ids, trained),) = render_training(tokenizer, chat)
        rows.append(TokenRow(str(len(rows)), tuple(ids), tuple(trained)))
    return rows


def measure_speed(module: Any, rows: Sequence[TokenRow], config: TrainConfig, name: str) -> str:
    """Train one epoch; return a line of results."""
    estimate = estimate_speed(module, rows, config).total_seconds(1)
    steps: list[Mapping[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        output = Output(
            Path(folder) / "checkpoint",
            Path(folder) / "adapter",
            log=lambda line: steps.append(line) if "step" in line else None,
        )
        result = train(module, rows, rows[:1], config, output)
    seconds = statistics.median(step["seconds"] / step["tokens"] for step in steps)
    mean = result.tokens / len(rows)
    trained = statistics.fmean(row.num_trained for row in rows)
    return (
        f"{name}: {mean:.0f} tokens a row, {trained:.0f} trained; {1 / seconds / mean:.2f} rows/s, "
        f"{1 / seconds:.0f} tokens/s, {result.peak_memory / 1e9:.2f} GB at most; epoch "
        f"{sum(step['seconds'] for step in steps):.0f} s, estimated {estimate:.0f} s"
    )


if __name__ == "__main__":
    main()
