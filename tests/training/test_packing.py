"""Rows end to end: the same states and gradients as side by side, and only where the model computes
so.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_train import SETTINGS, shake_weights, tiny_model

from etude.training import Output, TokenRow, TrainConfig, train
from etude.training.layers.forward import MAX_PLAIN_TOKENS, can_pack, compute_hidden_states
from etude.training.layers.lora import add_adapters
from etude.training.losses import Objective
from etude.training.rows.batches import collate
from etude.training.rows.packing import build_packing, count_shared_tokens, use_packing
from etude.training.step import accumulate_gradients
from tiny import build_module

FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "phi3", "olmo2", "mistral")
LENGTHS = (9, 3, 14, 2)
CPU = torch.device("cpu")


def make_rows(lengths: Sequence[int]) -> list[TokenRow]:
    rows = []
    for n, length in enumerate(lengths):
        ids = tuple((7 * n + i) % 90 + 3 for i in range(length))
        rows.append(TokenRow(str(n), ids, (False,) + (True,) * (length - 1)))
    return rows


def compute_states(module: Any, lengths: Sequence[int], packed: bool = False) -> torch.Tensor:
    """The last hidden states at the tokens of all rows, end to end."""
    with torch.no_grad():
        hidden = compute_hidden_states(module, collate(make_rows(lengths), module.device), packed)
    return torch.cat([row[:length] for row, length in zip(hidden, lengths, strict=True)])


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_tokens_go_to_their_rows_and_back(lengths: list[int]) -> None:
    packing = build_packing(lengths, CPU)
    if packing is None:
        assert len(set(lengths)) == 1
        return
    tokens = torch.arange(1.0, 1 + 2 * sum(lengths)).view(-1, 2)
    placed = packing.to_padded(tokens)
    rows = placed.view(len(lengths), max(lengths), 2)
    for row, row_tokens, length in zip(rows, tokens.split(lengths), lengths, strict=True):
        assert torch.equal(row[:length], row_tokens)
        assert not row[length:].any()
    assert torch.equal(packing.to_packed(placed), tokens)
    assert packing.positions.tolist() == [[i for length in lengths for i in range(length)]]


@pytest.mark.parametrize("kind", [kind for kind in FAMILIES if kind != "gemma2"])
def test_every_family_of_plain_decoders_computes_the_same_packed(kind: str) -> None:
    module = build_module(kind).double()
    assert can_pack(module)
    padded = compute_states(module, LENGTHS)
    packed = compute_states(module, LENGTHS, packed=True)
    torch.testing.assert_close(packed, padded, rtol=1e-10, atol=1e-10)


def test_long_rows_go_through_the_fused_kernel() -> None:
    module = tiny_model(torch.float64)
    lengths = (MAX_PLAIN_TOKENS + 9, 5, 40)
    torch.testing.assert_close(
        compute_states(module, lengths, packed=True),
        compute_states(module, lengths),
        rtol=1e-9,
        atol=1e-9,
    )


def gradient(
    module: Any, rows: Sequence[TokenRow], packed: bool, micro_tokens: int
) -> torch.Tensor:
    """Of shaken adapters, after one micro-batch or several."""
    with add_adapters(module, SETTINGS) as adapters:
        shake_weights(adapters)
        accumulate_gradients(Objective(module, is_packed=packed), rows, micro_tokens)
        grads = [parameter.grad for adapter in adapters for parameter in (adapter.a, adapter.b)]
    return torch.cat([parameter.flatten() for parameter in grads if parameter is not None])


@pytest.mark.parametrize("lengths", [LENGTHS, (MAX_PLAIN_TOKENS + 9, 5, 40)])
def test_gradients_are_those_of_rows_side_by_side(lengths: Sequence[int]) -> None:
    module = tiny_model(torch.float64)
    rows = make_rows(lengths)

    expected = gradient(module, rows, packed=False, micro_tokens=1)
    for packed, micro_tokens in ((True, 10_000), (True, 20), (False, 10_000)):
        gradients = gradient(module, rows, packed, micro_tokens)
        assert torch.linalg.vector_norm(gradients - expected) <= 1e-10 * torch.linalg.vector_norm(
            expected
        )


def make_rows_alike() -> list[TokenRow]:
    """Rows of which each begins as the one before, wholly, in part or not at all."""
    starts = ((5, 6, 7, 8), (5, 6, 7, 8), (5, 6, 7, 9, 4), (5, 6), (5, 6, 7), (9, 3))
    ends = ((), (11, 12), (13,), (), (14, 15, 16), (17,))
    rows = [(*start, *end) for start, end in zip(starts, ends, strict=True)]
    return [
        TokenRow(str(n), ids, (False,) + (True,) * (len(ids) - 1))
        for n, ids in enumerate([*rows, rows[-1]])
    ]


def test_a_beginning_that_rows_share_is_computed_once() -> None:
    rows = make_rows_alike()
    shared = count_shared_tokens([row.ids for row in rows])
    assert shared == [0, 4, 3, 2, 2, 0, 3]
    packing = build_packing([len(row.ids) for row in rows], CPU, shared)
    ids = collate(rows, CPU).ids.flatten()[:, None]
    tokens = packing.to_packed(ids)
    assert len(tokens) == sum(len(row.ids) for row in rows) - sum(shared)
    assert torch.equal(packing.to_padded(tokens), ids)
    ones = torch.ones(len(tokens), 1)
    assert packing.to_first_slots(ones).sum() == len(tokens)
    assert packing.sum_slots(packing.to_padded(ones)).sum() == sum(len(row.ids) for row in rows)


def test_gradients_with_shared_beginnings_are_those_of_rows_one_by_one() -> None:
    module = tiny_model(torch.float64)
    rows = make_rows_alike()

    expected = gradient(module, rows, packed=False, micro_tokens=1)
    # Rotary angles are worked out in 32 bits, whose cosines vary in the last one.
    for micro_tokens in (12, 10_000):
        gradients = gradient(module, rows, packed=True, micro_tokens=micro_tokens)
        assert torch.linalg.vector_norm(gradients - expected) <= 1e-6 * torch.linalg.vector_norm(
            expected
        )


def test_a_model_whose_rows_would_see_each_other_is_not_packed() -> None:
    shape = {"layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False}
    module = build_module("lfm2", **shape).double()
    assert not can_pack(module)


def test_rows_beyond_the_window_of_a_model_stay_side_by_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = build_module("mistral", sliding_window=8).double()
    assert can_pack(module)
    monkeypatch.setattr(
        "etude.training.rows.packing.use_packing",
        lambda packing: packings.append(packing) or use_packing(packing),
    )
    for lengths, packs in (((8, 3), True), ((9, 3), False)):
        packings: list[Any] = []
        packed = compute_states(module, lengths, packed=True)
        padded = compute_states(module, lengths)
        torch.testing.assert_close(packed, padded, rtol=1e-10, atol=1e-10)
        assert bool(packings) is packs


def test_training_packs_every_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tiny_model(torch.float64)
    rows = make_rows(LENGTHS)
    packings: list[Any] = []
    monkeypatch.setattr(
        "etude.training.rows.packing.use_packing",
        lambda packing: packings.append(packing) or use_packing(packing),
    )
    config = TrainConfig(epochs=2, patience=3, rows_per_step=len(rows), rank=2, alpha=4.0)
    train(module, rows, rows, config, Output(tmp_path / "checkpoint", tmp_path / "adapter"))
    trial = 2
    forwards = 1 + 2 * 2
    assert len(packings) == trial + forwards, (
        "one micro-batch for each step and each dev loss, all of them packed"
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_16_bits_pack_as_well(dtype: torch.dtype) -> None:
    module = build_module().to(dtype)
    assert can_pack(module)
    packed = compute_states(module, LENGTHS, packed=True)
    padded = compute_states(module, LENGTHS)
    limit = 3e-2 if dtype == torch.bfloat16 else 1e-5
    assert (packed - padded).norm() <= limit * padded.norm()


def test_a_window_too_narrow_for_the_trial_stops_packing() -> None:
    assert not can_pack(build_module("mistral", sliding_window=4))
    assert can_pack(build_module("mistral", sliding_window=None))


def test_attention_of_another_kind_is_not_packed() -> None:
    assert not can_pack(build_module("gemma2")), "it caps its scores, which the fused kernel cannot"
    module = tiny_model()
    assert can_pack(module)
    module.set_attn_implementation("eager")
    assert not can_pack(module)
