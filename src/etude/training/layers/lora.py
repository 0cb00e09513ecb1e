"""LoRA for the linear layers of a decoder, folded into the weight in each forward.

Inference uses the same frozen base, so adapters are added temporarily and removed completely. An
adapted matrix computes `W_eff = W + scale * B @ A` in W's own precision, and then one matrix
product. The gradients of A and B are computed from products of low rank; the gradient of W is never
computed. A merged model contains exactly W_eff.

Source: Hu et al. 2021 (arXiv 2106.09685). Folders are in the format of Hugging Face PEFT.

I = inputs of a matrix, O = outputs, R = rank.
"""

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
from etude.models.local.adapters import PREFIX, WEIGHTS_FILE, fold_adapter, read_adapter_pairs
from etude.models.local.quantized import QuantizedLinear
from etude.models.weights import CONFIG_FILE
from etude.training.config import TrainConfig


class _Folded(torch.autograd.Function):
    """x @ fold(W, A, B)^T + bias. The backward pass computes W_eff again: this needs less memory
    than a second base.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layer: nn.Linear, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        # Cast once for all four products: on a CPU, the call costs more than the cast of a small
        # matrix.
        narrow_a = a.to(x.dtype)
        narrow_b = b.to(x.dtype)
        weight = layer.weight
        ctx.layer = layer
        # Weights of few bits are computed again in the backward pass, so that those of one layer
        # exist at a time.
        ctx.save_for_backward(
            x, None if isinstance(layer, QuantizedLinear) else weight, narrow_a, narrow_b
        )
        ctx.scale = scale
        ctx.wide = a.dtype
        return functional.linear(x, fold_adapter(weight, narrow_a, narrow_b, scale), layer.bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        (grad,) = grads
        rows = grad.reshape(-1, grad.shape[-1])
        inputs = x.reshape(-1, x.shape[-1])
        grad_x = None
        if ctx.needs_input_grad[0]:
            weight = ctx.layer.weight if weight is None else weight
            grad_x = (rows @ fold_adapter(weight, a, b, ctx.scale)).view_as(x)
        grad_a = (rows @ b).t() @ inputs
        grad_b = rows.t() @ (inputs @ a.t())
        scaled = [gradient.to(ctx.wide).mul_(ctx.scale) for gradient in (grad_a, grad_b)]
        return grad_x, None, *scaled, None


class Adapter(nn.Module):
    """Replaces one linear layer. `base` is that layer, unchanged."""

    def __init__(self, name: str, base: nn.Linear, config: TrainConfig) -> None:
        super().__init__()
        self.name = name
        self.base = base
        self.config = config
        # Adapters are trained in 32 bits, whatever the type of the base.
        master = torch.promote_types(base.weight.dtype, torch.float32)
        device = base.weight.device
        self.a = nn.Parameter(
            torch.zeros(config.rank, base.in_features, dtype=master, device=device)
        )
        self.b = nn.Parameter(
            torch.zeros(base.out_features, config.rank, dtype=master, device=device)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output with the adapter; x (..., I) -> (..., O)."""
        scale = self.config.scale
        if not self.training or not self.config.dropout:
            output: Tensor = _Folded.apply(x, self.base, self.a, self.b, scale)  # type: ignore[no-untyped-call]
            return output
        # Dropout applies only to the adapter's input, so its product cannot be folded into the
        # weight.
        dropped = functional.dropout(x, self.config.dropout)
        low = functional.linear(dropped, self.a.to(x.dtype))
        output = self.base(x)
        return output + scale * functional.linear(low, self.b.to(x.dtype))


def find_targets(module: nn.Module, targets: Sequence[str]) -> list[tuple[str, nn.Linear]]:
    """Find the linear layers to adapt, with their paths; without `targets`, all except the head.

    A target is the last part of a path, such as q_proj in every layer. Raises ModelError if a
    target matches no layer.
    """
    head = getattr(module, "get_output_embeddings", lambda: None)()
    linear = [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and layer is not head
    ]
    names = {name.rpartition(".")[2] for name, _ in linear}
    missing = sorted(set(targets) - names)
    if missing or not linear:
        available = ", ".join(sorted(names)) or "none"
        raise ModelError(
            f"No linear layer is named {', '.join(missing)}. The model's linear layers: "
            f"{available}."
        )
    return [
        (name, layer) for name, layer in linear if not targets or name.rpartition(".")[2] in targets
    ]


@contextmanager
def add_adapters(
    module: nn.Module, config: TrainConfig, saved: Path | None = None
) -> Iterator[list[Adapter]]:
    """Context manager: replace each targeted linear layer by an adapter over the frozen base.

    New adapters do not change the model's answers: A starts Kaiming-uniform from the seed, B at
    zero. With `saved`, the folder of an adapter of the same shape, they start with its weights. At
    the end the model is restored. Raises the errors of `find_targets`.
    """
    pairs = read_adapter_pairs(saved) if saved else {}
    generator = torch.Generator().manual_seed(config.seed)
    adapters = [Adapter(name, base, config) for name, base in find_targets(module, config.targets)]
    with preserve_modes(module):
        module.requires_grad_(False)
        try:
            for adapter in adapters:
                module.set_submodule(adapter.name, adapter)
                bound = 1 / math.sqrt(adapter.base.in_features)
                start = torch.empty(adapter.a.shape).uniform_(-bound, bound, generator=generator)
                adapter.a.data.copy_(start)
                if adapter.name in pairs:
                    for weight, value in zip(
                        (adapter.a, adapter.b), pairs[adapter.name], strict=True
                    ):
                        weight.data.copy_(value)
            yield adapters
        finally:
            for adapter in adapters:
                module.set_submodule(adapter.name, adapter.base)


@contextmanager
def preserve_modes(module: nn.Module) -> Iterator[None]:
    """Context manager: at the end, restore which parameters have gradients and which layers are in
    training mode.
    """
    requires_grad = {parameter: parameter.requires_grad for parameter in module.parameters()}
    modes = {layer: layer.training for layer in module.modules()}
    try:
        yield
    finally:
        for parameter, is_trained in requires_grad.items():
            parameter.requires_grad_(is_trained)
        for layer, training in modes.items():
            layer.training = training


def save_adapter(adapters: Sequence[Adapter], folder: Path, base_model: str = "") -> None:
    """Write the adapters in PEFT's format. The same weights give the same bytes.

    `base_model` is written as the name of the base and has no other use. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{PREFIX}{adapter.name}.lora_{side}.weight": weight.detach().float().cpu().contiguous()
        for adapter in adapters
        for side, weight in (("A", adapter.a), ("B", adapter.b))
    }
    text = json.dumps(_build_peft_config(adapters, base_model), indent=2, sort_keys=True) + "\n"
    write_bytes(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
    write_bytes(folder / CONFIG_FILE, text.encode())


def _build_peft_config(adapters: Sequence[Adapter], base_model: str) -> dict[str, Any]:
    config = adapters[0].config
    return {
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": config.rank,
        "target_modules": sorted({adapter.name.rpartition(".")[2] for adapter in adapters}),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
