"""Teaching an encoder which passage answers which question, by contrast with the other passages of a batch.

The loss is the cross-entropy of the right passage among those of the batch and some random ones (van den Oord et al.
2018, arXiv 1807.03748; Karpukhin et al. 2020, arXiv 2004.04906). The state is kept after every epoch, so that a run
that was killed goes on to the same weights.
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
from etude.models.encoder import Encoder

STATE = "state.safetensors"
ATTENTION = "eager"
"""Plain products: on two CPU cores the backward of torch's fused kernel took a third of a step (31 s an epoch of Luma
instead of 49)."""
SHARED = 0.1
"""Share of the steps in which the learning rate rises."""
Pair = tuple[str, int]
"""A question, and the position of the passage that answers it."""


@dataclass(frozen=True)
class ContrastiveConfig:
    """Settings of the tuning. Chosen on Luma and xquad_en, with learning rate and temperature as usual for MiniLM."""

    epochs: int = 3
    pairs_per_step: int = 32
    others: int = 16
    """Random passages beside those of the batch."""
    learning_rate: float = 1e-4
    temperature: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class TunedEncoder:
    """What the tuning came to."""

    scores: tuple[float, ...]
    """The caller's score before training and after each epoch; the encoder holds the weights of the best."""
    best_epoch: int
    seconds: float


def tune_encoder(
    encoder: Encoder,
    pairs: Sequence[Pair],
    passages: Sequence[str],
    config: ContrastiveConfig,
    folder: Path,
    score: Callable[[Encoder], float],
    log: Callable[[Mapping[str, Any]], None] = lambda line: None,
) -> TunedEncoder:
    """Trains all weights of `encoder` in place and leaves those of the epoch with the best `score`, the earliest of
    equals. `folder` holds the state between epochs. `log` gets a line a step: step, steps, loss, tokens, seconds.

    Raises ValueError without a pair.
    """
    if not pairs:
        raise ValueError("there is no pair to learn from")
    started = time.perf_counter()
    ids, texts = encoder.tokens([question for question, _ in pairs]), encoder.tokens(passages)
    wanted = [position for _, position in pairs]
    encoder.module.set_attn_implementation(ATTENTION)
    parameters = [parameter.requires_grad_(True) for parameter in encoder.module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.01, fused=True)
    state = _State(encoder, optimizer, folder / STATE)
    state.load()
    if not state.scores:
        state.keep(score(encoder))
    steps = math.ceil(len(pairs) / config.pairs_per_step)
    for epoch in range(len(state.scores), config.epochs + 1):
        draw = random.Random(f"{config.seed}/{epoch}")
        order = draw.sample(range(len(pairs)), len(pairs))
        for number in range(steps):
            step, begun = (epoch - 1) * steps + number, time.perf_counter()
            rows = order[number * config.pairs_per_step :][: config.pairs_per_step]
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _rate(step, steps * config.epochs)
            shown = _candidates([wanted[row] for row in rows], len(texts), config.others, draw)
            loss = _loss(
                encoder, [ids[row] for row in rows], [wanted[row] for row in rows], texts, shown, config
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            log(
                {
                    "step": step + 1,
                    "steps": steps * config.epochs,
                    "loss": loss.item(),
                    "tokens": sum(len(ids[row]) for row in rows) + sum(len(texts[place]) for place in shown),
                    "seconds": time.perf_counter() - begun,
                }
            )
        state.keep(score(encoder))
    state.restore_best()
    encoder.module.requires_grad_(False).set_attn_implementation("sdpa")
    encoder.tuned = True
    return TunedEncoder(tuple(state.scores), state.best, time.perf_counter() - started)


def estimate_seconds(
    encoder: Encoder, pairs: Sequence[Pair], passages: Sequence[str], config: ContrastiveConfig
) -> float:
    """Seconds of the whole tuning, from two timed steps. The weights stay as they are."""
    encoder.module.set_attn_implementation(ATTENTION)
    draw = random.Random(config.seed)
    chosen = draw.sample(pairs, min(len(pairs), 2 * config.pairs_per_step))
    ids, texts = encoder.tokens([question for question, _ in chosen]), encoder.tokens(passages)
    encoder.module.requires_grad_(True)
    seconds = []
    for begin in (0, len(chosen) // 2):
        rows = range(begin, begin + len(chosen) // 2)
        begun = time.perf_counter()
        wanted = [chosen[row][1] for row in rows]
        shown = _candidates(wanted, len(texts), config.others, draw)
        _loss(encoder, [ids[row] for row in rows], wanted, texts, shown, config).backward()  # type: ignore[no-untyped-call]
        seconds.append(time.perf_counter() - begun)
    encoder.module.requires_grad_(False).set_attn_implementation("sdpa")
    encoder.module.zero_grad()
    return (
        1.1 * seconds[-1] * math.ceil(len(pairs) / config.pairs_per_step) * config.epochs
    )  # a tenth: the optimizer


def _rate(step: int, steps: int) -> float:
    """The share of the learning rate at a step: it rises over a tenth of the steps, then falls to zero in a line."""
    rise = max(1, round(SHARED * steps))
    return (step + 1) / rise if step < rise else (steps - step) / max(1, steps - rise)


def _candidates(wanted: Sequence[int], of: int, others: int, draw: random.Random) -> list[int]:
    """The passages of a step: each wanted one once, and some others."""
    shown = list(dict.fromkeys(wanted))
    left = sorted(set(draw.sample(range(of), min(of, others + len(shown)))) - set(shown))
    return [*shown, *left[:others]]


def _loss(
    encoder: Encoder,
    questions: Sequence[Sequence[int]],
    wanted: Sequence[int],
    texts: Sequence[Sequence[int]],
    shown: Sequence[int],
    config: ContrastiveConfig,
) -> torch.Tensor:
    """Cross-entropy of the wanted passage among those shown."""
    vectors = encoder.forward([texts[position] for position in shown])
    logits = encoder.forward(questions) @ vectors.T / config.temperature
    place = {position: column for column, position in enumerate(shown)}
    targets = torch.tensor([place[position] for position in wanted], device=logits.device)
    return torch.nn.functional.cross_entropy(logits, targets)


class _State:
    """Weights now and at their best, the optimizer's moments, and the scores so far; in one file after each epoch."""

    def __init__(self, encoder: Encoder, optimizer: torch.optim.Optimizer, file: Path) -> None:
        self.module, self.optimizer, self.file = encoder.module, optimizer, file
        self.scores: list[float] = []
        self._best: dict[str, torch.Tensor] = {}

    @property
    def best(self) -> int:
        """The epoch of the highest score, the earliest of equals."""
        return self.scores.index(max(self.scores))

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
        """Puts the best weights into the encoder."""
        self.module.load_state_dict(self._best)
