"""Bases in 8 and 4 bits: how far the weights move, that training over them is training over their
values.
"""

from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from etude.errors import InputError
from etude.export.targets import export_weights
from etude.models.local.adapters import apply_adapter
from etude.models.local.quantized import GROUP, NF4, QuantizedLinear, quantize_layers
from etude.models.registry import Models
from etude.models.weights import Bits, find_hub_id, find_weights, identify_weights, split_bits
from etude.runs.recommended import load
from etude.task import load_task
from etude.training.config import TrainConfig
from etude.training.layers.lora import add_adapters, save_adapter
from etude.tuning import train
from etude.types import Message, ModelRef, Request
from small_task import write_task
from tiny import build_module, save_tiny_model

BITS: tuple[Bits, ...] = get_args(Bits)


def build_layer(inputs: int = 128, outputs: int = 24, spread: float = 0.02) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=True)
    nn.init.normal_(layer.weight, std=spread)
    return layer.requires_grad_(False)


@pytest.mark.parametrize("bits", BITS)
@given(
    inputs=st.sampled_from([2, 48, 64, 128, 192]),
    spread=st.floats(1e-6, 1e3),
    seed=st.integers(0, 99),
)
def test_no_weight_moves_further_than_half_a_step(
    bits: Bits, inputs: int, spread: float, seed: int
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = build_layer(inputs, spread=spread)
    weight = layer.weight.clone()
    moved = (QuantizedLinear(layer, bits).weight - weight).abs()
    largest = (
        weight.view(len(weight), -1, torch.gcd(torch.tensor(GROUP), torch.tensor(inputs)))
        .abs()
        .amax(-1)
    )
    width = largest.repeat_interleave(inputs // largest.shape[1], 1)
    steps = torch.tensor(NF4)
    half = 1 / 254 if bits == "8bit" else float((steps[1:] - steps[:-1]).max()) / 2
    assert bool((moved <= half * width * 1.001 + 1e-12).all())


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_training_over_few_bits_is_training_over_their_values(bits: Bits, dropout: float) -> None:
    """An adapter over the packed layer has the output and the gradients of one over a plain layer
    of its values.
    """
    config = TrainConfig(rank=4, dropout=dropout)
    x = torch.randn(5, 48)
    results = []
    for is_packed in (True, False):
        module = build_module()
        quantize_layers(module, bits)
        for name, layer in list(module.named_modules()):
            if isinstance(layer, QuantizedLinear) and not is_packed:
                plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
                plain.weight = nn.Parameter(layer.weight)
                plain.bias = layer.bias
                module.set_submodule(name, plain.requires_grad_(False))
        with add_adapters(module, config) as adapters:
            adapter = adapters[0].train()
            adapter.b.data.fill_(0.01)
            leaf = x.clone().requires_grad_()
            with torch.random.fork_rng():
                torch.manual_seed(1)
                output = adapter(leaf)
                (output**2).sum().backward()
            results.append((output.detach(), leaf.grad, adapter.a.grad, adapter.b.grad))
    for packed, plain_result in zip(*results, strict=True):
        torch.testing.assert_close(packed, plain_result)


@pytest.mark.parametrize("bits", BITS)
def test_the_packed_layers_are_small_and_the_head_stays(bits: Bits) -> None:
    module = build_module(hidden_size=128, intermediate_size=256, num_attention_heads=16)
    before = sum(p.nbytes for name, p in module.named_parameters() if "embed" not in name)
    head = module.get_output_embeddings().weight
    quantize_layers(module, bits)
    packed = sum(
        b.nbytes for name, b in module.named_buffers() if "packed" in name or "scale" in name
    )
    assert packed < before * (0.3 if bits == "8bit" else 0.17)
    assert module.get_output_embeddings().weight is head
    assert not [name for name, _ in module.named_parameters() if "proj" in name]


def test_an_adapter_over_few_bits_answers_as_it_was_trained(tmp_path: Path) -> None:
    module = build_module()
    quantize_layers(module, "4bit")
    ids = torch.arange(12)[None]
    with add_adapters(module, TrainConfig(rank=4)) as adapters:
        for adapter in adapters:
            adapter.b.data.normal_(std=0.1)
        trained = module(ids).logits
        save_adapter(adapters, tmp_path)
    plain = module(ids).logits
    assert torch.equal(apply_adapter(module, tmp_path)(ids).logits, trained)
    assert torch.equal(module(ids).logits, plain), "the base has not changed"


def test_a_name_with_bits_is_the_same_weights() -> None:
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert split_bits(f"{name}:4bit") == (name, "4bit")
    assert split_bits("model:latest") == ("model:latest", None)
    assert find_hub_id("smollm2-135m-instruct:8bit") == find_hub_id("smollm2-135m-instruct")


def test_bits_are_an_input_of_the_run(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    full, few = (identify_weights(name, tmp_path) for name in (str(model), f"{model}:4bit"))
    assert few == [*full, "4bit"]  # type: ignore[misc]


def test_what_few_bits_exclude_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4bit cannot be used with"):
        load_task(write_task(tmp_path, more="weights: 4bit\nengine: llama_cpp\n"))


@pytest.mark.real
@pytest.mark.parametrize("bits", BITS)
def test_a_tuned_model_of_few_bits_is_trained_saved_loaded_and_exported(
    bits: Bits, tmp_path: Path
) -> None:
    model = save_tiny_model(tmp_path / "model", max_position_embeddings=1024)
    more = (
        "methods: [fine_tune]\n"
        "max_tokens: 8\n"
        "train: {max_rows: 32, epochs: 2}\n"
        f"weights: {bits}\n"
    )
    run = train(write_task(tmp_path / "task", "classify", str(model), 150, more)).run
    assistant = load(run.folder)
    assert assistant.model.name == f"{model}:{bits}"
    request = Request((Message("user", "hello"),), 4)
    [few] = Models().get(assistant.model).generate([request])
    export_weights(assistant, "merged", tmp_path / "merged")
    [full] = Models().get(ModelRef(str(tmp_path / "merged"))).generate([request])
    assert few.answer_tokens
    assert full.answer_tokens


def test_a_hub_id_may_name_a_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def download(repo: str, revision: str | None = None, **options: object) -> str:
        asked.append((repo, revision))
        return str(save_tiny_model(tmp_path))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_weights("some/model@v1.0:4bit") == tmp_path
    assert find_weights("some/model") == tmp_path
    assert asked == [("some/model", "v1.0"), ("some/model", None)]
    assert find_hub_id("some/model@v1.0") == "some/model"
    assert identify_weights("some/model@v1.0", tmp_path) == "some/model@v1.0"
