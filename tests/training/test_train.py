"""Training is right: gradients, losses, adapters and continuations against oracles, on a tiny
model.
"""

import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from etude.errors import InputError, ModelError, RunError, TrainingDiverged
from etude.models.local.adapters import apply_adapter, fold_adapter
from etude.task import settings as task_settings
from etude.training import (
    Output,
    TokenRow,
    TrainConfig,
    TrainResult,
    auto_config,
    make_batches,
    train,
)
from etude.training.checkpoints import CHECKPOINT_FILE, open_checkpoint, save_checkpoint
from etude.training.early_stopping import spike_limit
from etude.training.layers.forward import use_training_attention
from etude.training.layers.lora import add_adapters, find_targets, save_adapter
from etude.training.losses import Objective, _SummedLoss, check_head, count_chunk_logits
from etude.training.rows.batches import (
    MICRO_BATCH_COST,
    compute_work,
    split_groups,
    split_micro_batches,
)
from etude.training.step import accumulate_gradients, learning_rate, measure_dev_loss
from processes import kill_when
from tiny import build_module

FOLDERS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
"""Where this module and its helpers are, for processes that import them."""
VOCABULARY = 96
SETTINGS = TrainConfig(rank=4, alpha=8.0)
CONFIG = TrainConfig(
    rank=4, alpha=8.0, learning_rate=1e-2, epochs=2, rows_per_step=4, micro_tokens=40
)
ADAPTER = "adapter_model.safetensors"
# peft 0.21 asks transformers 5.24 for a property under its old name.
peft_warns = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def tiny_model(dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**(shape | settings))).to(dtype).eval()


def token_rows(number: int, seed: int = 0) -> list[TokenRow]:
    """Rows whose answer repeats the question: something to learn."""
    draw = random.Random(seed)
    rows = []
    for i in range(number):
        question = tuple(draw.randrange(3, VOCABULARY) for _ in range(draw.randrange(1, 9)))
        ids = (*question, 1, *question, 2)
        trained = (False,) * (len(question) + 1) + (True,) * (len(question) + 1)
        rows.append(TokenRow(f"{seed}-{i}", ids, trained))
    return rows


def shake_weights(adapters: Sequence[Any]) -> None:
    """Gives B values other than zero, so that A has a gradient too."""
    generator = torch.Generator().manual_seed(1)
    for adapter in adapters:
        adapter.b.data.normal_(std=0.2, generator=generator)


def ignore(news: Mapping[str, Any]) -> None:
    """A log that nobody reads."""


def snapshot(module: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()}


def run(folder: Path, log: Callable[[Mapping[str, Any]], None] = ignore, **changes: Any) -> bytes:
    """One training run in `folder`; the bytes of its adapter."""
    every = changes.pop("every_step", False)
    output = Output(folder / "checkpoint", folder / "adapter", log, every_step=every)
    train(tiny_model(), token_rows(18), token_rows(6, seed=1), replace(CONFIG, **changes), output)
    return (folder / "adapter" / ADAPTER).read_bytes()


# Batches


@given(
    st.integers(1, 20), st.integers(1, 9), st.integers(0, 5), st.integers(1, 5), st.integers(1, 3)
)
@settings(max_examples=30, deadline=None)
def test_an_epoch_holds_every_row_once_in_an_order_fixed_by_seed_and_epoch(
    number: int, size: int, seed: int, epoch: int, together: int
) -> None:
    rows = token_rows(number * together)
    batches = make_batches(rows, size, seed, epoch, together)
    groups_of_epoch = [tuple(group) for batch in batches for group in split_groups(batch, together)]
    assert sorted(groups_of_epoch, key=str) == sorted(
        map(tuple, split_groups(rows, together)), key=str
    )
    assert all(len(batch) == max(1, size // together) * together for batch in batches[:-1])
    assert batches == make_batches(rows, size, seed, epoch, together)


def test_epochs_differ_in_order() -> None:
    rows = token_rows(30)
    assert make_batches(rows, 8, 0, 1) != make_batches(rows, 8, 0, 2)


def cost(micro_batches: Sequence[Sequence[TokenRow]], packed: bool) -> float:
    return sum(
        compute_work(micro_batch, packed) + MICRO_BATCH_COST for micro_batch in micro_batches
    )


def contiguous_splits(groups: Sequence[Sequence[TokenRow]]) -> list[list[list[TokenRow]]]:
    if not groups:
        return [[]]
    return [
        [[row for group in groups[:k] for row in group], *tail]
        for k in range(1, len(groups) + 1)
        for tail in contiguous_splits(groups[k:])
    ]


def longest(rows: Sequence[TokenRow]) -> int:
    return max(len(row.ids) for row in rows)


@given(
    st.lists(st.tuples(st.integers(2, 300), st.integers(2, 300)), min_size=1, max_size=7),
    st.integers(50, 700),
    st.booleans(),
    st.sampled_from([1, 2]),
)
@settings(max_examples=50, deadline=None)
def test_micro_batches_are_the_cheapest_that_fit(
    lengths: list[tuple[int, int]], limit: int, packed: bool, together: int
) -> None:
    groups = [
        [
            TokenRow(f"{i}.{j}", (3,) * n, (False,) + (True,) * (n - 1))
            for j, n in enumerate(pair[:together])
        ]
        for i, pair in enumerate(lengths)
    ]
    micro_batches = split_micro_batches(
        [row for group in groups for row in group], limit, packed, together
    )
    groups_in_order = [
        list(group)
        for micro_batch in micro_batches
        for group in split_groups(micro_batch, together)
    ]
    assert sorted(groups_in_order, key=str) == sorted(groups, key=str), (
        "every row once, and beside its group"
    )

    def fits(split: Sequence[Sequence[TokenRow]]) -> bool:
        return all(
            len(micro_batch) == together or len(micro_batch) * longest(micro_batch) <= limit
            for micro_batch in split
        )

    ordered = sorted(groups, key=longest, reverse=True)
    assert fits(micro_batches)
    lowest = min(cost(split, packed) for split in contiguous_splits(ordered) if fits(split))
    assert cost(micro_batches, packed) == pytest.approx(lowest)


def test_every_bad_row_is_named_at_once(tmp_path: Path) -> None:
    rows = [
        *token_rows(2),
        TokenRow("mute", (5, 6, 7), (True, False, False)),
        TokenRow("long", (5,) * 50, (False,) + (True,) * 49),
        TokenRow("torn", (5, 6), (False,)),
    ]
    config = TrainConfig(max_tokens=40)
    with pytest.raises(InputError) as caught:
        train(tiny_model(), rows, token_rows(2), config, Output(tmp_path, tmp_path))
    assert {fault.location for fault in caught.value.issues} == {"mute", "long", "torn"}
    assert all(fault.remedy for fault in caught.value.issues)
    assert not list(tmp_path.iterdir())


def test_no_rows_is_an_input_error(tmp_path: Path) -> None:
    for rows, dev in (([], token_rows(2)), (token_rows(2), [])):
        with pytest.raises(InputError):
            train(tiny_model(), rows, dev, CONFIG, Output(tmp_path, tmp_path))


# Loss and gradients


def plain_loss(module: Any, rows: Sequence[TokenRow]) -> torch.Tensor:
    """The oracle: row by row, full logits, no padding."""
    total = torch.zeros((), dtype=torch.float64)
    for row in rows:
        logits = module(input_ids=torch.tensor([row.ids])).logits[0, :-1].double()
        losses = nn.functional.cross_entropy(logits, torch.tensor(row.ids[1:]), reduction="none")
        total = total + losses[torch.tensor(row.trained[1:])].sum()
    return total / sum(row.num_trained for row in rows)


@pytest.mark.parametrize(
    ("chunk", "micro_tokens"),
    [(1, 10_000), (7 * VOCABULARY, 10_000), *((2**24, n) for n in (1, 20, 40, 10_000))],
)
def test_the_loss_and_its_gradient_equal_the_plain_ones(
    chunk: int, micro_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etude.training.losses.CHUNK_LOGITS", chunk)
    module = tiny_model(torch.float64)
    rows = token_rows(8)
    with add_adapters(module, SETTINGS) as adapters:
        shake_weights(adapters)
        weights = [weight for adapter in adapters for weight in (adapter.a, adapter.b)]
        expected = plain_loss(module, rows)
        gradients = torch.autograd.grad(expected, weights)
        loss = accumulate_gradients(Objective(module), rows, micro_tokens)
        assert loss == pytest.approx(expected.item(), rel=1e-12)
        for weight, grad in zip(weights, gradients, strict=True):
            torch.testing.assert_close(weight.grad, grad, rtol=1e-10, atol=1e-12)


def test_the_gradient_is_scaled_before_it_is_rounded() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(4, 8).bfloat16().requires_grad_()
    head = torch.randn(20, 8).bfloat16()
    targets = torch.tensor([3, 7, 0, 19])

    def gradient(scale: float) -> torch.Tensor:
        return torch.autograd.grad(_SummedLoss.apply(hidden, head, None, targets) * scale, hidden)[
            0
        ]

    assert gradient(1.0).dtype == torch.bfloat16
    for number in (3, 301, 1_000_003):
        assert torch.equal(gradient(1 / number), (gradient(1.0).float() / number).bfloat16())


def test_a_gpu_is_given_products_that_keep_it_busy() -> None:
    rows = {kind: count_chunk_logits(torch.device(kind)) // 152_000 for kind in ("cpu", "cuda")}
    assert rows["cpu"] < 64 < 256 < rows["cuda"]


def test_dev_loss_is_weighted_by_tokens() -> None:
    module = tiny_model(torch.float64)
    rows = token_rows(9)
    with torch.no_grad():
        expected = float(plain_loss(module, rows))
    assert measure_dev_loss(Objective(module), rows, 40) == pytest.approx(expected, rel=1e-12)


def test_padding_does_not_reach_a_real_token() -> None:
    module = tiny_model(torch.float64)
    short = token_rows(1)[0]
    long = TokenRow("long", (4,) * 40, (False,) + (True,) * 39)
    with torch.no_grad():
        short_loss = Objective(module).compute_loss([short])
        padded_loss = Objective(module).compute_loss([short, long])
        long_loss = Objective(module).compute_loss([long])
    assert float(short_loss + long_loss) == pytest.approx(float(padded_loss), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "changing"),
    [
        ("granite", {"logits_scaling": 8.0}),
        ("gemma2", {"final_logit_softcapping": 30.0}),
        ("gemma2", {"final_logit_softcapping": 3000.0}),
        ("cohere", {"logit_scale": 0.99}),
    ],
)
def test_a_model_that_changes_its_logits_is_refused(
    kind: str, changing: dict[str, float], dtype: torch.dtype
) -> None:
    """However little the logits of a random model show of it."""
    unchanged = dict.fromkeys(changing, None if kind == "gemma2" else 1.0)
    small = {"initializer_range": 0.02}
    check_head(build_module(kind, **small, **unchanged).to(dtype))
    with pytest.raises(ModelError, match=rf"(?i){kind}.* Set model:"):
        check_head(build_module(kind, **small, **changing).to(dtype))


# Adapters


def test_folding_rounds_once() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(24, 32, generator=generator).bfloat16()
    a = torch.randn(4, 32, generator=generator)
    b = torch.randn(24, 4, generator=generator)
    exact = weight.double() + 2.0 * b.bfloat16().double() @ a.bfloat16().double()
    folded = fold_adapter(weight, a, b, 2.0)
    assert folded.dtype == torch.bfloat16
    assert torch.all((folded.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-6)


@pytest.mark.parametrize("fails", [False, True])
def test_the_base_is_as_it_was_afterwards(fails: bool) -> None:
    module = tiny_model()
    module.lm_head.weight.requires_grad_(False)
    module.model.layers[0].train()
    layers = dict(module.named_modules())
    flags = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    modes = {name: layer.training for name, layer in layers.items()}
    weights = snapshot(module)
    try:
        with add_adapters(module, SETTINGS) as adapters:
            shake_weights(adapters)
            accumulate_gradients(Objective(module.train()), token_rows(4), 100)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    after = dict(module.named_modules())
    assert after.keys() == layers.keys()
    assert all(after[name] is layer for name, layer in layers.items())
    assert {name: parameter.requires_grad for name, parameter in module.named_parameters()} == flags
    assert {name: layer.training for name, layer in after.items()} == modes
    assert snapshot(module) == weights
    assert all(parameter.grad is None for parameter in module.parameters())


def test_targets_choose_layers_and_unknown_ones_are_named() -> None:
    module = tiny_model()
    with add_adapters(module, replace(SETTINGS, targets=("q_proj", "down_proj"))) as adapters:
        assert {adapter.name.split(".")[-1] for adapter in adapters} == {"q_proj", "down_proj"}
    with pytest.raises(ModelError, match=r"qq_proj.*q_proj"):
        find_targets(module, ("qq_proj",))
    assert not any(name.endswith("lm_head") for name, _ in find_targets(module, ()))


def peft_model(folder: Path, trainable: bool = False) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(tiny_model(), folder, is_trainable=trainable)


@peft_warns
def test_peft_reads_our_adapter_with_equal_logits_and_gradients(tmp_path: Path) -> None:
    module = tiny_model()
    rows = token_rows(6)
    ids = torch.arange(3, 40)[None]
    with add_adapters(module, TrainConfig(rank=4, alpha=8.0)) as adapters:
        shake_weights(adapters)
        save_adapter(adapters, tmp_path)
        with torch.no_grad():
            ours = module(input_ids=ids).logits
        accumulate_gradients(Objective(module), rows, 10_000)
    theirs = peft_model(tmp_path, trainable=True)
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=ids).logits, ours, rtol=1e-5, atol=1e-5)
    plain_loss(theirs, rows).backward()
    parameters = dict(theirs.named_parameters())
    for adapter in adapters:
        for side, weight in (("A", adapter.a), ("B", adapter.b)):
            grad = parameters[f"base_model.model.{adapter.name}.lora_{side}.default.weight"].grad
            assert grad is not None
            assert torch.linalg.vector_norm(weight.grad - grad) <= 1e-5 * torch.linalg.vector_norm(
                grad
            )


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with add_adapters(tiny_model(), replace(SETTINGS, seed=3)) as adapters:
            save_adapter(adapters, tmp_path / name, "base")
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    ]
    assert files[0] == files[1]
    assert set(files[0]) == {"adapter_config.json", ADAPTER}


def test_dropout_takes_the_unfolded_path_with_the_same_answers_in_eval_mode() -> None:
    module = tiny_model(torch.float64)
    ids = torch.arange(3, 40)[None]
    with (
        add_adapters(module, TrainConfig(rank=4, alpha=8.0, dropout=0.5)) as adapters,
        torch.no_grad(),
    ):
        shake_weights(adapters)
        answers = module.eval()(input_ids=ids).logits
        module.train()
        assert not torch.equal(module(input_ids=ids).logits, module(input_ids=ids).logits)
        module.eval()
    with add_adapters(module, SETTINGS) as adapters, torch.no_grad():
        shake_weights(adapters)
        torch.testing.assert_close(module(input_ids=ids).logits, answers)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("limit", [0, 256])
def test_attention_of_short_rows_equals_the_fused_kernel(
    heads: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etude.training.layers.forward.MAX_PLAIN_TOKENS", limit)
    module = tiny_model(torch.float64, num_key_value_heads=heads)
    ids = torch.arange(3, 40).view(1, -1)
    ids = torch.cat([ids, ids.flip(-1)])

    def outcome(attention: Any) -> tuple[torch.Tensor, ...]:
        with attention, add_adapters(module, SETTINGS) as adapters:
            shake_weights(adapters)
            output = module(input_ids=ids).logits
            output.pow(2).sum().backward()
            return output, *(
                parameter.grad for adapter in adapters for parameter in (adapter.a, adapter.b)
            )

    for ours, theirs in zip(
        outcome(use_training_attention(module)), outcome(nullcontext()), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert module.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_trained_model_answers_as_it_was_trained(tmp_path: Path, dtype: torch.dtype) -> None:
    """The adapter folded in training and the one laid over the base for answering are the same
    weights.
    """
    module = tiny_model(dtype)
    ids = torch.arange(3, 40)[None]
    with add_adapters(module, SETTINGS) as adapters, torch.no_grad():
        shake_weights(adapters)
        save_adapter(adapters, tmp_path)
        trained = module(input_ids=ids).logits.float()
    answered = apply_adapter(module, tmp_path)(input_ids=ids).logits.float()
    error = torch.linalg.vector_norm(answered - trained) / torch.linalg.vector_norm(trained)
    assert error <= (1e-6 if dtype == torch.float32 else 2e-2)


# The loop


def test_training_learns_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    module = tiny_model()
    rows = token_rows(18)
    news = list[Mapping[str, Any]]()
    config = TrainConfig(
        rank=4, alpha=8.0, learning_rate=3e-2, epochs=8, rows_per_step=4, patience=8
    )
    weights = snapshot(module)
    result = train(module, rows, rows, config, Output(tmp_path / "c", tmp_path / "a", news.append))
    assert snapshot(module) == weights
    assert min(result.dev_losses) < 0.8 * result.dev_losses[0]
    assert result.best_epoch == result.dev_losses.index(min(result.dev_losses))
    assert (result.steps, result.rows) == (40, 144)
    assert result.tokens == 8 * sum(len(row.ids) for row in rows)
    assert [line["step"] for line in news if "step" in line] == list(range(1, 41))
    assert json.loads(json.dumps(news)) == news
    tuned = apply_adapter(module, tmp_path / "a")
    assert measure_dev_loss(Objective(tuned), rows, 1000) == pytest.approx(
        min(result.dev_losses), rel=1e-6
    )


def test_a_run_that_makes_it_worse_keeps_the_base_and_says_so_at_once(tmp_path: Path) -> None:
    """Every trained row answers with one token, every dev row with another."""

    def answering(token: int) -> list[TokenRow]:
        return [TokenRow(str(n), (n, 1, token), (False, False, True)) for n in range(3, 15)]

    config = TrainConfig(rank=4, learning_rate=0.1, epochs=5, rows_per_step=4, patience=2)
    module = tiny_model()
    news = list[Mapping[str, Any]]()
    rows = answering(50)
    dev = answering(60)
    result = train(module, rows, dev, config, Output(tmp_path / "c", tmp_path / "a", news.append))
    index = next(
        index for index, line in enumerate(news) if line.get("epoch") == 1 and "dev_loss" in line
    )
    assert "learning_rate: 0.05" in news[index + 1]["warning"]
    assert result.best_epoch == 0
    assert len(result.dev_losses) == 3, "two epochs without a better loss are enough"
    ids = torch.arange(3, 20)[None]
    before = module(input_ids=ids).logits
    tuned = apply_adapter(module, tmp_path / "a")
    assert torch.equal(tuned(input_ids=ids).logits, before)


def test_of_epochs_with_equal_scores_the_one_of_the_lowest_loss_is_kept(tmp_path: Path) -> None:
    score = 0.5
    output = Output(tmp_path / "c", tmp_path / "a", on_eval=lambda: {"score": score})
    config = replace(CONFIG, epochs=4, patience=2)
    result = train(tiny_model(), token_rows(18), token_rows(18), config, output)
    assert len(result.dev_losses) == 5, "a better loss is something better"
    assert result.best_epoch == result.dev_losses.index(min(result.dev_losses)) > 0
    assert result.scores == [score] * 5


def test_the_flat_script_reaches_the_same_losses(tmp_path: Path) -> None:
    seed = 3
    news: list[Mapping[str, Any]] = []
    run(tmp_path, news.append, seed=seed, epochs=3, patience=9)
    plain = [
        [(list(row.ids), list(row.trained)) for row in token_rows(*which)]
        for which in ((18,), (6, 1))
    ]
    script = run_path(str(Path(__file__).parents[2] / "examples" / "flat_training.py"))
    settings = {
        "rank": 4,
        "alpha": 8.0,
        "highest": 1e-2,
        "epochs": 3,
        "rows_per_step": 4,
        "seed": seed,
    }
    figures = list(script["train"](tiny_model(), *plain, **settings))
    for key, limit in (("loss", 2e-4), ("dev_loss", 2e-4)):
        ours = [line[key] for line in news if key in line and line.get("epoch", 1) > 0]
        theirs = [line[key] for line in figures if key in line]
        assert len(theirs) >= 3
        assert theirs == pytest.approx(ours, rel=limit)


def test_on_eval_sees_the_adapted_model_and_joins_the_news(tmp_path: Path) -> None:
    module = tiny_model()
    news = list[Mapping[str, Any]]()
    calls = list[bool]()

    def on_eval() -> dict[str, Any]:
        calls.append(module.training)
        return {"right": len(calls)}

    output = Output(tmp_path / "c", tmp_path / "a", news.append, on_eval)
    train(module, token_rows(8), token_rows(4), CONFIG, output)
    assert [line["right"] for line in news if "dev_loss" in line] == [1, 2, 3]
    assert not any(calls)


def test_a_loss_that_is_no_number_names_the_rows(tmp_path: Path) -> None:
    module = tiny_model()
    module.model.embed_tokens.weight.data[95] = float("nan")
    rows = [*token_rows(3), TokenRow("poisoned", (95, 4, 5), (False, True, True))]
    clean = [row for row in token_rows(20, seed=2) if 95 not in row.ids]
    with pytest.raises(ModelError, match="poisoned"):
        train(module, rows, clean, CONFIG, Output(tmp_path / "c", tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_a_dev_loss_that_is_no_number_names_its_rows_and_the_remedy_of_its_epoch(
    tmp_path: Path,
) -> None:
    module = tiny_model()
    dev = [
        *token_rows(4, seed=1),
        *(TokenRow(f"bad {n}", (95, 4, 5), (False, True, True)) for n in range(7)),
    ]
    clean = [row for row in token_rows(20, seed=2) if 95 not in row.ids]
    output = Output(tmp_path / "c", tmp_path / "a")
    module.model.embed_tokens.weight.data[95] = float("nan")
    with pytest.raises(
        TrainingDiverged, match=r"epoch 0 is nan.*: bad 0, .*bad 4 and 2 more\. .*not trained yet"
    ):
        train(module, clean, dev, CONFIG, output)
    module.model.norm.weight.data[0] = float("nan")
    with pytest.raises(TrainingDiverged, match=r"epoch 0.*weights are damaged"):
        train(module, clean, dev, CONFIG, output)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_stops_the_run_with_what_was_learned_before(
    tmp_path: Path, score: float
) -> None:
    scores = iter([0.1, 0.2, score])
    output = Output(tmp_path / "c", tmp_path / "a", on_eval=lambda: {"score": next(scores)})
    with pytest.raises(
        TrainingDiverged, match=rf"score of epoch 2 on dev is {score}.*weights of epoch 1"
    ):
        train(tiny_model(), token_rows(8), token_rows(4), CONFIG, output)
    assert (tmp_path / "a" / ADAPTER).exists()


def test_the_caller_keeps_its_random_state_and_no_other_gpu_is_seeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    expected = run(tmp_path / "one", dropout=0.1, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    seeded: list[int] = []
    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(f"torch.cuda.{name}", seeded.append)
    assert run(tmp_path / "two", dropout=0.1, epochs=1) == expected
    assert seeded == [0], "for the random weights of the model, and by no step"


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    config = TrainConfig(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(config, step, 100) for step in range(101)]
    peak = rates.index(max(rates))
    assert max(rates) == 1.0
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[0] < 0.2
    assert rates[100] == pytest.approx(0, abs=1e-12)


def one_answer_rows(num: int) -> list[TokenRow]:
    """Rows with many questions and one answer, which is soon learned."""
    draw = random.Random(5)
    trained = (False,) * 7 + (True,) * 4
    questions = [draw.choices(range(3, 20), k=6) for _ in range(num)]
    return [
        TokenRow(str(n), (*asked, 1, 21, 22, 23, 2), trained) for n, asked in enumerate(questions)
    ]


@pytest.mark.real
def test_a_row_unlike_all_others_stops_no_run(tmp_path: Path) -> None:
    draw = random.Random(5)
    rows = one_answer_rows(80)
    news = list[Mapping[str, Any]]()
    poison = TokenRow("poison", (1, *draw.choices(range(30, 90), k=60)), (False,) + (True,) * 60)
    config = replace(CONFIG, epochs=3, micro_tokens=400)
    train(
        tiny_model(),
        [*rows, poison],
        rows[:6],
        config,
        Output(tmp_path / "c", tmp_path / "a", news.append),
    )
    losses = [line["loss"] for line in news if "step" in line]
    assert max(losses[30:]) > spike_limit(losses[20:30], news[0]["dev_loss"])
    assert news[-1]["epoch"] == 3


def shaken_run(folder: Path, *, shaken: bool = False, stop_on_spike: bool = True) -> bytes:
    """A run whose weights are damaged after step 25, in the second of three epochs."""
    module = tiny_model()
    rows = one_answer_rows(80)

    def log(line: Mapping[str, Any]) -> None:
        if shaken and line.get("step") == 25:
            for weight in module.parameters():
                if weight.requires_grad:
                    weight.data.mul_(-30)

    config = replace(CONFIG, epochs=3, micro_tokens=400, stop_on_spike=stop_on_spike)
    train(module, rows, rows[:6], config, Output(folder / "checkpoint", folder / "adapter", log))
    return (folder / "adapter" / ADAPTER).read_bytes()


def test_losses_that_rise_and_stay_high_leave_the_best_epoch_and_the_run_goes_on_without_the_rule(
    tmp_path: Path,
) -> None:
    from safetensors.torch import load_file

    message = (
        r"stopped at step (2[6-9]|3\d): .*the best weights so far had .*stop_on_spike: false.*"
        r"weights of epoch 1, the best epoch so far, are in .*adapter\.$"
    )
    with pytest.raises(TrainingDiverged, match=message):
        shaken_run(tmp_path / "cut", shaken=True)
    checkpoint = load_checkpoint(tmp_path / "cut" / "checkpoint")
    adapter = load_file(tmp_path / "cut" / "adapter" / ADAPTER).values()
    weights = [checkpoint[0]["best"], torch.cat([tensor.flatten() for tensor in adapter])]
    assert torch.equal(*(tensor.sort().values for tensor in weights))
    whole = shaken_run(tmp_path / "whole")
    assert checkpoint[1]["progress"]["steps"] < 25, "the last checkpoint is older than the damage"
    assert shaken_run(tmp_path / "cut", stop_on_spike=False) == whole


def continue_rows(module: Any, lengths: Sequence[int], *, likely: bool) -> list[TokenRow]:
    """Rows of four random tokens, and answers of the model's likeliest or least likely tokens."""
    draw = random.Random(1)
    rows = []
    for number, length in enumerate(lengths):
        ids = [draw.randrange(3, VOCABULARY) for _ in range(4)]
        for _ in range(length):
            logits = module(input_ids=torch.tensor([ids])).logits[0, -1]
            ids.append(int(logits.argmax() if likely else logits.argmin()))
        rows.append(TokenRow(f"{likely} {number}", tuple(ids), (False,) * 4 + (True,) * length))
    return rows


def test_a_learning_rate_a_hundred_times_too_high_stops_the_run(tmp_path: Path) -> None:
    module = tiny_model()
    module.lm_head.weight.data.mul_(6)  # a model that is sure of its answers
    rows = continue_rows(module, [6] * 40, likely=True)
    config = replace(CONFIG, learning_rate=1.0, epochs=4)
    message = (
        r"stopped at step ([4-9]|[12]\d): the loss rose and stayed high for 4 steps.*the "
        r"untrained model"
    )
    with pytest.raises(TrainingDiverged, match=message):
        train(module, rows, rows[:6], config, Output(tmp_path / "c", tmp_path / "a"))


def test_short_and_long_answers_by_halves_stop_no_run(tmp_path: Path) -> None:
    """The untrained model finds the short answers hard and the long ones easy."""
    module = tiny_model()
    hard, easy = (
        continue_rows(module, [length] * 20, likely=likely)
        for length, likely in ((1, False), (24, True))
    )
    rows = [row for pair in zip(easy, hard, strict=True) for row in pair]
    news: list[Mapping[str, Any]] = []
    config = replace(CONFIG, rows_per_step=2, learning_rate=1e-3, micro_tokens=400)
    result = train(module, rows, rows, config, Output(tmp_path / "c", tmp_path / "a", news.append))
    early = [line["loss"] for line in news if "step" in line][:8]
    assert max(early) > spike_limit([], result.dev_losses[0]), (
        "some batches have short answers alone"
    )
    assert result.steps == 40


# Continuing after a kill


def load_checkpoint(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """All tensors and the facts of a checkpoint; None if there is none."""
    with open_checkpoint(folder) as checkpoint:
        if checkpoint is None:
            return None
        names = checkpoint.file.keys()
        tensors = {name: checkpoint.file.get_tensor(name) for name in names}
        return tensors, checkpoint.facts


class StopError(Exception):
    """Stands for a kill at a step."""


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The adapter of a run that nothing interrupts."""
    return run(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("steps", "dropout"),
    [((1,), 0.1), ((5, 5, 6, 9), 0.1), ((4, 5), 0.0), ((10,), 0.0), ((0,), 0.0)],
)
def test_an_interrupted_run_ends_with_the_same_bytes(
    tmp_path: Path, adapter: bytes, steps: tuple[int, ...], dropout: float
) -> None:
    """CONFIG has 5 steps an epoch; 0 stops at the first dev loss. Every second stop lost its last
    steps.
    """
    expected = run(tmp_path / "whole", dropout=dropout) if dropout else adapter
    for number, stop in enumerate(steps):

        def log(news: Mapping[str, Any], stop: int = stop) -> None:
            if news.get("step", 0) == stop:
                raise StopError

        with pytest.raises(StopError):
            run(tmp_path / "cut", log, dropout=dropout, every_step=number % 2 == 0)
    assert run(tmp_path / "cut", dropout=dropout) == expected


def test_a_run_in_16_bits_with_scores_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Scores stand in the checkpoint: by them epoch 2 is the best, before and after the stop."""

    def taught(folder: Path, stop: int = 0) -> TrainResult:
        scores = {0: 0.2, 1: 0.1, 2: 0.3, 3: 0.3}

        def log(news: Mapping[str, Any]) -> None:
            if stop and news.get("step") == stop:
                raise StopError

        def on_eval() -> dict[str, Any]:
            checkpoint = load_checkpoint(folder / "checkpoint")
            return {"score": scores[checkpoint[1]["progress"]["epoch"] + 1 if checkpoint else 0]}

        output = Output(folder / "checkpoint", folder / "adapter", log, on_eval, every_step=True)
        config = replace(CONFIG, epochs=3, learning_rate=3e-2)
        return train(
            tiny_model(torch.bfloat16), token_rows(18), token_rows(6, seed=1), config, output
        )

    uninterrupted = taught(tmp_path / "whole")
    for stop in (3, 5, 14):
        with pytest.raises(StopError):
            taught(tmp_path / "cut", stop)
    again = taught(tmp_path / "cut")
    for name in ("scores", "dev_losses", "best_epoch"):
        assert getattr(again, name) == getattr(uninterrupted, name)
    assert uninterrupted.best_epoch in (2, 3)
    files = [tmp_path / name / "adapter" / ADAPTER for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_finished_run_is_not_trained_again_and_another_one_is_refused(tmp_path: Path) -> None:
    expected = run(tmp_path)
    news: list[Mapping[str, Any]] = []
    assert run(tmp_path, news.append) == expected
    assert news == [{"resumed_at_step": 10}]
    with pytest.raises(RunError, match="Remove the folder"):
        run(tmp_path, learning_rate=2e-2)
    assert run(tmp_path, stop_on_spike=False) == expected, "it changes no weight"


def kill_at_step(test: str, call: str, folder: Path, step: int) -> int:
    """Kills a call of a test module that trains in a folder, once it has a checkpoint of a step;
    that checkpoint's.
    """
    script = (
        "import os, sys, time; from pathlib import Path; sys.path[:0] = "
        "sys.argv[1].split(os.pathsep)\n"
        f"import {test} as t\n"
        f"t.{call}"
    )
    command = [sys.executable, "-c", script, os.pathsep.join(FOLDERS), str(folder)]

    def count_steps() -> int:
        checkpoint = load_checkpoint(folder / "checkpoint")
        return int(checkpoint[1]["progress"]["steps"]) if checkpoint else 0

    process = subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    )
    kill_when(process, lambda: count_steps() >= step, 60)
    return count_steps()


@pytest.mark.real
def test_a_killed_process_goes_on_to_the_same_bytes(tmp_path: Path, adapter: bytes) -> None:
    call = "run(Path(sys.argv[2]), lambda news: time.sleep(0.12), every_step=True)"
    assert 3 <= kill_at_step("test_train", call, tmp_path / "cut", 3) < 10
    assert run(tmp_path / "cut") == adapter


def test_an_unreadable_checkpoint_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / CHECKPOINT_FILE).write_bytes(b"half")
    with pytest.raises(RunError, match="not a readable checkpoint"):
        run(tmp_path)


@pytest.mark.skipif(
    sys.platform == "win32", reason="no limits on file sizes here; to run: use a POSIX system"
)
def test_a_full_disk_loses_the_new_checkpoint_only(tmp_path: Path) -> None:
    import resource

    save_checkpoint(tmp_path, {"weights": torch.ones(10)}, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            save_checkpoint(tmp_path, {"weights": torch.ones(10_000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint[1] == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]


@pytest.mark.skipif(
    sys.platform == "win32", reason="no limits on file sizes here; to run: use a POSIX system"
)
def test_training_and_its_log_go_on_over_a_full_disk(tmp_path: Path, adapter: bytes) -> None:
    """From step 3 to step 7 neither the log nor a checkpoint can be written."""
    import resource

    from etude.base.files import read_lines
    from etude.runs.events import Event, NoteEvent
    from etude.runs.training_log import TrainingLog

    messages: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, NoteEvent):
            messages.append(event.text)

    lines: list[Mapping[str, Any]] = []
    log_file = tmp_path / "train.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    keep = TrainingLog("own", log_file, hear)

    def log(news: Mapping[str, Any]) -> None:
        lines.append(news)
        if news.get("step") == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (log_file.stat().st_size + 9, before[1]))
        if news.get("step") == 7:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        keep({**news, "steps": 10} if "step" in news else news)

    try:
        assert run(tmp_path / "full", log, every_step=True) == adapter
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sum("train.jsonl cannot be written" in text for text in messages) == 1
    assert sum("checkpoint of step" in text for text in messages) == 1, (
        "the first that fails in a row"
    )
    written = list(read_lines(log_file))
    assert [line["step"] for line in written if "step" in line] == list(range(1, 11))
    assert len(written) == len(lines)


def test_checkpoints_that_take_long_are_written_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def slow(folder: Path, tensors: object, facts: Mapping[str, Any]) -> None:
        steps.append(facts["progress"]["steps"])
        time.sleep(0.1)

    monkeypatch.setattr("etude.training.checkpoints.save_checkpoint", slow)
    run(tmp_path)
    assert steps == [0, 5, 10], "after each epoch alone"


def test_an_adapter_that_cannot_be_written_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "adapter").write_text("a file in the way")
    with pytest.raises(RunError, match="cannot be written"):
        run(tmp_path)


# Settings


@given(rows=st.integers(1, 200_000), parameters=st.integers(10**6, 10**10))
@settings(max_examples=50, deadline=None)
def test_automatic_settings_have_reasons_and_are_sane(rows: int, parameters: int) -> None:
    config = auto_config(rows, parameters)
    assert set(config.reasons) == {"rank", "alpha", "learning_rate", "epochs", "rows_per_step"}
    assert all(reason for reason in config.reasons.values())
    assert 4 <= config.rank <= 64
    assert 1e-5 <= config.learning_rate <= 5e-3
    assert 1 <= config.epochs <= 10
    assert 1 <= config.rows_per_step <= 64


@given(rank=st.integers(1, 512))
def test_the_automatic_scale_is_the_same_at_every_rank(rank: int) -> None:
    """The learning rate was measured at a scale of 2."""
    config = auto_config(500, 135_000_000, {"rank": rank})
    assert config.scale == pytest.approx(2)


@pytest.mark.parametrize(
    ("rows", "epochs", "why"),
    [
        (10, 5, "more than 5"),
        (1200, 4, "500 steps are enough"),
        (9000, 2, "at least 2 epochs run"),
        (30_000, 1, "1,500"),
    ],
)
def test_the_bound_that_held_is_named(rows: int, epochs: int, why: str) -> None:
    config = auto_config(rows, 135_000_000)
    assert config.epochs == epochs
    assert why in config.reasons["epochs"]


def test_settings_of_the_user_win_and_are_said() -> None:
    config = auto_config(
        500, 135_000_000, {"rank": 4, "learning_rate": "3e-4", "targets": ["q_proj"]}
    )
    assert (config.rank, config.alpha, config.learning_rate) == (4, 8.0, 3e-4)
    assert config.targets == ("q_proj",)
    assert config.reasons["rank"] == config.reasons["targets"] == "set by the user"


def test_wrong_settings_are_refused_all_at_once() -> None:
    wrong = {
        "rnak": 4,
        "epochs": 0,
        "dropout": 1.5,
        "seed": "one",
        "stop_on_spike": 1,
        "targets": "q",
    }
    with pytest.raises(InputError) as caught:
        auto_config(500, 135_000_000, wrong)
    assert len(caught.value.issues) == len(wrong)
    assert "rank" in caught.value.issues[0].remedy


@pytest.mark.parametrize(
    "wrong", [{"seed": 2**50}, {"rank": math.inf}, {"alpha": math.nan}, {"epochs": 1.5}]
)
def test_a_number_that_no_run_could_use_is_refused_where_it_is_set(wrong: dict[str, Any]) -> None:
    for refused in (lambda: TrainConfig(**wrong), lambda: auto_config(500, 135_000_000, wrong)):
        with pytest.raises(InputError, match=f"train: {next(iter(wrong))}: must be"):
            refused()


def test_every_setting_has_a_rule_that_takes_its_default() -> None:
    assert list(TrainConfig().to_dict()) == list(task_settings.SETTINGS)
    assert TrainConfig(alpha=8, targets=["q_proj"]) == TrainConfig(alpha=8.0, targets=("q_proj",))  # type: ignore[arg-type]


def greeting_rows(model: Any, numbers: range) -> list[TokenRow]:
    """Rows of one form, as the real model reads them."""
    from etude.render import render_training
    from etude.types import Message

    rows = []
    for number in numbers:
        answer = f"Order {number}: received.\nNext: we reply in {number % 5 + 1} days."
        chat = (Message("user", f"Where is order {number}?"), Message("assistant", answer))
        ((ids, trained),) = render_training(model.tokenizer, chat)
        rows.append(TokenRow(str(number), tuple(ids), tuple(trained)))
    return rows


@pytest.mark.real
def test_the_real_model_stops_at_a_hundred_times_its_learning_rate(tmp_path: Path) -> None:
    from etude.models.registry import Models
    from etude.types import ModelRef

    model = Models().get_trainable(ModelRef("smollm2-135m-instruct"))
    rows = greeting_rows(model, range(100, 140))
    dev = greeting_rows(model, range(500, 510))
    config = auto_config(40, 135_000_000)
    config = replace(config, learning_rate=100 * config.learning_rate)
    with pytest.raises(
        TrainingDiverged, match=r"stopped at step \d+: the loss rose and stayed high"
    ):
        train(model.module, rows, dev, config, Output(tmp_path / "c", tmp_path / "a"))


@pytest.mark.real
def test_the_real_model_learns_from_a_few_rows(tmp_path: Path) -> None:
    """Forty rows of one form, two epochs: the loss on unseen rows of that form falls by over a
    third.
    """
    from etude.models.registry import Models
    from etude.types import ModelRef

    model = Models().get_trainable(ModelRef("smollm2-135m-instruct"))
    rows = greeting_rows(model, range(100, 140))
    dev = greeting_rows(model, range(500, 510))
    weights = {
        name: hash(tensor.float().sum().item())
        for name, tensor in model.module.state_dict().items()
    }
    config = auto_config(40, 135_000_000, {"epochs": 2})
    result = train(model.module, rows, dev, config, Output(tmp_path / "c", tmp_path / "a"))
    assert min(result.dev_losses) < 0.66 * result.dev_losses[0]
    assert {
        n: hash(t.float().sum().item()) for n, t in model.module.state_dict().items()
    } == weights
    tuned = apply_adapter(model.module, tmp_path / "a")
    assert measure_dev_loss(Objective(tuned), dev, 2048) == pytest.approx(
        min(result.dev_losses), rel=0.005
    ), "attention rounds differently"


def test_a_training_that_is_stopped_measures_dev_and_keeps_the_best_weights(tmp_path: Path) -> None:
    news: list[Mapping[str, Any]] = []
    config = TrainConfig(rank=4, learning_rate=3e-2, epochs=8, rows_per_step=4, patience=8)
    in_second_epoch = Output(
        tmp_path / "c", tmp_path / "a", news.append, is_stopped=lambda: len(news) > 7
    )
    result = train(tiny_model(), token_rows(18), token_rows(4), config, in_second_epoch)
    assert 5 < result.steps < 10
    assert len(result.dev_losses) == 3, "the part of the epoch is measured, too"
    assert (result.num_trained, result.best_epoch > 0) == (18, True)
    assert (tmp_path / "a" / "adapter_model.safetensors").exists()
