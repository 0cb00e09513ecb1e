"""Which share of the machine's matrix-product rate a training step reaches, at the model's own shapes.

    python bench/matmul_share.py                  # three data sets of ../shared/data; a minute on two cores
    python bench/matmul_share.py --sets snips --rounds 9

Useful operations of a step, a multiplication and an addition counted as two (Kaplan et al. 2020, arXiv 2001.08361,
section 2.1, without the gradients of weights that are frozen; Hu et al. 2021, arXiv 2106.09685):

    2 I O          an adapted matrix of I inputs and O outputs, for each token: its output
    2 I O          the gradient of its input, except where nothing below is learned
    4 R (I + O)    the gradients of A and B, of rank R
    4 D V          the head of D inputs and V tokens, for each learned token: logits, and the gradient of its input

Padding, attention, norms, the folding of adapters into weights and the optimizer count as time and not as work. The
rate is that of the same products with nothing between them: the model's own matrices one after the other, with as many
rows as the micro-batches of the step have tokens. Steps and bare products take turns; medians of all rounds are shown,
and in brackets the lowest and the highest share. fp32 is measured once, to compare. Needs real data (ETUDE_DATA, else
../shared/data beside the checkout).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from against_trl import DATA, MODEL, SETS, token_rows
from torch import Tensor
from torch.nn import functional

from etude.models.registry import Models
from etude.training import TokenRow, TrainConfig, make_batches
from etude.training.losses import CHUNK_LOGITS
from etude.training.rows.batches import split_micro
from etude.training.step import Run, started_run, train_step
from etude.types import ModelRef

Batch = Sequence[TokenRow]


@dataclass
class Figures:
    """What the rounds of one set gave."""

    batches: Sequence[Batch]
    work: list[float] = field(default_factory=list)
    """Useful operations of each step."""
    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    """Operations a second of the bare products, in the model's own precision."""

    @property
    def shares(self) -> list[float]:
        """Share of the rate that each step reached."""
        rows = zip(self.work, self.seconds, self.rates, strict=True)
        return [work / seconds / rate for work, seconds, rate in rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"the data sets are not at {DATA}; set ETUDE_DATA to the folder that holds them")
    model, config = Models().trainable(ModelRef(MODEL)), TrainConfig()
    found = {}
    for name in flags.sets:
        rows = token_rows(name, model.tokenizer, (flags.rounds + 1) * config.rows_per_step)
        found[name] = Figures(make_batches(rows, config.rows_per_step, config.seed, epoch=1))
    with started_run(model.module, config, num_rows=len(rows)) as run:
        below = {name: warmed_up(run, figures.batches[0]) for name, figures in found.items()}
        for number in range(1, flags.rounds + 1):
            for name, figures in found.items():
                one_round(run, figures, number, below[name])
        print(f"{MODEL}, {model.module.dtype}, {torch.get_num_threads()} threads, {flags.rounds} rounds")
        print("| rows | tokens a step | learned | GFLOP | s | GFLOP/s | of bare products | fp32 | share |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
        for name, figures in found.items():
            print(line(name, figures, bare_rate(run, figures.batches[1], torch.float32)))


def warmed_up(run: Run, batch: Batch) -> set[str]:
    """Takes a step; the adapted matrices whose input needs no gradient."""
    free: set[str] = set()

    def note(adapter: Any, given: Any) -> None:
        if not given[0].requires_grad:
            free.add(adapter.name)

    with ExitStack() as stack:
        for adapter in run.adapters:
            stack.callback(adapter.register_forward_pre_hook(note).remove)
        train_step(run, batch)
    return free


def one_round(run: Run, figures: Figures, number: int, below: set[str]) -> None:
    """A step, then the same products bare, which find their kernels made."""
    batch = figures.batches[number]
    started = time.perf_counter()
    train_step(run, batch)
    figures.seconds.append(time.perf_counter() - started)
    figures.work.append(useful(run, batch, below))
    figures.rates.append(bare_rate(run, batch, run.module.dtype))


def useful(run: Run, batch: Batch, below: set[str]) -> float:
    """Operations of a step that no way of computing it does without."""
    body = 0
    for adapter in run.adapters:
        outputs, inputs = adapter.base.weight.shape
        body += (2 if adapter.name in below else 4) * inputs * outputs
        body += 4 * run.config.rank * (inputs + outputs)
    head = run.module.get_output_embeddings().weight.numel()
    return body * sum(len(row.ids) for row in batch) + 4 * head * sum(row.num_trained for row in batch)


def bare_rate(run: Run, batch: Batch, dtype: torch.dtype) -> float:
    """Operations a second of the products of a step alone, forward and backward."""
    head = run.module.get_output_embeddings().weight.detach().to(dtype)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    body = [adapter.base.weight.detach().to(dtype) for adapter in run.adapters]
    for num_tokens, num_learned in sizes(run, batch):
        given = {
            size: torch.randn(num_tokens, size).to(dtype)
            for size in {side for each in body for side in each.shape}
        }
        pairs += [(given[each.shape[1]], given[each.shape[0]], each) for each in body]
        for chunk in chunks(num_learned, len(head)):
            pairs.append(
                (torch.randn(chunk, head.shape[1]).to(dtype), torch.randn(chunk, len(head)).to(dtype), head)
            )
    once = {(len(x), weight.shape): (x, grad, weight) for x, grad, weight in pairs}
    multiply(once.values())  # kernels are made at the first call
    started = time.perf_counter()
    multiply(pairs)
    seconds = time.perf_counter() - started
    return sum(4 * len(x) * weight.numel() for x, _, weight in pairs) / seconds


def multiply(products: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
    """The product of a forward and that of a backward."""
    for x, grad, weight in products:
        functional.linear(x, weight)
        torch.mm(grad, weight)


def sizes(run: Run, batch: Batch) -> Iterator[tuple[int, int]]:
    """Of each micro-batch: the tokens that its matrices are given, and its learned ones."""
    for part in split_micro(batch, run.config.micro_tokens, run.packed):
        lengths = [len(row.ids) for row in part]
        tokens = sum(lengths) if run.packed else len(part) * max(lengths)
        yield tokens, sum(row.num_trained for row in part)


def chunks(num_learned: int, vocabulary: int) -> Iterator[int]:
    """Positions of each chunk in which the loss is computed."""
    size = max(1, CHUNK_LOGITS // vocabulary)
    for start in range(0, num_learned, size):
        yield min(size, num_learned - start)


def line(name: str, figures: Figures, fp32: float) -> str:
    """A line of the table."""
    tokens = statistics.median(sum(len(row.ids) for row in batch) for batch in figures.batches[1:])
    learned = statistics.median(sum(row.num_trained for row in batch) for batch in figures.batches[1:])
    work, seconds = statistics.median(figures.work), statistics.median(figures.seconds)
    reached = statistics.median(w / s for w, s in zip(figures.work, figures.seconds, strict=True))
    shares = figures.shares
    return (
        f"| {name} | {tokens:.0f} | {learned:.0f} | {work / 1e9:.0f} | {seconds:.2f} | {reached / 1e9:.0f} | "
        f"{statistics.median(figures.rates) / 1e9:.0f} | {fp32 / 1e9:.0f} | "
        f"{statistics.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%}) |"
    )


if __name__ == "__main__":
    main()
