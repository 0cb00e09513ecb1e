"""Losses for preferences, each a `Loss` for `train(..., loss=...)`, and the reference with which
they compare.

A pair is two rows, the better answer first; `kto` has other groups. The losses equal TRL's on the
same rows (tests/training/test_preference_losses.py). B = rows of a micro-batch.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from etude.training.layers.forward import can_pack, compute_hidden_states
from etude.training.losses import Loss, Objective, compute_row_log_probs
from etude.training.rows.batches import MicroBatch, TokenRow, collate

Reference = Mapping[str, float]
"""Id of a row -> the log-probability of its answer under the model before training, from
`compute_log_probs`.
"""
BETA = 0.1
"""How close the tuned model stays to the reference: the higher, the closer."""


@torch.no_grad()
def compute_log_probs(
    module: PreTrainedModel, rows: Sequence[TokenRow], micro_tokens: int
) -> dict[str, float]:
    """Compute for each row's id the sum of the log-probabilities of its learned tokens, in nats, in
    eval mode.

    If computed before training, it is the `Reference` of the losses below. Ids must be unique.
    """
    module.eval()
    objective = Objective(module, is_packed=can_pack(module))
    sums_by_id: dict[str, float] = {}
    for micro_rows in objective.split_batch(rows, micro_tokens):
        batch = collate(micro_rows, module.device)
        sums = compute_row_log_probs(
            module, batch, compute_hidden_states(module, batch, objective.is_packed)
        )
        sums_by_id |= zip((row.id for row in micro_rows), sums.tolist(), strict=True)
    return sums_by_id


def dpo(reference: Reference, beta: float = BETA) -> Loss:
    """Direct preference optimisation: -log sigmoid(beta * (gain of the better - gain of the
    worse)). A gain is the log-probability minus the reference's. Rafailov et al. 2023, arXiv
    2305.18290.
    """

    def total(module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor) -> Tensor:
        gains = _compute_gains(module, batch, hidden_BTD, reference)
        return -functional.logsigmoid(beta * (gains[0::2] - gains[1::2])).sum()

    return Loss(f"dpo, beta {beta:g}", total, _get_weight, group_size=2)


def kto(
    reference: Reference,
    good: Mapping[str, bool],
    beta: float = BETA,
    weights: tuple[float, float] = (1.0, 1.0),
    group: int = 4,
) -> Loss:
    """Kahneman-Tversky optimisation, which needs no pairs: each answer is `good` or bad, by the
    row's id. Ethayarajh et al. 2024, arXiv 2402.01306.

    Rows are in groups: `group` answers, then as many mismatched rows (the question of one row with
    the answer of another), from which the divergence from the reference is estimated.
    `add_mismatched_rows` makes them. `weights` are the weights of good and of bad answers.
    """

    def total(module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor) -> Tensor:
        gains = _compute_gains(module, batch, hidden_BTD, reference).view(-1, 2, group)
        matched = gains[:, 0]
        divergence = gains[:, 1].mean(-1, keepdim=True).detach().clamp(min=0)
        ids = [row.id for row in batch.rows]
        starts = range(0, len(ids), 2 * group)
        signs = matched.new_tensor(
            [
                [1.0 if good[row_id] else -1.0 for row_id in ids[start : start + group]]
                for start in starts
            ]
        )
        factors = torch.where(signs > 0, weights[0], weights[1])
        return (factors * (1 - torch.sigmoid(beta * signs * (matched - divergence)))).sum()

    name = f"kto, beta {beta:g}, weights {weights[0]:g} and {weights[1]:g}, groups of {group}"
    return Loss(name, total, _get_weight, group_size=2 * group)


def add_mismatched_rows(rows: Sequence[TokenRow], group: int = 4) -> list[TokenRow]:
    """Make the groups for `kto`: each group of answers, then the same questions again, each with
    the answer of the row before. The last rows are left out if they do not fill a group.
    """
    result: list[TokenRow] = []
    for start in range(0, len(rows) - group + 1, group):
        answered = list(rows[start : start + group])
        previous = [answered[-1], *answered[:-1]]
        result += [
            *answered,
            *(_replace_answer(*pair) for pair in zip(answered, previous, strict=True)),
        ]
    return result


def accuracy(
    log_probs: Mapping[str, float], reference: Reference, rows: Sequence[TokenRow]
) -> list[float]:
    """Compute for each pair of rows: 1 if the better answer gained more than the worse, 0 if less,
    0.5 if equal.
    """
    gains = [log_probs[row.id] - reference[row.id] for row in rows]
    return [
        0.5 if better == worse else float(better > worse)
        for better, worse in zip(gains[0::2], gains[1::2], strict=True)
    ]


def _replace_answer(row: TokenRow, other: TokenRow) -> TokenRow:
    start = row.trained.index(True)
    other_start = other.trained.index(True)
    ids = (*row.ids[:start], *other.ids[other_start:])
    trained = (*row.trained[:start], *other.trained[other_start:])
    return TokenRow(f"{row.id} with the answer of {other.id}", ids, trained)


def _get_weight(row: TokenRow) -> float:
    return 0.5


def _compute_gains(
    module: PreTrainedModel, batch: MicroBatch, hidden_BTD: Tensor, reference: Reference
) -> Tensor:
    # (B,) the log-probability of each row minus the reference's.
    now = compute_row_log_probs(module, batch, hidden_BTD)
    return now - now.new_tensor([reference[row.id] for row in batch.rows])
