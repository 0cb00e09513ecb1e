"""Tuning all weights: gradients against torch, 32-bit sums, folders that others load, exact continuation."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from test_train import CONFIG, StopError, ignore, plain_loss, snapshot, tiny_model, token_rows

from etude.errors import InputError
from etude.models.registry import Models
from etude.task.settings import LORA_ONLY, SETTINGS
from etude.training import Output, auto_config, train
from etude.training.losses import Objective
from etude.training.memory.buffer import use_buffer
from etude.training.step import (
    BETAS,
    MAX_NORM,
    accumulate_gradients,
    learning_rate,
    measure_dev_loss,
    start_training,
    train_step,
    unfreeze_weights,
)
from etude.types import ModelRef
from tiny import build_tokenizer

FULL = replace(CONFIG, weights="full", learning_rate=3e-3)


def train_all_weights(
    folder: Path,
    log: Callable[[Mapping[str, Any]], None] = ignore,
    dtype: torch.dtype = torch.float32,
    every_step: bool = False,
    **shape: Any,
) -> tuple[Any, Any]:
    """One run in `folder`: the module it was given, and the result."""
    module = tiny_model(dtype, **shape)
    output = Output(folder / "checkpoint", folder / "model", log, every_step=every_step)
    return module, train(module, token_rows(18), token_rows(6, seed=1), FULL, output)


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_of_all_weights_are_those_of_torch(tied: bool) -> None:
    module, rows = tiny_model(torch.float64, tie_word_embeddings=tied), token_rows(8)
    with unfreeze_weights(module) as parameters:
        gradients = torch.autograd.grad(plain_loss(module, rows), parameters)
        with use_buffer(parameters) as buffer:
            accumulate_gradients(Objective(module), rows, 24)
            ours = buffer.weights.grad
    assert ours is not None
    expected = torch.cat([grad.flatten() for grad in gradients])
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


def test_steps_are_those_of_torch() -> None:
    module, rows, theirs = tiny_model(torch.float64), token_rows(4), tiny_model(torch.float64)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.0, betas=BETAS, weight_decay=0.0)
    with start_training(module, FULL, 16) as run:
        for step in range(3):
            train_step(run, rows)
            run.progress.steps += 1
            optimizer.zero_grad()
            plain_loss(theirs, rows).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), MAX_NORM)
            optimizer.param_groups[0]["lr"] = learning_rate(FULL, step, run.total_steps)
            optimizer.step()
        for (name, ours), parameter in zip(module.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(ours, parameter, rtol=1e-7, atol=1e-9, msg=name)


def test_an_update_too_small_for_16_bits_is_not_lost() -> None:
    parameter = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    with use_buffer([parameter]) as buffer:
        for _ in range(100):
            buffer.weights.data += 1e-4
            buffer.update_narrow()
        assert buffer.weights[0].item() == pytest.approx(1.01, rel=1e-5)
        assert parameter[0].item() == pytest.approx(1.01, rel=2**-8)
        assert parameter[0].item() > 1
        for _ in range(300):
            (parameter.sum() * 1e-3).backward()
        assert buffer.weights.grad[0].item() == pytest.approx(0.3, rel=5e-3)
    assert torch.equal(parameter.detach(), torch.ones(4, dtype=torch.bfloat16))
    assert parameter.grad is None
    assert not parameter._post_accumulate_grad_hooks


@pytest.mark.parametrize(("dtype", "tied"), [(torch.float32, False), (torch.bfloat16, True)])
def test_the_tuned_model_is_loaded_by_transformers_and_by_us(
    tmp_path: Path, dtype: torch.dtype, tied: bool
) -> None:
    from transformers import AutoModelForCausalLM

    module, result = train_all_weights(tmp_path, dtype=dtype, tie_word_embeddings=tied)
    assert snapshot(module.float()) == snapshot(tiny_model(dtype, tie_word_embeddings=tied).float())
    assert min(result.dev_losses) < 0.97 * result.dev_losses[0]
    folder, dev = tmp_path / "model", token_rows(6, seed=1)
    # A product of 16 bits may round in another way where its matrix lies elsewhere in memory.
    limit = 1e-6 if dtype == torch.float32 else 1e-3
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    assert measure_dev_loss(Objective(theirs), dev, 40) == pytest.approx(min(result.dev_losses), rel=limit)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert ("lm_head.weight" in file.keys()) == (not tied)  # noqa: SIM118
    build_tokenizer().save_pretrained(folder)
    ours = Models("cpu", str(dtype).removeprefix("torch.")).get_trainable(ModelRef("a base", folder))
    assert snapshot(ours.module.float()) == snapshot(theirs.float())
    ours.module.to(dtype)
    assert measure_dev_loss(Objective(ours.module), dev, 40) == pytest.approx(
        min(result.dev_losses), rel=limit
    )


def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    dtype = torch.bfloat16
    train_all_weights(tmp_path / "whole", dtype=dtype)

    def stop(news: Mapping[str, Any]) -> None:
        if news.get("step") == 7:
            raise StopError

    with pytest.raises(StopError):
        train_all_weights(tmp_path / "cut", stop, dtype, every_step=True)
    train_all_weights(tmp_path / "cut", dtype=dtype)
    uninterrupted, cut = [
        (tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "cut")
    ]
    assert uninterrupted == cut


def test_settings_have_a_lower_learning_rate_and_no_adapter() -> None:
    full, lora = (auto_config(500, 135_000_000, {"weights": kind}) for kind in ("full", "lora"))
    assert full.learning_rate == pytest.approx(lora.learning_rate / 10)
    assert "rank" not in {**full.reasons, **full.defaults}
    assert {*full.reasons, *full.defaults} == {*SETTINGS} - {*LORA_ONLY}
    with pytest.raises(InputError) as caught:
        auto_config(500, 135_000_000, {"weights": "full", "rank": 4, "targets": ["q_proj"]})
    assert [fault.location for fault in caught.value.issues] == ["train: rank", "train: targets"]
