"""The training loop of a small encoder: all weights, AdamW, the epoch with the best score kept.

The state is kept after every epoch, so that a run that was killed goes on to the same weights. What is learned is the
loss that is passed in: contrastive.py for search, classifier.py for labels.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from etude.base.files import file_aside

STATE = "state.safetensors"
ATTENTION = "eager"
"""Plain products: on two CPU cores the backward of torch's fused kernel took a third of a step (31 s an epoch of Luma
instead of 49)."""
WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""
Loss = Callable[[Sequence[int], random.Random], tuple[torch.Tensor, int]]
"""The loss of the rows with these numbers, and how many tokens were read for it."""
Begin = Callable[[], Loss]
"""Called as each epoch begins: the loss of that epoch, by the weights as they are then."""


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast."""

    epochs: int
    rows_per_step: int
    learning_rate: float
    seed: int = 0


@dataclass(frozen=True)
class TunedEncoder:
    """The result of the training."""

    scores: tuple[float, ...]
    """The caller's score before training and after each epoch; the weights are those of the best."""
    best_epoch: int
    seconds: float


def train_encoder(
    module: torch.nn.Module,
    num_rows: int,
    begin: Begin,
    config: LoopConfig,
    folder: Path,
    score: Callable[[], float],
    log: Callable[[Mapping[str, Any]], None] = lambda line: None,
    first: int = 0,
) -> TunedEncoder:
    """Trains all weights of `module` in place and leaves those of the epoch with the best `score` from `first` on
    (0: untrained), the earliest of equals. `folder` holds the state between epochs. `log` gets a line a step: step,
    steps, loss, tokens, seconds.

    Raises ValueError without a row.
    """
    if not num_rows:
        raise ValueError("there is no row to learn from")
    started = time.perf_counter()
    parameters = [parameter.requires_grad_(True) for parameter in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.01, fused=True)
    state = _State(module, optimizer, folder / STATE, first)
    state.load()
    if not state.scores:
        state.keep(score())
    steps = math.ceil(num_rows / config.rows_per_step)
    for epoch in range(len(state.scores), config.epochs + 1):
        draw = random.Random(f"{config.seed}/{epoch}")
        order, loss = draw.sample(range(num_rows), num_rows), begin()
        for number in range(steps):
            step, begun = (epoch - 1) * steps + number, time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _rate(step, steps * config.epochs)
            rows = order[number * config.rows_per_step :][: config.rows_per_step]
            value, tokens = loss(rows, draw)
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            line = {"step": step + 1, "steps": steps * config.epochs, "loss": value.item(), "tokens": tokens}
            log({**line, "seconds": time.perf_counter() - begun})
        state.keep(score())
    state.restore_best()
    module.requires_grad_(False)
    return TunedEncoder(tuple(state.scores), state.best, time.perf_counter() - started)


def estimate_seconds(module: torch.nn.Module, num_rows: int, loss: Loss, config: LoopConfig) -> float:
    """Seconds of the whole training, from two timed steps. The weights stay as they are."""
    module.requires_grad_(True)
    seconds = []
    for attempt in range(2):
        draw = random.Random(f"{config.seed}/{attempt}")
        begun = time.perf_counter()
        rows = draw.sample(range(num_rows), min(num_rows, config.rows_per_step))
        loss(rows, draw)[0].backward()  # type: ignore[no-untyped-call]
        seconds.append(time.perf_counter() - begun)
    module.requires_grad_(False).zero_grad()
    optimizer = 1.1
    return optimizer * min(seconds) * math.ceil(num_rows / config.rows_per_step) * config.epochs


def _rate(step: int, steps: int) -> float:
    """The share of the learning rate at a step: it rises over a tenth of the steps, then falls to zero in a line."""
    rise = max(1, round(WARM_UP * steps))
    return (step + 1) / rise if step < rise else (steps - step) / max(1, steps - rise)


class _State:
    """Weights now and at their best, the optimizer's moments, and the scores so far; in one file after each epoch."""

    def __init__(
        self, module: torch.nn.Module, optimizer: torch.optim.Optimizer, file: Path, first: int
    ) -> None:
        self.module, self.optimizer, self.file, self.first = module, optimizer, file, first
        self.scores: list[float] = []
        self._best: dict[str, torch.Tensor] = {}

    @property
    def best(self) -> int:
        """The epoch of the highest score from `first` on, the earliest of equals; until then the last one."""
        open_to = self.scores[self.first :]
        return self.first + open_to.index(max(open_to)) if open_to else len(self.scores) - 1

    def keep(self, score: float) -> None:
        """Adds an epoch's score and writes the state."""
        self.scores.append(score)
        weights = self.module.state_dict()
        if self.best == len(self.scores) - 1:
            self._best = {key: tensor.clone() for key, tensor in weights.items()}
        moments = {
            f"moments.{number}.{name}": value
            for number, entry in self.optimizer.state_dict()["state"].items()
            for name, value in entry.items()
        }
        now = {f"now.{key}": tensor for key, tensor in weights.items()}
        best = {f"best.{key}": tensor for key, tensor in self._best.items()}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with file_aside(self.file) as aside:
            tensors = {**now, **best, **moments, "scores": torch.tensor(self.scores, dtype=torch.float64)}
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, aside)

    def load(self) -> None:
        """Goes on from the file where there is one."""
        if not self.file.exists():
            return
        moments: dict[int, dict[str, torch.Tensor]] = {}
        now = {}
        with safe_open(self.file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a mapping
                kind, _, name = key.partition(".")
                if kind == "now":
                    now[name] = tensors.get_tensor(key)
                elif kind == "best":
                    self._best[name] = tensors.get_tensor(key)
                elif kind == "moments":
                    number, _, what = name.partition(".")
                    moments.setdefault(int(number), {})[what] = tensors.get_tensor(key)
                else:
                    self.scores = tensors.get_tensor(key).tolist()
        self.module.load_state_dict(now)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})

    def restore_best(self) -> None:
        """Puts the best weights into the module."""
        self.module.load_state_dict(self._best)
