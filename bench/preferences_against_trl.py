"""Compare DPO in Étude's training loop with TRL's DPOTrainer over PEFT: pairs per second, and the held-out loss.

    python bench/preferences_against_trl.py                # 64 pairs, 2 epochs, 2 rounds: some 5 minutes on two cores
    python bench/preferences_against_trl.py --dtype float32 --rounds 1

Both train the same pairs of rasbt_preferences in the same order from the same adapter, with the same rank, targets,
beta, learning rate and schedule. TRL runs twice: with the reference computed in every step (its default), and with the
reference computed in advance; the faster run counts. The time of computing a reference in advance counts for both. Each
run has its own process, and the runs take turns. The same function computes the loss on held-out pairs for both, row by
row with torch's own operations. Needs TRL and PEFT (the extra `dev`) and real data (ETUDE_DATA, else ../shared/data
next to the checkout).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from against_trl import DATA, MODEL, Clock, Figures, format_difference, measure_training

from etude.models.registry import Models
from etude.render import render_training
from etude.training import TokenRow, TrainConfig, make_batches
from etude.training.layers.lora import add_adapters, save_adapter
from etude.training.preference_losses import BETA, compute_log_probs, dpo
from etude.training.step import learning_rate
from etude.types import Message, ModelRef

DEV = 16
"""Held-out pairs."""
RUNS = ("etude", "trl", "trl, reference before")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("pairs", 64), ("epochs", 2), ("rounds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), help="instead of the model's own type")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.run:
        print(json.dumps(asdict(run_trainer(flags))))
        return
    print(
        f"{MODEL}, {flags.dtype or 'its own precision'}, {torch.get_num_threads()} threads, {flags.pairs} pairs, "
        f"{flags.epochs} epochs, {flags.rounds} rounds",
        flush=True,
    )
    figures: dict[str, list[Figures]] = {run: [] for run in RUNS}
    for seed in range(flags.rounds):
        for run in RUNS:
            figures[run].append(run_in_process(run, seed, flags))
            print(f"{run}: {figures[run][-1]}", flush=True)
    print_table(figures)


def print_table(figures: Mapping[str, Sequence[Figures]]) -> None:
    print("| trainer | pairs/s | loss on held-out pairs by epoch |")
    print("| --- | ---: | --- |")
    speed = {
        run: statistics.median(result.rows / 2 / result.seconds for result in results)
        for run, results in figures.items()
    }
    for run, results in figures.items():
        losses = ", ".join(f"{loss:.4f}" for loss in results[0].dev_losses)
        print(f"| {run} | {speed[run]:.2f} | {losses} |")
    best = max(RUNS[1:], key=speed.__getitem__)
    rounds = [
        f"{min(other.seconds for other in others) / etude_result.seconds:.2f}"
        for etude_result, *others in zip(*figures.values(), strict=True)
    ]
    print(
        f"{speed['etude'] / speed[best]:.2f} times the pairs a second of {best} (by round {', '.join(rounds)}); "
        f"last held-out loss {format_difference(figures['etude'], figures[best])}"
    )


def run_in_process(run: str, seed: int, flags: argparse.Namespace) -> Figures:
    """Do one run in its own process."""
    sizes = ["--pairs", str(flags.pairs), "--epochs", str(flags.epochs), "--seed", str(seed)]
    precision = ["--dtype", flags.dtype] if flags.dtype else []
    command = [sys.executable, __file__, "--run", run, *sizes, *precision]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(process.stderr)
    return Figures(**json.loads(process.stdout.splitlines()[-1]))


def run_trainer(flags: argparse.Namespace) -> Figures:
    model = Models(dtype=flags.dtype).get_trainable(ModelRef(MODEL))
    rows = load_pairs(model.tokenizer, flags.pairs + DEV)
    dev, rows = rows[: 2 * DEV], rows[2 * DEV :]
    config = TrainConfig(
        epochs=flags.epochs,
        patience=flags.epochs + 1,
        rows_per_step=16,
        learning_rate=2e-4,
        seed=flags.seed,
    )
    reference = compute_plain_log_probs(model.module, dev)
    if flags.run == "etude":
        return train_with_etude(model.module, rows, dev, config, reference)
    return train_with_trl(model.module, model.tokenizer, rows, dev, config, reference, flags.run != "trl")


def load_pairs(tokenizer: Any, pairs: int) -> list[TokenRow]:
    """Load the rows of the first pairs with different answers, the better answer first."""
    file = DATA / "rasbt_preferences" / "instruction-data-with-preference.json"
    rows: list[TokenRow] = []
    for row in json.loads(file.read_text(encoding="utf-8")):
        question = Message("user", f"{row['instruction']}\n{row['input']}".strip())
        if row["chosen"] != row["rejected"] and len(rows) < 2 * pairs:
            for side in ("chosen", "rejected"):
                chat = (question, Message("assistant", row[side]))
                ((ids, trained),) = render_training(tokenizer, chat)
                rows.append(TokenRow(str(len(rows)), tuple(ids), tuple(trained)))
    return rows


def train_with_etude(
    module: Any,
    rows: Sequence[TokenRow],
    dev: Sequence[TokenRow],
    config: TrainConfig,
    dev_reference: Sequence[float],
) -> Figures:
    started = time.perf_counter()
    reference = compute_log_probs(module, rows, config.micro_tokens)
    reference_seconds = time.perf_counter() - started
    reference |= compute_log_probs(module, dev, config.micro_tokens)
    figures = measure_training(
        module, rows, dev, config, lambda: compute_plain_loss(module, dev, dev_reference), loss=dpo(reference)
    )
    return replace(figures, seconds=reference_seconds + figures.seconds)


def train_with_trl(
    module: Any,
    tokenizer: Any,
    rows: Sequence[TokenRow],
    dev: Sequence[TokenRow],
    config: TrainConfig,
    dev_reference: Sequence[float],
    reference_before: bool,
) -> Figures:
    """Train with TRL: with Étude's order of pairs, first adapter and learning rates."""
    from peft import PeftModel

    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "adapter"
        with add_adapters(module, config) as adapters:
            save_adapter(adapters, start)
        model = PeftModel.from_pretrained(module, start, is_trainable=True)
        clock = Clock(
            lambda: compute_plain_loss(model, dev, dev_reference), -(-len(rows) // config.rows_per_step)
        )
        trainer = build_dpo_trainer(
            model, tokenizer, order_rows(rows, config), config, Path(folder), reference_before
        )
        trainer.add_callback(clock.callback())
        trainer.train()
        seconds = clock.seconds + trainer.reference_seconds / config.epochs  # its rows count in every epoch
        tokens = config.epochs * sum(len(row.ids) for row in rows)
        return Figures(seconds, config.epochs * len(rows), tokens, 0, clock.losses)


def order_rows(rows: Sequence[TokenRow], config: TrainConfig) -> list[TokenRow]:
    """List the rows of all epochs, each in the order of Étude's loop."""
    return [
        row
        for epoch in range(1, config.epochs + 1)
        for batch in make_batches(rows, config.rows_per_step, config.seed, epoch, group_size=2)
        for row in batch
    ]


def build_dpo_trainer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[TokenRow],
    config: TrainConfig,
    folder: Path,
    reference_before: bool,
) -> Any:
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl import DPOConfig, DPOTrainer

    class InOrder(DPOTrainer):  # type: ignore[misc]
        reference_seconds = 0.0

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset  # it already contains token ids

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(dataset if dataset is not None else self.train_dataset)

        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            dataset_with_reference = super()._precompute_ref_logps(*args, **kwargs)
            self.reference_seconds += time.perf_counter() - started
            return dataset_with_reference

    settings = DPOConfig(
        output_dir=str(folder / "out"),
        num_train_epochs=1,
        per_device_train_batch_size=config.rows_per_step // 2,
        gradient_checkpointing=False,
        max_grad_norm=config.clip,
        bf16=next(model.parameters()).dtype == torch.bfloat16,
        use_cpu=not torch.cuda.is_available(),
        precompute_ref_log_probs=reference_before,
        beta=BETA,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1.0, betas=config.betas, weight_decay=config.weight_decay)
    steps = len(rows) // config.rows_per_step
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(config, step, steps))
    return InOrder(
        model=model,
        args=settings,
        train_dataset=Dataset.from_dict(build_columns(rows)),
        processing_class=tokenizer,
        optimizers=(optimizer, rates),
    )


def build_columns(rows: Sequence[TokenRow]) -> dict[str, list[list[int]]]:
    """Build the columns for TRL: questions, better and worse answers as token ids."""
    starts = [row.trained.index(True) for row in rows]
    answers = [list(row.ids[start:]) for row, start in zip(rows, starts, strict=True)]
    questions = [list(row.ids[:start]) for row, start in zip(rows[0::2], starts[0::2], strict=True)]
    return {"prompt_ids": questions, "chosen_ids": answers[0::2], "rejected_ids": answers[1::2]}


@torch.no_grad()
def compute_plain_log_probs(model: Any, rows: Sequence[TokenRow]) -> list[float]:
    """Compute the log-probability of each row's answer with torch's own cross-entropy, one row at a time."""
    model.eval()
    log_probs = []
    for row in rows:
        ids, trained = (torch.tensor(values, device=model.device) for values in (row.ids, row.trained[1:]))
        logits = model(input_ids=ids[None]).logits[0, :-1][trained].float()
        log_probs.append(-torch.nn.functional.cross_entropy(logits, ids[1:][trained], reduction="sum").item())
    return log_probs


def compute_plain_loss(model: Any, rows: Sequence[TokenRow], reference: Sequence[float]) -> float:
    """Compute the mean DPO loss of the pairs."""
    gains = torch.tensor(compute_plain_log_probs(model, rows)) - torch.tensor(reference)
    return -torch.nn.functional.logsigmoid(BETA * (gains[0::2] - gains[1::2])).mean().item()


if __name__ == "__main__":
    main()
