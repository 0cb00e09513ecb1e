"""Seconds until Étude's loop reaches the dev loss that TRL's SFTTrainer ends with.

    python bench/time_to_loss.py                              # snips; some 25 minutes on two cores
    python bench/time_to_loss.py --set rasbt --rows 96 --ways all/3 top-12/6

Both take the best of the same learning rates, chosen by their last dev loss. TRL trains as in against_trl.py,
without gradient checkpointing (the faster way there), for `--epochs`. Étude trains as each of `--ways` says,
`LAYERS/EPOCHS`: with adapters in all layers or in the top ones, whose inputs are then computed once and kept.
The dev loss is looked at after each epoch, and the seconds are those of the steps up to the epoch that reaches
TRL's last one. The runs of all trainers take turns, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from against_trl import DEV, MODEL, SETS, plain_loss, theirs, token_rows

from etude.models.registry import Models
from etude.training import Output, TokenRow, TrainConfig, train
from etude.types import ModelRef

TRL = "trl"
RATES = (1e-3, 2e-3, 4e-3)


@dataclass(frozen=True)
class Course:
    """One run: seconds of the steps, and dev loss, at the end of each epoch."""

    seconds: list[float]
    losses: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=SETS, default="snips")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=["all/3", "top-20/3", "top-12/4"])
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--run", nargs=2, metavar=("WHO", "RATE"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.run:
        print(json.dumps(asdict(one_run(flags.run[0], float(flags.run[1]), flags))))
        return
    print(
        f"{MODEL}, {flags.set}, {flags.rows} rows, {torch.get_num_threads()} threads; rates {flags.rates}",
        flush=True,
    )
    found = all_runs([TRL, *flags.ways], flags)
    goal = found[TRL].losses[-1]
    print(f"\n{TRL}: dev loss {goal:.4f} after {found[TRL].seconds[-1]:.0f} s")
    for who in flags.ways:
        print(verdict(who, found[who], goal, found[TRL].seconds[-1]))


def all_runs(trainers: Sequence[str], flags: argparse.Namespace) -> dict[str, Course]:
    """Trainer -> its course at the learning rate with the lowest last loss."""
    best: dict[str, Course] = {}
    for rate in flags.rates:
        for who in trainers:
            course = apart(who, rate)
            losses = ", ".join(f"{loss:.4f}" for loss in course.losses)
            print(f"{who} at {rate:g}: {course.seconds[-1]:.0f} s, dev loss {losses}", flush=True)
            if who not in best or course.losses[-1] < best[who].losses[-1]:
                best[who] = course
    return best


def verdict(who: str, course: Course, goal: float, seconds: float) -> str:
    reached = [spent for spent, loss in zip(course.seconds, course.losses, strict=True) if loss <= goal]
    if not reached:
        return f"Étude, {who}: not reached; lowest dev loss {min(course.losses):.4f}"
    return f"Étude, {who}: reached after {reached[0]:.0f} s, {reached[0] / seconds:.2f} of TRL's time"


def apart(who: str, rate: float) -> Course:
    """One run in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--run", who, str(rate)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return Course(**json.loads(done.stdout.splitlines()[-1]))


def one_run(who: str, rate: float, flags: argparse.Namespace) -> Course:
    model = Models().trainable(ModelRef(MODEL))
    rows = token_rows(flags.set, model.tokenizer, flags.rows + DEV)
    dev, rows = rows[:DEV], rows[DEV:]
    if who == TRL:
        config = TrainConfig(epochs=flags.epochs, learning_rate=rate)
        found = theirs(model.module, model.tokenizer, rows, dev, config, checkpointing=False)
        share = found.seconds / flags.epochs
        return Course([share * epoch for epoch in range(1, flags.epochs + 1)], found.dev_losses)
    layers, _, epochs = who.partition("/")
    config = TrainConfig(epochs=int(epochs), patience=int(epochs) + 1, lora_layers=layers, learning_rate=rate)
    return ours(model.module, rows, dev, config)


def ours(module: Any, rows: Sequence[TokenRow], dev: Sequence[TokenRow], config: TrainConfig) -> Course:
    spent, seconds, losses = 0.0, [], []

    def log(line: Mapping[str, Any]) -> None:
        nonlocal spent
        if "step" in line:
            spent += line["seconds"]
        elif line.get("epoch"):
            seconds.append(spent)
            losses.append(line["plain"])

    with tempfile.TemporaryDirectory() as folder:
        output = Output(
            Path(folder) / "checkpoint",
            Path(folder) / "adapter",
            log=log,
            on_eval=lambda: {"plain": plain_loss(module, dev)},
        )
        train(module, rows, dev, config, output)
    return Course(seconds, losses)


if __name__ == "__main__":
    main()
