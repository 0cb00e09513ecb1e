"""Teaching an encoder which passage answers which question, by contrast with the other passages of a batch.

The loss is the cross-entropy of the right passage among those of the batch and the nearest wrong ones (van den Oord et
al. 2018, arXiv 1807.03748; Karpukhin et al. 2020, arXiv 2004.04906; Xiong et al. 2020, arXiv 2007.00808).

Shapes: B questions of a step, C passages of a step, P passages that some pair asks for, D size of a vector.
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
NEAREST = 2
"""Wrong passages of each question that are looked at; the nearest of all questions come first."""


@dataclass(frozen=True)
class ContrastiveConfig:
    """Settings of the tuning. Chosen on Luma and xquad_en, with learning rate and temperature as usual for MiniLM."""

    epochs: int = 4
    pairs_per_step: int = 32
    others: int = 16
    """Wrong passages beside those of the batch: the nearest to its questions when the epoch began."""
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
    taught = sorted({place for _, place in pairs})

    def begin() -> Loss:
        vectors = encoder.embed([passages[place] for place in taught])
        return _loss(encoder, pairs, passages, config, torch.from_numpy(vectors).to(encoder.module.device))

    encoder.module.set_attn_implementation(ATTENTION)
    result = train_encoder(
        encoder.module, len(pairs), begin, config.loop, folder, lambda: score(encoder), log
    )
    encoder.module.set_attn_implementation("sdpa")
    encoder.tuned = True
    return result


def estimate_seconds(
    encoder: Encoder, pairs: Sequence[Pair], passages: Sequence[str], config: ContrastiveConfig
) -> float:
    """Seconds of the whole tuning, from two timed steps. The weights stay as they are."""
    encoder.module.set_attn_implementation(ATTENTION)
    vectors = torch.zeros(len({place for _, place in pairs}), encoder.module.config.hidden_size)
    loss = _loss(encoder, pairs, passages, config, vectors.to(encoder.module.device))
    seconds = estimate_loop(encoder.module, len(pairs), loss, config.loop)
    encoder.module.set_attn_implementation("sdpa")
    return seconds


def _loss(
    encoder: Encoder,
    pairs: Sequence[Pair],
    passages: Sequence[str],
    config: ContrastiveConfig,
    vectors_PD: torch.Tensor,
) -> Loss:
    """Cross-entropy of each question's passage among those of the step. `vectors_PD` are those of the passages that
    some pair asks for, by which the nearest wrong ones are found; a passage that no pair asks for may be right."""
    ids, texts = encoder.tokens([question for question, _ in pairs]), encoder.tokens(passages)
    taught = sorted({place for _, place in pairs})
    row_of = {place: row for row, place in enumerate(taught)}

    def loss(rows: Sequence[int], draw: random.Random) -> tuple[torch.Tensor, int]:
        wanted = [pairs[row][1] for row in rows]
        asked = [ids[row] for row in rows]
        questions_BD = encoder.forward(asked)
        near_BP = questions_BD.detach() @ vectors_PD.T
        near_BP[range(len(rows)), [row_of[place] for place in wanted]] = -torch.inf
        nearest = near_BP.topk(min(NEAREST, len(taught))).indices.T.flatten().tolist()
        shown = _candidates(wanted, [taught[row] for row in nearest], config.others)
        answers = [texts[place] for place in shown]
        logits_BC = questions_BD @ encoder.forward(answers).T / config.temperature
        column = {place: number for number, place in enumerate(shown)}
        targets = torch.tensor([column[place] for place in wanted], device=logits_BC.device)
        return torch.nn.functional.cross_entropy(logits_BC, targets), sum(map(len, [*asked, *answers]))

    return loss


def _candidates(wanted: Sequence[int], nearest: Sequence[int], others: int) -> list[int]:
    """The passages of a step: each wanted one once, and some of the nearest others."""
    shown = dict.fromkeys(wanted)
    return list(dict.fromkeys([*shown, *nearest]))[: len(shown) + others]
