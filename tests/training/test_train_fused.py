"""Norms and gated layers in fewer passes give what the layers' own code gives."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from etude.training.layers.fused import _RMSNorm, _SwiGLU, fuse_layers
from tiny import build_module


def test_gradients_equal_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(size, generator=generator, dtype=torch.float64) for size in ((4, 6), (6,))
    )
    gate, up = (
        torch.randn(4, 6, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(2)
    )
    assert torch.autograd.gradcheck(
        lambda each: _RMSNorm.apply(each, weight, 1e-6), x.requires_grad_()
    )
    assert torch.autograd.gradcheck(_SwiGLU.apply, (gate, up))


def losses_and_gradients(module: nn.Module, embedded: Tensor) -> tuple[Tensor, Tensor]:
    x = embedded.clone().requires_grad_()
    logits: Tensor = module(inputs_embeds=x).logits
    logits.float().logsumexp(-1).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    return logits.detach(), x.grad


def embed_tokens(module: Any) -> Tensor:
    ids = torch.arange(24).view(2, 12)
    return module.get_input_embeddings()(ids).detach()  # type: ignore[no-any-return]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3_text"])
def test_a_model_answers_with_the_same_bits_and_learns_by_the_same_gradient(
    kind: str, dtype: torch.dtype
) -> None:
    module = build_module(kind, initializer_range=0.05).to(dtype).requires_grad_(False)
    x = embed_tokens(module)
    logits, gradient = losses_and_gradients(module, x)
    with fuse_layers(module):
        ours, our_gradient = losses_and_gradients(module, x)
    assert torch.equal(ours, logits)
    off = float((our_gradient - gradient).norm() / gradient.norm())
    assert off < (1e-5 if dtype == torch.float32 else 2e-2)


def test_only_layers_of_the_same_form_are_replaced_and_all_come_back() -> None:
    def replaced(module: nn.Module) -> set[str]:
        return {name for name, layer in module.named_modules() if "forward" in vars(layer)}

    llama = build_module("llama")
    gemma = build_module("gemma3_text")
    with fuse_layers(llama), fuse_layers(gemma):
        names = {name.rpartition(".")[2] for name in replaced(llama)}
        assert names == {"mlp", "norm", "input_layernorm", "post_attention_layernorm"}
        assert not replaced(gemma), "its norm adds one to the weight, its gate is a GELU"
    assert not replaced(llama)


@pytest.mark.parametrize("share", [0.5, 0.001])
def test_a_layer_that_drops_numbers_in_training_keeps_its_own_forward(share: float) -> None:
    module = build_module("llama")
    dropping = module.model.layers[0].mlp
    dropping.act_fn = nn.Sequential(nn.SiLU(), nn.Dropout(share))
    module.eval()
    state = torch.get_rng_state()
    with fuse_layers(module):
        assert "forward" not in vars(dropping)
        assert "forward" in vars(module.model.layers[1].mlp)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(layer.training for layer in module.modules())


def test_a_norm_that_is_learned_gets_its_gradient() -> None:
    module = build_module("llama")
    with fuse_layers(module):
        losses_and_gradients(module, embed_tokens(module))
    assert all(
        parameter.grad is not None
        for name, parameter in module.named_parameters()
        if "norm" in name
    )


def test_less_is_kept_for_the_backward() -> None:
    module = build_module("llama").to(torch.bfloat16).requires_grad_(False)
    x = embed_tokens(module).requires_grad_()

    def kept() -> int:
        sizes: dict[int, int] = {}
        weights = {weight.data_ptr() for weight in module.parameters()}

        def pack(tensor: Tensor) -> Tensor:
            if tensor.data_ptr() not in weights:
                sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            alive = module.model(inputs_embeds=x)
        del alive
        return sum(sizes.values())

    plain = kept()
    with fuse_layers(module):
        assert kept() < 0.8 * plain
