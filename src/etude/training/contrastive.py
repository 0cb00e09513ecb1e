"""Contrastive training of an encoder: for each question, it learns which passage of a batch answers it.

The loss is the cross-entropy of the right passage among the passages of the batch and the nearest wrong passages (van
den Oord et al. 2018, arXiv 1807.03748; Karpukhin et al. 2020, arXiv 2004.04906; Xiong et al. 2020, arXiv 2007.00808).

B = questions of a step, C = passages of a step, P = passages that answer some pair's question, D = size of a vector.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from etude.models.local.encoder import Encoder
from etude.training.encoder_loop import EncoderLoss, EncoderTraining, LoopConfig, TunedEncoder
from etude.training.time_box import TimeBox

QuestionPair = tuple[str, int]
"""A question and the position of the passage that answers it."""
NUM_NEAREST = 2
"""The number of nearest wrong passages that are considered for each question."""


@dataclass(frozen=True)
class ContrastiveConfig:
    """Settings of the training, chosen on Luma and xquad_en. Learning rate and temperature are usual for MiniLM."""

    epochs: int = 4
    pairs_per_step: int = 16
    num_negatives: int = 16
    """The number of wrong passages added to each batch: the nearest to its questions at the start of the epoch."""
    learning_rate: float = 1e-4
    temperature: float = 0.05
    seed: int = 0

    @property
    def loop(self) -> LoopConfig:
        """The settings of the training loop."""
        return LoopConfig(self.epochs, self.pairs_per_step, self.learning_rate, self.seed)


def tune_encoder(
    encoder: Encoder,
    pairs: Sequence[QuestionPair],
    passages: Sequence[str],
    config: ContrastiveConfig,
    folder: Path,
    score: Callable[[Encoder], float],
    log: Callable[[Mapping[str, Any]], None] = lambda line: None,
    box: TimeBox | None = None,
) -> TunedEncoder:
    """Train `encoder` in place, each pair once per epoch. Raises ValueError if there are no pairs."""
    module = encoder.module
    answers = sorted({passage for _, passage in pairs})

    def begin_epoch() -> EncoderLoss:
        vectors_PD = torch.from_numpy(encoder.embed([passages[index] for index in answers]))
        return _build_loss(encoder, pairs, passages, config, vectors_PD.to(module.device))

    training = EncoderTraining(encoder, module, len(pairs), begin_epoch, config.loop)
    return training.train(folder, lambda: score(encoder), log, box)


def _build_loss(
    encoder: Encoder,
    pairs: Sequence[QuestionPair],
    passages: Sequence[str],
    config: ContrastiveConfig,
    vectors_PD: torch.Tensor,
) -> EncoderLoss:
    """Build the cross-entropy of each question's passage among the passages of the step.

    `vectors_PD` belong to passages that answer at least one question. The nearest wrong passages are chosen among
    these: a passage that answers no question of the pairs might be a right answer to this question.
    """
    question_ids = encoder.encode([question for question, _ in pairs])
    passage_ids = encoder.encode(passages)
    answers = sorted({passage for _, passage in pairs})
    position = {passage: number for number, passage in enumerate(answers)}

    def loss(rows: Sequence[int], draw: random.Random) -> tuple[torch.Tensor, int]:
        right = [pairs[row][1] for row in rows]
        questions = [question_ids[row] for row in rows]
        questions_BD = encoder.forward(questions)
        scores_BP = questions_BD.detach() @ vectors_PD.T
        # Exclude the right passage of each question from its wrong passages.
        scores_BP[range(len(rows)), [position[passage] for passage in right]] = -torch.inf
        # Take the nearest passage of every question first, then the second nearest.
        nearest = scores_BP.topk(min(NUM_NEAREST, len(answers))).indices.T.flatten().tolist()
        # Each right passage once, then the nearest wrong passages.
        candidates = list(dict.fromkeys([*right, *(answers[number] for number in nearest)]))
        candidates = candidates[: len(set(right)) + config.num_negatives]
        texts = [passage_ids[passage] for passage in candidates]
        logits_BC = questions_BD @ encoder.forward(texts).T / config.temperature
        column = {passage: number for number, passage in enumerate(candidates)}
        targets_B = torch.tensor([column[passage] for passage in right], device=logits_BC.device)
        return torch.nn.functional.cross_entropy(logits_BC, targets_B), sum(map(len, [*questions, *texts]))

    return loss
