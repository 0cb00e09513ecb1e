"""DPO by Étude's training loop against TRL's DPOTrainer over PEFT: pairs a second, and the loss on held-out pairs.

    python bench/preferences_against_trl.py                # 64 pairs, 2 epochs, 2 rounds: some 5 minutes on two cores
    python bench/preferences_against_trl.py --dtype float32 --rounds 1

Both train the same pairs of rasbt_preferences in the same order from the same adapter, with the same rank, targets,
beta, learning rate and schedule. TRL runs twice: with the reference computed in every step, as it is set up, and with
the reference computed before; the faster one counts. The seconds of computing a reference before training count for
both. Each run is a process of its own, and the runs take turns. The loss on held-out pairs is worked out by one
function for both, row by row with torch's own operations. Needs TRL and PEFT (the extra `dev`) and real data
(ETUDE_DATA, else ../shared/data beside the checkout).
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
from against_trl import DATA, MODEL, Clock, Figures, difference, trained

from etude.models.registry import Models
from etude.render import render_training
from etude.training import TokenRow, TrainConfig, make_batches
from etude.training.layers.lora import adapted, save_adapter
from etude.training.preferences import BETA, dpo, log_probs
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
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), help="in place of the model's own")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(asdict(one_run(given))))
        return
    print(
        f"{MODEL}, {given.dtype or 'its own precision'}, {torch.get_num_threads()} threads, {given.pairs} pairs, "
        f"{given.epochs} epochs, {given.rounds} rounds",
        flush=True,
    )
    found: dict[str, list[Figures]] = {run: [] for run in RUNS}
    for seed in range(given.rounds):
        for run in RUNS:
            found[run].append(apart(run, seed, given))
            print(f"{run}: {found[run][-1]}", flush=True)
    print_table(found)


def print_table(found: Mapping[str, Sequence[Figures]]) -> None:
    print("| trainer | pairs/s | loss on held-out pairs by epoch |")
    print("| --- | ---: | --- |")
    speed = {
        run: statistics.median(each.rows / 2 / each.seconds for each in all_) for run, all_ in found.items()
    }
    for run, all_ in found.items():
        losses = ", ".join(f"{loss:.4f}" for loss in all_[0].dev_losses)
        print(f"| {run} | {speed[run]:.2f} | {losses} |")
    best = max(RUNS[1:], key=speed.__getitem__)
    rounds = [
        f"{min(their.seconds for their in theirs) / our.seconds:.2f}"
        for our, *theirs in zip(*found.values(), strict=True)
    ]
    print(
        f"{speed['etude'] / speed[best]:.2f} times the pairs a second of {best} (by round {', '.join(rounds)}); "
        f"last held-out loss {difference(found['etude'], found[best])}"
    )


def apart(run: str, seed: int, given: argparse.Namespace) -> Figures:
    """One run in a process of its own."""
    sizes = ["--pairs", str(given.pairs), "--epochs", str(given.epochs), "--seed", str(seed)]
    precision = ["--dtype", given.dtype] if given.dtype else []
    command = [sys.executable, __file__, "--run", run, *sizes, *precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def one_run(given: argparse.Namespace) -> Figures:
    model = Models(dtype=given.dtype).trainable(ModelRef(MODEL))
    rows = pair_rows(model.tokenizer, given.pairs + DEV)
    dev, rows = rows[: 2 * DEV], rows[2 * DEV :]
    config = TrainConfig(
        epochs=given.epochs,
        patience=given.epochs + 1,
        rows_per_step=16,
        learning_rate=2e-4,
        seed=given.seed,
    )
    before = plain_log_probs(model.module, dev)
    if given.run == "etude":
        return ours(model.module, rows, dev, config, before)
    return theirs(model.module, model.tokenizer, rows, dev, config, before, given.run != "trl")


def pair_rows(tokenizer: Any, pairs: int) -> list[TokenRow]:
    """Rows of the first pairs whose answers differ, the better one first."""
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


def ours(
    module: Any,
    rows: Sequence[TokenRow],
    dev: Sequence[TokenRow],
    config: TrainConfig,
    before: Sequence[float],
) -> Figures:
    started = time.perf_counter()
    reference = log_probs(module, rows, config.micro_tokens)
    spent = time.perf_counter() - started
    reference |= log_probs(module, dev, config.micro_tokens)
    figures = trained(module, rows, dev, config, lambda: plain_loss(module, dev, before), loss=dpo(reference))
    return replace(figures, seconds=spent + figures.seconds)


def theirs(
    module: Any,
    tokenizer: Any,
    rows: Sequence[TokenRow],
    dev: Sequence[TokenRow],
    config: TrainConfig,
    before: Sequence[float],
    reference_before: bool,
) -> Figures:
    """TRL's trainer, with our order of pairs, our first adapter and our learning rates."""
    from peft import PeftModel

    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "adapter"
        with adapted(module, config) as adapters:
            save_adapter(adapters, start)
        model = PeftModel.from_pretrained(module, start, is_trainable=True)
        clock = Clock(lambda: plain_loss(model, dev, before), -(-len(rows) // config.rows_per_step))
        trainer = dpo_trainer(
            model, tokenizer, in_order(rows, config), config, Path(folder), reference_before
        )
        trainer.add_callback(clock.callback())
        trainer.train()
        spent = clock.seconds + trainer.reference_seconds / config.epochs  # its rows count every epoch
        tokens = config.epochs * sum(len(row.ids) for row in rows)
        return Figures(spent, config.epochs * len(rows), tokens, 0, clock.losses)


def in_order(rows: Sequence[TokenRow], config: TrainConfig) -> list[TokenRow]:
    """All epochs one after the other, each in the order of our loop."""
    return [
        row
        for epoch in range(1, config.epochs + 1)
        for batch in make_batches(rows, config.rows_per_step, config.seed, epoch, together=2)
        for row in batch
    ]


def dpo_trainer(
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

        def _prepare_dataset(self, dataset: Any, *more: Any, **named: Any) -> Any:
            return dataset  # it holds token ids

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(dataset if dataset is not None else self.train_dataset)

        def _precompute_ref_logps(self, *more: Any, **named: Any) -> Any:
            started = time.perf_counter()
            found = super()._precompute_ref_logps(*more, **named)
            self.reference_seconds += time.perf_counter() - started
            return found

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
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1.0, betas=config.betas, weight_decay=config.weight_decay)
    steps = len(rows) // config.rows_per_step
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(config, step, steps))
    return InOrder(
        model=model,
        args=settings,
        train_dataset=Dataset.from_dict(columns(rows)),
        processing_class=tokenizer,
        optimizers=(optimizer, rates),
    )


def columns(rows: Sequence[TokenRow]) -> dict[str, list[list[int]]]:
    """Questions, better and worse answers as token ids."""
    starts = [row.trained.index(True) for row in rows]
    answers = [list(row.ids[start:]) for row, start in zip(rows, starts, strict=True)]
    asked = [list(row.ids[:start]) for row, start in zip(rows[0::2], starts[0::2], strict=True)]
    return {"prompt_ids": asked, "chosen_ids": answers[0::2], "rejected_ids": answers[1::2]}


@torch.no_grad()
def plain_log_probs(model: Any, rows: Sequence[TokenRow]) -> list[float]:
    """The log-probability of each row's answer, by torch's own cross-entropy, one row at a time."""
    model.eval()
    found = []
    for row in rows:
        ids, learned = (torch.tensor(each, device=model.device) for each in (row.ids, row.trained[1:]))
        logits = model(input_ids=ids[None]).logits[0, :-1][learned].float()
        found.append(-torch.nn.functional.cross_entropy(logits, ids[1:][learned], reduction="sum").item())
    return found


def plain_loss(model: Any, rows: Sequence[TokenRow], before: Sequence[float]) -> float:
    """Mean DPO loss of the pairs."""
    gains = torch.tensor(plain_log_probs(model, rows)) - torch.tensor(before)
    return -torch.nn.functional.logsigmoid(BETA * (gains[0::2] - gains[1::2])).mean().item()


if __name__ == "__main__":
    main()
