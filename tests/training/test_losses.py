"""A loss that is passed in trains through the same door as the default: here preferences, on pairs of rows."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import CONFIG, SETTINGS, plain_loss, shake_weights, tiny_model, token_rows
from torch.nn import functional

from etude.training import Loss, Output, TokenRow, train
from etude.training.distributed.placement import Placement
from etude.training.layers.lora import add_adapters
from etude.training.step import accumulate_gradients


def preferences(reference: dict[str, torch.Tensor]) -> Loss:
    """DPO with beta 1 (Rafailov et al. 2023, arXiv 2305.18290): the first row of each pair is the better one."""

    def total(module: Any, batch: Any, hidden: torch.Tensor) -> torch.Tensor:
        logits = module.get_output_embeddings()(hidden.flatten(0, 1)[batch.positions])
        log_probs = -functional.cross_entropy(logits, batch.targets, reduction="none")
        of_rows = hidden.new_zeros(len(batch.rows)).index_add(
            0, batch.positions // batch.ids.shape[1], log_probs
        )
        gained = of_rows - torch.stack([reference[row.id] for row in batch.rows])
        return -functional.logsigmoid(gained[0::2] - gained[1::2]).sum()

    return Loss("preferences", total, weight=lambda row: 0.5, group_size=2)


def log_prob(module: Any, row: TokenRow) -> torch.Tensor:
    return -plain_loss(module, [row]) * row.num_trained


def test_a_preference_loss_has_the_plain_gradient_and_is_learned(tmp_path: Path) -> None:
    module, rows = tiny_model(torch.float64), token_rows(16)
    reference = {row.id: log_prob(module, row).detach() for row in rows}
    loss = preferences(reference)
    with add_adapters(module, SETTINGS) as adapters:
        shake_weights(adapters)
        weights = [weight for adapter in adapters for weight in (adapter.a, adapter.b)]
        gained = torch.stack([log_prob(module, row) - reference[row.id] for row in rows])
        expected = -functional.logsigmoid(gained[0::2] - gained[1::2]).mean()
        gradients = torch.autograd.grad(expected, weights)
        assert accumulate_gradients(Placement(module, loss=loss, is_packed=True), rows, 50) == pytest.approx(
            expected.item()
        )
        for weight, grad in zip(weights, gradients, strict=True):
            torch.testing.assert_close(weight.grad, grad, rtol=1e-9, atol=1e-11)
    result = train(
        module, rows, rows, replace(CONFIG, epochs=3), Output(tmp_path / "c", tmp_path / "a"), loss=loss
    )
    assert result.dev_losses[0] == pytest.approx(math.log(2)), "the untrained model is the reference"
    assert min(result.dev_losses) < 0.3 * result.dev_losses[0]
