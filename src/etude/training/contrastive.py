"""Contrastive training of an encoder: for each question, it learns which passage of a batch answers
it.

The loss is the cross-entropy of the right passage among the passages of the batch and the nearest
wrong passages (van den Oord et al. 2018, arXiv 1807.03748; Karpukhin et al. 2020, arXiv 2004.04906;
Xiong et al. 2020, arXiv 2007.00808).

B = questions of a step, C = passages of a step, P = passages that answer some pair's question, D =
size of a vector.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from etude.models.local.encoder import Encoder
from etude.training.encoder_loop import EncoderLoss, EncoderTraining, LoopConfig

QuestionPair = tuple[str, int]
"""A question and the position of the passage that answers it."""
NUM_NEAREST = 2
"""The number of nearest wrong passages that are considered for each question."""
NUM_LAYERS = 2
"""The last layers of the encoder, which are trained. On Luma, as many steps of all six layers take
twice the time and do not rank better on dev (LOG.md, "Two layers of the search").
"""


@dataclass(frozen=True)
class ContrastiveConfig(LoopConfig):
    """Settings of the training, chosen on Luma and xquad_en. Learning rate and temperature are
    usual for MiniLM.
    """

    epochs: int = 4
    rows_per_step: int = 16
    learning_rate: float = 1e-4
    num_negatives: int = 16
    """The number of wrong passages added to each batch: the nearest to its questions at the start
    of the epoch.
    """
    temperature: float = 0.05


def prepare_contrastive_training(
    encoder: Encoder,
    pairs: Sequence[QuestionPair],
    passages: Sequence[str],
    config: ContrastiveConfig,
) -> EncoderTraining:
    """Prepare the training of `encoder`, with each pair once per epoch."""
    module = encoder.find_last_layers(NUM_LAYERS)
    answers = sorted({passage for _, passage in pairs})

    def begin_epoch() -> EncoderLoss:
        vectors_PD = torch.from_numpy(encoder.embed([passages[index] for index in answers]))
        return _build_loss(encoder, pairs, passages, config, vectors_PD.to(encoder.module.device))

    return EncoderTraining(encoder, module, len(pairs), begin_epoch, config)


def _build_loss(
    encoder: Encoder,
    pairs: Sequence[QuestionPair],
    passages: Sequence[str],
    config: ContrastiveConfig,
    vectors_PD: torch.Tensor,
) -> EncoderLoss:
    """Build the cross-entropy of each question's passage among the passages of the step.

    `vectors_PD` belong to passages that answer at least one question. The nearest wrong passages
    are chosen among these: a passage that answers no question of the pairs might be a right answer
    to this question.
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
        return torch.nn.functional.cross_entropy(logits_BC, targets_B), sum(
            map(len, [*questions, *texts])
        )

    return loss
