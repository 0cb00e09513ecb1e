"""Compare Étude's training loop with TRL's SFTTrainer over PEFT: rows per second, memory, and the
dev loss.

    python bench/against_trl.py
        three data sets of ../shared/data, some 25 minutes
    python bench/against_trl.py --sets snips --trainers trl --rounds 5     # five orders of the rows
    python bench/against_trl.py --sets snips --trainers trl --dtype float32

Both train the same rows in the same order from the same adapter, with the same rank, targets,
learning rate and schedule, in the model's own precision. TRL runs with its default loss, once
without and once with gradient checkpointing; the faster run counts. Each run has its own process,
the runs of a set take turns, and peak memory is measured after the weights are loaded. The same
function computes the dev loss for both. In bf16 the two round at different places, so their losses
drift apart. To see whether a difference is larger than this rounding, run more rounds, each with
another order of rows and another first adapter, or use float32. Needs TRL and PEFT (the extra
`dev`) and real data (ETUDE_DATA, else ../shared/data next to the checkout).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from real_sets import read_rows
from scipy.stats import t

from etude.models.registry import Models
from etude.render import render_training
from etude.training import Output, TokenRow, TrainConfig, make_batches, train
from etude.training.layers.lora import add_adapters, save_adapter
from etude.training.memory.usage import peak_memory, reset_peak_memory
from etude.training.step import BETAS, MAX_NORM, learning_rate
from etude.types import Message, ModelRef

MODEL = "smollm2-135m-instruct"
DEV = 32
RUNS = ("etude", "trl", "trl checkpointing")

Pair = tuple[str, str]


@dataclass(frozen=True)
class Figures:
    """The results of one run of one trainer."""

    seconds: float
    rows: int
    tokens: int
    peak_memory: int
    dev_losses: list[float]


def read_snips() -> Iterator[Pair]:
    return (
        (row["text"], json.dumps(row["slots"])) for row in read_rows("snips_intents/train.jsonl")
    )


def read_rasbt() -> Iterator[Pair]:
    for row in read_rows("rasbt_instructions/instruction-data.json"):
        yield f"{row['instruction']}\n{row['input']}".strip(), row["output"]


def read_mts() -> Iterator[Pair]:
    return (
        (row["dialogue"], row["section_text"]) for row in read_rows("mts_dialog/TrainingSet.csv")
    )


SETS: dict[str, Callable[[], Iterator[Pair]]] = {
    "snips": read_snips,
    "rasbt": read_rasbt,
    "mts": read_mts,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1, help="how often the runs take turns")
    parser.add_argument(
        "--trainers", nargs="+", choices=RUNS[1:], default=RUNS[1:], help="to compare with"
    )
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), help="instead of the model's own type"
    )
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.rows % TrainConfig().rows_per_step:
        parser.error(
            f"--rows must be a multiple of {TrainConfig().rows_per_step}, so that epochs are "
            "whole steps"
        )
    if flags.run:
        print(json.dumps(asdict(run_trainer(flags.run, flags.sets[0], flags))))
        return
    print(
        f"{MODEL}, {flags.dtype or 'its own precision'}, {torch.get_num_threads()} threads, "
        f"{flags.rows} rows, {flags.epochs} epochs, {flags.rounds} rounds"
    )
    print("| rows | trainer | tokens a row | rows/s | tokens/s | peak GB | dev loss by epoch |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |")
    for name in flags.sets:
        compare(name, flags)


def compare(name: str, flags: argparse.Namespace) -> None:
    """Run the trainers in turn on one set. Print a line for each, and the ratios."""
    runs = (RUNS[0], *flags.trainers)
    figures: dict[str, list[Figures]] = {run: [] for run in runs}
    for seed in range(flags.rounds):
        for run in runs:
            figures[run].append(run_in_process(run, name, seed, flags))
    speed = {
        run: statistics.median(result.rows / result.seconds for result in results)
        for run, results in figures.items()
    }
    for run, results in figures.items():
        first = results[0]
        losses = ", ".join(f"{loss:.4f}" for loss in first.dev_losses)
        tokens = first.tokens / first.rows
        print(
            f"| {name} | {run} | {tokens:.0f} | {speed[run]:.2f} | {speed[run] * tokens:.0f} | "
            f"{max(result.peak_memory for result in results) / 1e9:.2f} | {losses} |"
        )
    best = max(runs[1:], key=speed.__getitem__)
    line = f"{name}: {speed['etude'] / speed[best]:.2f} times the rows a second of {best}; "
    if "trl" in figures:
        peaks = [max(result.peak_memory for result in figures[run]) for run in ("etude", "trl")]
        line += f"peak memory {peaks[0] / peaks[1]:.0%} of TRL's without checkpointing; "
    print(f"{line}last dev loss {format_difference(figures['etude'], figures[best])}", flush=True)


def format_difference(ours: Sequence[Figures], theirs: Sequence[Figures]) -> str:
    """Format the relative difference of the last dev losses; with several rounds, its mean and 95%
    interval (Student's t).
    """
    shares = [
        our.dev_losses[-1] / their.dev_losses[-1] - 1
        for our, their in zip(ours, theirs, strict=True)
    ]
    if len(shares) == 1:
        return f"{shares[0]:+.2%}"
    half = t.ppf(0.975, len(shares) - 1) * statistics.stdev(shares) / math.sqrt(len(shares))
    mean = statistics.fmean(shares)
    rounds = ", ".join(f"{share:+.2%}" for share in shares)
    return f"{mean:+.2%} (95% interval {mean - half:+.2%} to {mean + half:+.2%}; {rounds})"


def run_in_process(run: str, name: str, seed: int, flags: argparse.Namespace) -> Figures:
    """Do one run in its own process."""
    sizes = ["--rows", str(flags.rows), "--epochs", str(flags.epochs), "--seed", str(seed)]
    precision = ["--dtype", flags.dtype] if flags.dtype else []
    command = [sys.executable, __file__, "--run", run, "--sets", name, *sizes, *precision]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(process.stderr)
    return Figures(**json.loads(process.stdout.splitlines()[-1]))


def run_trainer(run: str, name: str, flags: argparse.Namespace) -> Figures:
    model = Models(dtype=flags.dtype).get_trainable(ModelRef(MODEL))
    rows = load_rows(name, model.tokenizer, flags.rows + DEV)
    dev = rows[:DEV]
    rows = rows[DEV:]
    config = TrainConfig(epochs=flags.epochs, patience=flags.epochs + 1, seed=flags.seed)
    if run == "etude":
        return train_with_etude(model.module, rows, dev, config)
    return train_with_trl(
        model.module, model.tokenizer, rows, dev, config, checkpointing=run != "trl"
    )


def load_rows(name: str, tokenizer: Any, number: int) -> list[TokenRow]:
    """Load the first rows of a set that have at most 1,000 tokens."""
    rows: list[TokenRow] = []
    for question, answer in SETS[name]():
        chat = (Message("user", question), Message("assistant", answer))
        ((ids, trained),) = render_training(tokenizer, chat)
        if len(ids) <= 1000:
            rows.append(TokenRow(str(len(rows)), tuple(ids), tuple(trained)))
        if len(rows) == number:
            break
    return rows


def train_with_etude(
    module: Any, rows: Sequence[TokenRow], dev: Sequence[TokenRow], config: TrainConfig
) -> Figures:
    """Train with Étude; measure the dev loss after each epoch."""
    lines: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        output = Output(
            Path(folder) / "checkpoint",
            Path(folder) / "adapter",
            log=lambda line: lines.append(dict(line)),
            on_eval=lambda: {"plain": compute_plain_loss(module, dev)},
        )
        result = train(module, rows, dev, config, output)
    seconds = sum(line["seconds"] for line in lines if "step" in line)
    losses = [line["plain"] for line in lines if "plain" in line][1:]
    return Figures(seconds, result.rows, result.tokens, result.peak_memory, losses)


def train_with_trl(
    module: Any,
    tokenizer: Any,
    rows: Sequence[TokenRow],
    dev: Sequence[TokenRow],
    config: TrainConfig,
    *,
    checkpointing: bool,
) -> Figures:
    """Train with TRL: with Étude's order of rows, first adapter and learning rates."""
    from peft import PeftModel

    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "adapter"
        with add_adapters(module, config) as adapters:
            save_adapter(adapters, start)
        model = PeftModel.from_pretrained(module, start, is_trainable=True)
        clock = Clock(lambda: compute_plain_loss(model, dev), -(-len(rows) // config.rows_per_step))
        trainer = build_sft_trainer(
            model, tokenizer, order_rows(rows, config), config, Path(folder), checkpointing
        )
        trainer.add_callback(clock.callback())
        reset_peak_memory(module.device)
        trainer.train()
        ordered = config.epochs * len(rows)
        tokens = config.epochs * sum(len(row.ids) for row in rows)
        return Figures(clock.seconds, ordered, tokens, peak_memory(module.device), clock.losses)


def order_rows(rows: Sequence[TokenRow], config: TrainConfig) -> list[TokenRow]:
    """List the rows of all epochs, each in the order of Étude's loop."""
    return [
        row
        for epoch in range(1, config.epochs + 1)
        for batch in make_batches(rows, config.rows_per_step, config.seed, epoch)
        for row in batch
    ]


def build_sft_trainer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[TokenRow],
    config: TrainConfig,
    folder: Path,
    checkpointing: bool,
) -> Any:
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl import SFTConfig, SFTTrainer

    class InOrder(SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(dataset if dataset is not None else self.train_dataset)

    columns = {
        "input_ids": [list(row.ids) for row in rows],
        "completion_mask": [[int(mark) for mark in row.trained] for row in rows],
    }
    settings = SFTConfig(
        output_dir=str(folder / "out"),
        num_train_epochs=1,
        per_device_train_batch_size=config.rows_per_step,
        gradient_checkpointing=checkpointing,
        max_grad_norm=MAX_NORM,
        bf16=next(model.parameters()).dtype == torch.bfloat16,
        use_cpu=not torch.cuda.is_available(),
        completion_only_loss=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_drop_last=False,
    )
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1.0, betas=BETAS, weight_decay=0.0)
    steps = math.ceil(len(rows) / config.rows_per_step)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(config, step, steps)
    )
    return InOrder(
        model=model,
        args=settings,
        train_dataset=Dataset.from_dict(columns),
        processing_class=tokenizer,
        optimizers=(optimizer, rates),
    )


class Clock:
    """Times the steps of TRL's trainer, without loading the batch, and measures the loss after each
    epoch.
    """

    def __init__(self, measure: Callable[[], float], steps: int) -> None:
        self.measure = measure
        self.steps = steps
        self.seconds = 0.0
        self.began = 0.0
        self.losses: list[float] = []

    def callback(self) -> Any:
        from transformers import TrainerCallback

        clock = self

        class Steps(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
                clock.began = time.perf_counter()

            def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
                clock.seconds += time.perf_counter() - clock.began
                if state.global_step % clock.steps == 0:
                    clock.losses.append(clock.measure())
                    more["model"].train()

        return Steps()


@torch.no_grad()
def compute_plain_loss(model: Any, rows: Sequence[TokenRow]) -> float:
    """Compute the mean loss per learned token in nats, with torch's own cross-entropy, one row at a
    time.
    """
    model.eval()
    total = 0.0
    for row in rows:
        ids, trained = (
            torch.tensor(values, device=model.device) for values in (row.ids, row.trained[1:])
        )
        logits = model(input_ids=ids[None]).logits[0, :-1][trained].float()
        total += torch.nn.functional.cross_entropy(logits, ids[1:][trained], reduction="sum").item()
    return total / sum(row.num_trained for row in rows)


if __name__ == "__main__":
    main()
