"""Teaching an encoder which passage answers which question, by contrast with the other passages of a batch.

The loss is the cross-entropy of the right passage among those of the batch and some random ones (van den Oord et al.
2018, arXiv 1807.03748; Karpukhin et al. 2020, arXiv 2004.04906).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from etude.models.encoder import Encoder
from etude.training.encoder_loop import ATTENTION, LoopConfig, Loss, TunedEncoder, train_encoder
from etude.training.encoder_loop import estimate_seconds as estimate_loop

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

    @property
    def loop(self) -> LoopConfig:
        """What the loop needs of it."""
        return LoopConfig(self.epochs, self.pairs_per_step, self.learning_rate, self.seed)


def tune_encoder(
    encoder: Encoder,
    pairs: Sequence[Pair],
    passages: Sequence[str],
    config: ContrastiveConfig,
    folder: Path,
    score: Callable[[Encoder], float],
    log: Callable[[Mapping[str, Any]], None] = lambda line: None,
) -> TunedEncoder:
    """Trains `encoder` in place as `train_encoder` does, each pair once an epoch. Raises ValueError without a pair."""
    loss = _loss(encoder, pairs, passages, config)
    encoder.module.set_attn_implementation(ATTENTION)
    result = train_encoder(encoder.module, len(pairs), loss, config.loop, folder, lambda: score(encoder), log)
    encoder.module.set_attn_implementation("sdpa")
    encoder.tuned = True
    return result


def estimate_seconds(
    encoder: Encoder, pairs: Sequence[Pair], passages: Sequence[str], config: ContrastiveConfig
) -> float:
    """Seconds of the whole tuning, from two timed steps. The weights stay as they are."""
    encoder.module.set_attn_implementation(ATTENTION)
    seconds = estimate_loop(encoder.module, len(pairs), _loss(encoder, pairs, passages, config), config.loop)
    encoder.module.set_attn_implementation("sdpa")
    return seconds


def _loss(
    encoder: Encoder, pairs: Sequence[Pair], passages: Sequence[str], config: ContrastiveConfig
) -> Loss:
    """Cross-entropy of each question's passage among those of the step."""
    ids, texts = encoder.tokens([question for question, _ in pairs]), encoder.tokens(passages)

    def loss(rows: Sequence[int], draw: random.Random) -> tuple[torch.Tensor, int]:
        wanted = [pairs[row][1] for row in rows]
        shown = _candidates(wanted, len(texts), config.others, draw)
        asked, answers = [ids[row] for row in rows], [texts[position] for position in shown]
        logits = encoder.forward(asked) @ encoder.forward(answers).T / config.temperature
        place = {position: column for column, position in enumerate(shown)}
        targets = torch.tensor([place[position] for position in wanted], device=logits.device)
        return torch.nn.functional.cross_entropy(logits, targets), sum(map(len, [*asked, *answers]))

    return loss


def _candidates(wanted: Sequence[int], of: int, others: int, draw: random.Random) -> list[int]:
    """The passages of a step: each wanted one once, and some others."""
    shown = list(dict.fromkeys(wanted))
    left = sorted(set(draw.sample(range(of), min(of, others + len(shown)))) - set(shown))
    return [*shown, *left[:others]]
