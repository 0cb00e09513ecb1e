"""Adapters in the top layers alone: which layers, in which format, and what is not computed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import peft_warns, shake_weights, tiny_model, token_rows
from torch import nn

from etude.errors import InputError, ModelError
from etude.models.local.adapters import apply_adapter
from etude.training import TrainConfig
from etude.training.distributed.placement import Placement
from etude.training.layers.lora import (
    add_adapters,
    build_layer_filter,
    find_decoder_layers,
    parse_layer,
    save_adapter,
)
from etude.training.step import accumulate_gradients
from tiny import build_module

LAYERS = 4
FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "phi3", "olmo2", "mistral")


def top(number: int) -> TrainConfig:
    return TrainConfig(rank=4, alpha=8.0, lora_layers=f"top-{number}")


def deep_model(**changes: Any) -> Any:
    return tiny_model(num_hidden_layers=LAYERS, **changes)


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_layers_of_every_family_are_found(kind: str) -> None:
    module = build_module(kind)
    path, layers = find_decoder_layers(module)
    assert len(layers) == 3
    assert module.get_submodule(path) is layers
    with add_adapters(module, top(2)) as adapters:
        assert {parse_layer(adapter.name) for adapter in adapters} == {("layers", 1), ("layers", 2)}


def test_layers_that_stand_under_another_name_are_found() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    assert (
        find_decoder_layers(GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=8, n_head=2)))[0] == "transformer.h"
    )


def test_layers_of_experts_do_not_hide_the_decoder_layers() -> None:
    module = deep_model()
    for layer in module.model.layers:
        layer.experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(LAYERS))
    assert find_decoder_layers(module)[0] == "model.layers"


def test_a_model_whose_layers_are_not_clear_is_named() -> None:
    module = deep_model()
    module.tower = nn.ModuleList(nn.Linear(2, 2) for _ in range(LAYERS))
    with pytest.raises(ModelError, match=r"LlamaForCausalLM has 4 .*model\.layers, tower"):
        build_layer_filter(module, "top-2")
    module.model.layers = nn.Sequential(*module.model.layers)
    del module.tower
    with pytest.raises(ModelError, match="none"):
        build_layer_filter(module, "top-2")
    assert build_layer_filter(module, "all")("model.layers.0.mlp.down_proj"), "all asks for no list of layers"


@pytest.mark.parametrize("layers", ["top-5", "top-0", "bottom-2"])
def test_more_layers_than_there_are_is_an_input_error(layers: str) -> None:
    with pytest.raises(InputError, match="top-1 to top-4"):
        build_layer_filter(deep_model(), layers)


def test_targets_that_stand_in_lower_layers_only_are_named() -> None:
    module = deep_model()
    module.model.layers[0].mlp.extra = nn.Linear(2, 2)
    with (
        pytest.raises(ModelError, match="extra"),
        add_adapters(module, TrainConfig(rank=4, alpha=8.0, lora_layers="top-2", targets=("extra",))),
    ):
        pass


@peft_warns
@pytest.mark.parametrize("number", [1, 3, LAYERS])
def test_peft_reads_an_adapter_of_the_top_layers_with_equal_logits(tmp_path: Path, number: int) -> None:
    from peft import PeftModel

    module, ids = deep_model(), torch.arange(3, 40)[None]
    with add_adapters(module, top(number)) as adapters, torch.no_grad():
        shake_weights(adapters)
        save_adapter(adapters, tmp_path)
        ours = module(input_ids=ids).logits
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["layers_to_transform"] == list(range(LAYERS - number, LAYERS))
    theirs = PeftModel.from_pretrained(deep_model(), tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=ids).logits, ours, rtol=1e-5, atol=1e-5)
    assert sum("lora_A" in name for name, _ in theirs.named_parameters()) == len(adapters)
    answered = apply_adapter(deep_model(), tmp_path)(input_ids=ids).logits
    torch.testing.assert_close(answered, ours, rtol=1e-5, atol=1e-5)


def test_nothing_below_the_lowest_adapted_layer_has_a_gradient() -> None:
    module, recorded = deep_model(), []
    for layer in module.model.layers:
        layer.register_forward_hook(lambda _, given, output: recorded.append(output.grad_fn is not None))
    with add_adapters(module, top(2)) as adapters:
        shake_weights(adapters)
        accumulate_gradients(Placement(module), token_rows(4), 1000)
        assert all(adapter.a.grad is not None for adapter in adapters)
    assert recorded == [False, False, True, True]


def test_the_gradients_of_the_top_layers_are_those_of_adapting_all() -> None:
    def gradients(settings: TrainConfig) -> dict[str, torch.Tensor]:
        module = deep_model()
        with add_adapters(module, settings) as adapters:
            for adapter in adapters:
                adapter.a.data.fill_(0.1)
            accumulate_gradients(Placement(module), token_rows(4), 1000)
            return {adapter.name: adapter.b.grad for adapter in adapters if adapter.b.grad is not None}

    all_layers, top_layers = gradients(TrainConfig(rank=4, alpha=8.0)), gradients(top(2))
    assert len(top_layers) == len(all_layers) // 2
    for name, grad in top_layers.items():
        torch.testing.assert_close(grad, all_layers[name])
