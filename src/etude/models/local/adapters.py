"""LoRA adapters in PEFT's file format, applied to a base model.

W' = W + scale * B @ A with scale = alpha / r, or alpha / sqrt(r) for rslora (Hu et al. 2021, arXiv
2106.09685; Kalajdzievski 2023, arXiv 2312.03732).
"""

import copy
import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from etude.base.files import write_bytes, write_json
from etude.errors import ModelError, quote_value
from etude.models.local.quantized import QuantizedLinear
from etude.models.weights import CONFIG_FILE

WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
UNSUPPORTED = (
    *("use_dora", "lora_bias", "modules_to_save", "alpha_pattern", "fan_in_fan_out"),
    *("target_parameters", "trainable_token_indices"),
)
REQUIRED = {"bias": "none", "peft_type": "LORA"}


@torch.no_grad()
def apply_adapter(base: Any, folder: Path) -> Any:
    """Return a model with the adapter's weights added. It shares all other tensors with `base`,
    which does not change.

    Its weights have the same bits as after the last training step (`fold_adapter`). Raises
    ModelError if the folder is not a plain LoRA adapter or does not match the base.
    """
    config = read_adapter_config(folder)
    pairs = read_adapter_pairs(folder)
    shared = [*base.parameters(), *base.buffers()]
    module = copy.deepcopy(base, {id(tensor): tensor for tensor in shared})
    layers = dict(module.named_modules(remove_duplicate=False))
    for path, (a, b) in pairs.items():
        layer = layers.get(path)
        if not isinstance(layer, torch.nn.Linear):
            raise ModelError(
                f"The adapter {folder} changes {path!r}, which is not a linear layer of this "
                "model. Use the base model it was trained on."
            )
        weight = layer.weight
        if (b.shape[0], a.shape[1]) != tuple(weight.shape) or a.shape[0] != b.shape[1]:
            raise ModelError(
                f"The adapter {folder} does not match the model at {path}: {tuple(b.shape)} x "
                f"{tuple(a.shape)} for weights of {tuple(weight.shape)}. Use the base model it "
                "was trained on."
            )
        a, b, scale = a.to(weight.device), b.to(weight.device), compute_scale(config, a)
        if isinstance(layer, QuantizedLinear):
            layer.fold = partial(fold_adapter, a_RI=a, b_OR=b, scale=scale)
            continue
        folded = fold_adapter(weight, a, b, scale)
        layer.weight = torch.nn.Parameter(folded, requires_grad=False)
    return module


def stack_adapters(first: Path, second: Path, folder: Path, base_model: str) -> None:
    """Write to `folder` one adapter that is the sum of two: W + scale1 * B1 @ A1 + scale2 * B2 @
    A2.

    Its rank is the sum of both ranks. It equals the two adapters except for rounding. Raises
    ModelError if one of them is not a plain LoRA adapter.
    """
    configs = [read_adapter_config(adapter) for adapter in (first, second)]
    adapters = [read_adapter_pairs(adapter) for adapter in (first, second)]
    rank = sum(next(iter(pairs.values()))[0].shape[0] for pairs in adapters)
    tensors = {}
    for path in sorted({*adapters[0], *adapters[1]}):
        halves = [
            (config, pairs[path])
            for config, pairs in zip(configs, adapters, strict=True)
            if path in pairs
        ]
        a = torch.cat([a for _, (a, _) in halves])
        b = torch.cat([b * compute_scale(config, a) for config, (a, b) in halves], dim=1)
        missing = rank - a.shape[0]
        tensors[f"{PREFIX}{path}.lora_A.weight"] = torch.nn.functional.pad(
            a, (0, 0, 0, missing)
        ).contiguous()
        tensors[f"{PREFIX}{path}.lora_B.weight"] = torch.nn.functional.pad(
            b, (0, missing)
        ).contiguous()
    layers = sorted({path.rpartition(".")[2] for pairs in adapters for path in pairs})
    config = configs[0] | {
        "r": rank,
        "lora_alpha": rank,
        "use_rslora": False,
        "target_modules": layers,
    }
    if adapters[0].keys() != adapters[1].keys():
        config |= {"layers_pattern": None, "layers_to_transform": None}
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
    write_json(folder / CONFIG_FILE, config | {"base_model_name_or_path": base_model})


def fold_adapter(weight_OI: Tensor, a_RI: Tensor, b_OR: Tensor, scale: float) -> Tensor:
    """Compute `weight + scale * b @ a`, rounded to the weight's own type.

    Training and answering both use it, so the model that answers has exactly the bits of the
    trained model.
    """
    dtype = weight_OI.dtype
    return torch.addmm(weight_OI, b_OR.to(dtype), a_RI.to(dtype), alpha=scale)


def compute_scale(config: Mapping[str, Any], a: Tensor) -> float:
    """Compute the factor for B @ A."""
    rank = a.shape[0]
    return float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Read adapter_config.json of a plain LoRA adapter. Raises ModelError."""
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config["peft_type"]
        alpha = config["lora_alpha"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is not the file of a LoRA adapter ({error!r}). Train the adapter again."
        ) from error
    unsupported = [name for name in UNSUPPORTED if config.get(name)]
    unsupported += [name for name, value in REQUIRED.items() if config.get(name, value) != value]
    if unsupported or not isinstance(alpha, int | float):
        settings = ", ".join(f"{name}={quote_value(config.get(name))}" for name in unsupported)
        raise ModelError(
            f"{path} has the settings {settings or quote_value(alpha)} ({kind}), but Étude "
            "supports only plain LoRA adapters. Merge the adapter with PEFT and use the merged "
            "folder."
        )
    return dict(config)


def read_adapter_pairs(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Read the pairs of an adapter: path of a layer -> A (R, I) and B (O, R). Raises ModelError."""
    path = folder / WEIGHTS_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Train the adapter again.") from error
    halves: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for key, tensor in tensors.items():
        name, _, half = key.removesuffix(".weight").rpartition(".")
        if key.startswith(PREFIX) and half in ("lora_A", "lora_B"):
            halves.setdefault(name.removeprefix(PREFIX), {})[half] = tensor
        else:
            unknown.append(key)
    unknown += [name for name, pair in halves.items() if len(pair) < 2]
    if unknown or not halves:
        raise ModelError(
            f"{path} has tensors that do not form pairs of a LoRA adapter: "
            f"{quote_value(unknown)}. Train it again."
        )
    return {name: (pair["lora_A"], pair["lora_B"]) for name, pair in halves.items()}
