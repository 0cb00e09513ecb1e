"""LoRA over the linear layers of a decoder, folded into the weight inside each forward.

The frozen base is shared with inference, so adapters are added for a while and removed without a trace. An adapted
matrix computes `W_eff = W + scale * B @ A` in W's own precision and
then one matrix product; gradients of A and B come from products of low rank, and no gradient of W
is ever formed. W_eff is exactly what a merged model holds.

Source: Hu et al. 2021 (arXiv 2106.09685); rank-stabilised scale: Kalajdzievski 2023 (2312.03732).
Folders are in the format of Hugging Face PEFT.

I = inputs of a matrix, O = outputs, R = rank.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from etude.base.files import write_bytes
from etude.errors import ModelError
from etude.models.adapters import CONFIG_FILE, PREFIX, WEIGHTS_FILE, fold
from etude.task.settings import ALL
from etude.training.config import TrainConfig
from etude.training.layers.decoder import chosen_layers, layer_of


class _Folded(torch.autograd.Function):
    """x @ fold(W, A, B)^T + bias. W_eff is made again in the backward: cheaper than keeping a second base."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        # Narrowed once for all four products: on a CPU a cast of a small matrix takes longer to call than to do.
        narrow_a, narrow_b = a.to(x.dtype), b.to(x.dtype)
        ctx.save_for_backward(x, weight, narrow_a, narrow_b)
        ctx.scale, ctx.wide = scale, a.dtype
        return functional.linear(x, fold(weight, narrow_a, narrow_b, scale), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        (grad,) = grads
        rows, inputs = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        grad_x = (rows @ fold(weight, a, b, ctx.scale)).view_as(x) if ctx.needs_input_grad[0] else None
        grad_a, grad_b = (rows @ b).t() @ inputs, rows.t() @ (inputs @ a.t())
        scaled = [each.to(ctx.wide).mul_(ctx.scale) for each in (grad_a, grad_b)]
        return grad_x, None, None, *scaled, None


class Adapter(nn.Module):
    """Replaces one linear layer; `base` is that layer, unchanged."""

    def __init__(self, name: str, base: nn.Linear, config: TrainConfig) -> None:
        super().__init__()
        self.name = name
        self.base = base
        self.config = config
        master = torch.promote_types(base.weight.dtype, torch.float32)
        device = base.weight.device
        self.a = nn.Parameter(torch.zeros(config.rank, base.in_features, dtype=master, device=device))
        self.b = nn.Parameter(torch.zeros(base.out_features, config.rank, dtype=master, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output with the adapter; x (..., I) -> (..., O)."""
        if self.training and self.config.dropout > 0:
            return self._unfolded(x)
        weight, bias = self.base.weight, self.base.bias
        output: Tensor = _Folded.apply(x, weight, bias, self.a, self.b, self.config.scale)  # type: ignore[no-untyped-call]
        return output

    def _unfolded(self, x: Tensor) -> Tensor:
        dropped = functional.dropout(x, self.config.dropout)
        low = functional.linear(dropped, self.a.to(x.dtype))
        output: Tensor = self.base(x)
        return output + self.config.scale * functional.linear(low, self.b.to(x.dtype))


def targeted(module: nn.Module, config: TrainConfig) -> list[tuple[str, nn.Linear]]:
    """The linear layers to adapt, with their paths; without `targets` every one but the head.

    Raises ModelError if a target matches no layer, InputError if the model has fewer layers than `lora_layers` names.
    """
    chosen = chosen_layers(module, config.lora_layers)
    linear = [(name, base) for name, base in _linear_layers(module, config.targets) if chosen(name)]
    if not linear:
        raise ModelError(
            f"None of {', '.join(config.targets) or 'the linear layers'} is in the layers {config.lora_layers}."
        )
    return linear


@contextmanager
def adapted(module: nn.Module, config: TrainConfig) -> Iterator[list[Adapter]]:
    """Replace each targeted linear layer by an adapter, over a frozen base, for the length of a `with`; afterwards the
    base is unchanged. The model's answers are too until the adapters are: A starts Kaiming-uniform from the seed, B at
    zero. Raises as `targeted` does."""
    generator = torch.Generator().manual_seed(config.seed)
    adapters = [Adapter(name, base, config) for name, base in targeted(module, config)]
    with unchanged(module):
        module.requires_grad_(False)
        try:
            for adapter in adapters:
                place(module, adapter.name, adapter)
                bound = 1 / math.sqrt(adapter.base.in_features)
                drawn = torch.empty(adapter.a.shape).uniform_(-bound, bound, generator=generator)
                adapter.a.data.copy_(drawn)
            yield adapters
        finally:
            for adapter in adapters:
                place(module, adapter.name, adapter.base)


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Restore at the end which parameters have gradients and which parts are in training mode."""
    frozen = {parameter: parameter.requires_grad for parameter in module.parameters()}
    modes = {part: part.training for part in module.modules()}
    try:
        yield
    finally:
        for parameter, wanted in frozen.items():
            parameter.requires_grad_(wanted)
        for part, training in modes.items():
            part.training = training


@contextmanager
def merged(module: nn.Module) -> Iterator[None]:
    """Replace every adapter of `module` by a plain layer of folded weights, so that many forwards fold only once.

    Takes the memory of the adapted matrices once more. Updates of the adapters within the `with` have no effect."""
    adapters = [part for part in module.modules() if isinstance(part, Adapter)]
    for adapter in adapters:
        place(module, adapter.name, _layer(adapter))
    try:
        yield
    finally:
        for adapter in adapters:
            place(module, adapter.name, adapter)


@torch.no_grad()
def _layer(adapter: Adapter) -> nn.Linear:
    weight, bias = adapter.base.weight, adapter.base.bias
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(fold(weight, adapter.a, adapter.b, adapter.config.scale), False)
    layer.bias = bias
    return layer


def save_adapter(adapters: Sequence[Adapter], folder: Path, base_model: str = "") -> None:
    """Write the adapters in PEFT's format; the same weights give the same bytes.

    `base_model` is written as the base's name and not used otherwise. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{PREFIX}{adapter.name}.lora_{side}.weight": weight.detach().float().cpu().contiguous()
        for adapter in adapters
        for side, weight in (("A", adapter.a), ("B", adapter.b))
    }
    text = json.dumps(_peft_config(adapters, base_model), indent=2, sort_keys=True) + "\n"
    write_bytes(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
    write_bytes(folder / CONFIG_FILE, text.encode())


def _linear_layers(module: nn.Module, targets: Sequence[str]) -> list[tuple[str, nn.Linear]]:
    head = getattr(module, "get_output_embeddings", lambda: None)()
    linear = [
        (name, part)
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and part is not head
    ]
    names = {name.rpartition(".")[2] for name, _ in linear}
    missing = sorted(set(targets) - names)
    if missing or not linear:
        known = ", ".join(sorted(names)) or "none"
        raise ModelError(
            f"No linear layer is named {', '.join(missing)}. The model's linear layers: {known}."
        )
    return [(name, part) for name, part in linear if not targets or name.rpartition(".")[2] in targets]


def place(module: nn.Module, name: str, part: nn.Module) -> None:
    """Replace the part of the module at this path by `part`."""
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, part)


def _peft_config(adapters: Sequence[Adapter], base_model: str) -> dict[str, Any]:
    config = adapters[0].config
    places = [layer_of(adapter.name) for adapter in adapters] if config.lora_layers != ALL else []
    return {
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": places[0][0] if places else None,
        "layers_to_transform": sorted({number for _, number in places}) or None,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": config.rank,
        "target_modules": sorted({adapter.name.rpartition(".")[2] for adapter in adapters}),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": config.rslora,
    }
