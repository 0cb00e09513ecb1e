"""Fine-tuning in one plain file; read it from top to bottom before the real loop.

    python examples/flat_training.py rows.jsonl --model smollm2-135m-instruct

Each line of the file is {"input": text, "output": text}; every tenth row is held out. LoRA adds two
products to each frozen matrix. The loss is torch's own, over all logits, one row at a time. The
real loop (`src/etude/training/loop.py`) reaches the same losses on the same rows; a test compares
them. There are no checkpoints, no best epoch and no adapter file: nothing is saved.
"""

import argparse
import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from etude.models.registry import Models
from etude.render import render_training
from etude.types import Message, ModelRef

Row = tuple[list[int], list[bool]]
"""The token ids of a conversation, and whether each is trained."""


class Lora(nn.Module):
    """A frozen linear layer plus a product of rank R: y = W x + scale B A x."""

    def __init__(
        self, base: nn.Linear, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        wide = torch.promote_types(base.weight.dtype, torch.float32)
        bound = 1 / math.sqrt(base.in_features)
        start = torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.base = base
        self.scale = scale
        self.a = nn.Parameter(start.to(base.weight.device, wide))
        self.b = nn.Parameter(
            torch.zeros(base.out_features, rank, dtype=wide, device=base.weight.device)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (..., inputs) -> (..., outputs)."""
        narrow = functional.linear(x, self.a.to(x.dtype))
        product: Tensor = functional.linear(narrow, self.b.to(x.dtype))
        return self.base(x) + self.scale * product  # type: ignore[no-any-return]


def add_lora(module: nn.Module, rank: int, alpha: float, seed: int) -> list[nn.Parameter]:
    """Replace every linear layer but the head by a Lora; return the learned parameters."""
    module.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    head = module.get_output_embeddings()  # type: ignore[operator]
    linear = [
        (n, m) for n, m in module.named_modules() if isinstance(m, nn.Linear) and m is not head
    ]
    parameters = []
    for name, base in linear:
        parent, _, leaf = name.rpartition(".")
        layer = Lora(base, rank, alpha / rank, generator)
        setattr(module.get_submodule(parent), leaf, layer)
        parameters += [layer.a, layer.b]
    return parameters


def compute_loss(module: Any, row: Row) -> Tensor:
    """Sum the losses of a row's learned tokens, in nats. A token is predicted from the tokens
    before it.
    """
    ids, trained = (torch.tensor(values, device=module.device) for values in (row[0], row[1][1:]))
    logits = module(input_ids=ids[None]).logits[0, :-1]
    wide = torch.promote_types(logits.dtype, torch.float32)
    return functional.cross_entropy(logits[trained].to(wide), ids[1:][trained], reduction="sum")


def count_trained(rows: Sequence[Row]) -> int:
    """Count the learned tokens of the rows. The first token of a row is not predicted."""
    return sum(sum(trained[1:]) for _, trained in rows)


def learning_rate(highest: float, warmup: float, step: int, steps: int) -> float:
    """Compute the learning rate: linear from 0 up over the first `warmup` share of the steps, then
    linear down.
    """
    rising = max(1, round(warmup * steps))
    return highest * min((step + 1) / rising, (steps - step) / max(1, steps - rising))


def train(
    module: Any,
    rows: Sequence[Row],
    dev: Sequence[Row],
    *,
    rank: int = 16,
    alpha: float = 32.0,
    highest: float = 2e-3,
    warmup: float = 0.06,
    epochs: int = 3,
    rows_per_step: int = 8,
    seed: int = 0,
) -> Iterator[dict[str, float]]:
    """Train `module` in place; yield {"step", "loss"} for each step, {"epoch", "dev_loss"} for each
    epoch.
    """
    parameters = add_lora(module, rank, alpha, seed)
    optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.999), weight_decay=0.0)
    steps = epochs * math.ceil(len(rows) / rows_per_step)
    step = 0
    for epoch in range(1, epochs + 1):
        module.train()
        order = list(range(len(rows)))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        for start in range(0, len(order), rows_per_step):
            batch = [rows[index] for index in order[start : start + rows_per_step]]
            total = 0.0
            for row in batch:
                loss = compute_loss(module, row) / count_trained(
                    batch
                )  # every learned token has the same weight
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.param_groups[0]["lr"] = learning_rate(highest, warmup, step, steps)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            yield {"step": step, "loss": total}
        module.eval()
        with torch.no_grad():
            yield {
                "epoch": epoch,
                "dev_loss": sum(float(compute_loss(module, row)) for row in dev)
                / count_trained(dev),
            }


def main() -> None:
    """Read the rows, train, print the losses."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--epochs", type=int, default=3)
    flags = parser.parse_args()
    model = Models().get_trainable(ModelRef(flags.model))
    pairs = [json.loads(line) for line in flags.file.read_text(encoding="utf-8").splitlines()]
    chats = [
        (Message("user", pair["input"]), Message("assistant", pair["output"])) for pair in pairs
    ]
    rows = [row for chat in chats for row in render_training(model.tokenizer, chat)]
    dev = rows[::10]
    train_rows = [row for index, row in enumerate(rows) if index % 10]
    for figures in train(model.module, train_rows, dev, epochs=flags.epochs):
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
