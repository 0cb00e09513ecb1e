"""Losses on preferences, each as a `Loss` for `train(..., loss=...)`, and the reference that they compare with.

A pair is two rows, the better answer first; a group of `kto` is described there. Equal to TRL's on the same rows
(tests/test_preference_losses.py). B = rows of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from etude.training.distributed.placement import Placement
from etude.training.layers.body import can_pack, hidden_states
from etude.training.losses import Loss, row_log_probs
from etude.training.rows.batches import MicroBatch, TokenRow, collate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Reference = Mapping[str, float]
"""Id of a row -> the log-probability of its answer under the model before training, from `log_probs`."""
BETA = 0.1
"""How strongly the tuned model is held to the reference: the higher, the closer it stays."""


@torch.no_grad()
def log_probs(module: PreTrainedModel, rows: Sequence[TokenRow], micro_tokens: int) -> dict[str, float]:
    """Id -> sum of the log-probabilities of the row's learned tokens, in nats, in eval mode. Computed once before
    training it is the `Reference` of every loss below; ids must be unique."""
    module.eval()
    placement = Placement(module, packed=can_pack(module))
    found: dict[str, float] = {}
    for part in placement.micro_batches(rows, micro_tokens, 0):
        batch = collate(part, module.device)
        sums = row_log_probs(module, batch, hidden_states(module, batch, placement.packed))
        found |= zip((row.id for row in part), sums.tolist(), strict=True)
    return found


def dpo(reference: Reference, beta: float = BETA) -> Loss:
    """Direct preference optimisation: -log sigmoid(beta * (gain of the better - gain of the worse)), a gain being the
    log-probability above the reference's. Rafailov et al. 2023, arXiv 2305.18290."""

    def total(module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor) -> Tensor:
        better, worse = _pairs(_gains(module, batch, hidden_BTD, reference))
        return -functional.logsigmoid(beta * (better - worse)).sum()

    return Loss(f"dpo, beta {beta:g}", total, _half, rows_together=2)


def ipo(reference: Reference, beta: float = BETA) -> Loss:
    """Identity preference optimisation: the gains of a token, on average, are to differ by 1 / (2 beta). Azar et al.
    2023, arXiv 2310.12036, with gains divided by the length of the answer, as its authors do."""

    def total(module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor) -> Tensor:
        better, worse = _pairs(_gains(module, batch, hidden_BTD, reference) / _lengths(batch, hidden_BTD))
        return ((better - worse - 1 / (2 * beta)) ** 2).sum()

    return Loss(f"ipo, beta {beta:g}", total, _half, rows_together=2)


def orpo(beta: float = BETA) -> Loss:
    """Odds ratio preference optimisation, which needs no reference: the mean loss of the better answer's tokens, minus
    beta * log sigmoid(log of the odds ratio). Hong et al. 2024, arXiv 2403.07691. The question's tokens are only read,
    as everywhere in Étude; the authors' code also learns them."""

    def total(module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor) -> Tensor:
        means = row_log_probs(module, batch, hidden_BTD) / _lengths(batch, hidden_BTD)
        better, worse = _pairs(means)
        odds = better - worse - (_log_of_rest(better) - _log_of_rest(worse))
        return -(better + beta * functional.logsigmoid(odds)).sum()

    return Loss(f"orpo, beta {beta:g}", total, _half, rows_together=2)


def kto(
    reference: Reference,
    good: Mapping[str, bool],
    beta: float = BETA,
    weights: tuple[float, float] = (1.0, 1.0),
    group: int = 4,
) -> Loss:
    """Kahneman-Tversky optimisation, which needs no pairs: each answer is `good` or bad, by the row's id. Ethayarajh
    et al. 2024, arXiv 2402.01306.

    Rows come in groups of `group` answers and then as many mismatched ones (the question of one, the answer of
    another), by which the divergence from the reference is estimated within the group; `mismatched` makes them.
    `weights` are those of good and of bad answers.
    """

    def total(module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor) -> Tensor:
        gains = _gains(module, batch, hidden_BTD, reference).view(-1, 2, group)
        matched, divergence = gains[:, 0], gains[:, 1].mean(-1, keepdim=True).detach().clamp(min=0)
        ids = [row.id for row in batch.rows]
        starts = range(0, len(ids), 2 * group)
        signs = matched.new_tensor(
            [[1.0 if good[each] else -1.0 for each in ids[at : at + group]] for at in starts]
        )
        factors = torch.where(signs > 0, weights[0], weights[1])
        return (factors * (1 - torch.sigmoid(beta * signs * (matched - divergence)))).sum()

    name = f"kto, beta {beta:g}, weights {weights[0]:g} and {weights[1]:g}, groups of {group}"
    return Loss(name, total, _half, rows_together=2 * group)


def mismatched(rows: Sequence[TokenRow], group: int = 4) -> list[TokenRow]:
    """Rows in the groups that `kto` takes: behind each group of answers the same questions, each with the answer before
    its own. The last rows that fill no group are left out."""
    found: list[TokenRow] = []
    for start in range(0, len(rows) - group + 1, group):
        part = list(rows[start : start + group])
        others = [part[-1], *part[:-1]]
        found += [*part, *(_with_answer_of(*pair) for pair in zip(part, others, strict=True))]
    return found


def accuracy(found: Mapping[str, float], reference: Reference, rows: Sequence[TokenRow]) -> list[float]:
    """For each pair of rows 1 if the better answer has gained more than the worse, 0 if less, 0.5 if as much."""
    gains = [found[row.id] - reference[row.id] for row in rows]
    return [
        0.5 if better == worse else float(better > worse)
        for better, worse in zip(gains[0::2], gains[1::2], strict=True)
    ]


def _with_answer_of(row: TokenRow, other: TokenRow) -> TokenRow:
    asked, answer = _start(row), _start(other)
    ids = (*row.ids[:asked], *other.ids[answer:])
    trained = (*row.trained[:asked], *other.trained[answer:])
    return TokenRow(f"{row.id} with the answer of {other.id}", ids, trained)


def _start(row: TokenRow) -> int:
    """Where the answer begins."""
    return row.trained.index(True)


def _half(row: TokenRow) -> float:
    return 0.5


def _gains(module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor, reference: Reference) -> Tensor:
    """How much each row's log-probability is above the reference's, (B,)."""
    now = row_log_probs(module, batch, hidden_BTD)
    return now - now.new_tensor([reference[row.id] for row in batch.rows])


def _lengths(batch: MicroBatch, like: Tensor) -> Tensor:
    return torch.tensor([row.num_trained for row in batch.rows], device=like.device)


def _pairs(values: Tensor) -> tuple[Tensor, Tensor]:
    return values[0::2], values[1::2]


def _log_of_rest(log_p: Tensor) -> Tensor:
    """log(1 - p), exact for p near 0 and near 1."""
    near_one = log_p > -0.6931
    return torch.where(
        near_one,
        torch.log(-torch.expm1(log_p.clamp(max=-1e-7))),
        torch.log1p(-torch.exp(log_p.clamp(max=-0.6931))),
    )
