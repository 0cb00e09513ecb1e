"""LoRA adapters in PEFT's file format, laid over a base model.

W' = W + scale * B @ A with scale = alpha / r, or alpha / sqrt(r) for rslora (Hu et al. 2021, arXiv
2106.09685; Kalajdzievski 2023, arXiv 2312.03732).
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from etude.base.files import write_bytes, write_json
from etude.errors import ModelError, quote_value

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
UNSUPPORTED = (
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "alpha_pattern",
    "fan_in_fan_out",
    "target_parameters",
    "trainable_token_indices",
)


def with_adapter(base: Any, folder: Path) -> Any:
    """A model with the adapter's weights added in, sharing every other tensor with `base`.

    The weights are those of the last training step, bit for bit (`fold`); `base` stays as it is. Raises
    ModelError when the folder is not a plain LoRA adapter or does not fit the base.
    """
    config = read_config(folder)
    pairs = read_pairs(folder)
    shared = [*base.parameters(), *base.buffers()]
    module = copy.deepcopy(base, {id(tensor): tensor for tensor in shared})
    for path, (a, b) in pairs.items():
        layer = _linear(module, path, folder)
        if (b.shape[0], a.shape[1]) != tuple(layer.weight.shape) or a.shape[0] != b.shape[1]:
            raise ModelError(
                f"The adapter {folder} does not fit the model at {path}: {tuple(b.shape)} x {tuple(a.shape)} "
                f"beside {tuple(layer.weight.shape)}. Use the base model it was trained on."
            )
        layer.weight = torch.nn.Parameter(
            _merged(layer.weight, a, b, scale_of(config, a)), requires_grad=False
        )
    return module


def stack(first: Path, second: Path, folder: Path, base_model: str) -> None:
    """Writes to `folder` one adapter that is two laid over each other, W + scale1 * B1 @ A1 + scale2 * B2 @ A2.

    Its rank is the sum of both. Equal to the two up to rounding. Raises ModelError if one is not a plain LoRA adapter.
    """
    configs, pairs = (
        [read_config(each) for each in (first, second)],
        [read_pairs(each) for each in (first, second)],
    )
    rank = sum(next(iter(each.values()))[0].shape[0] for each in pairs)
    tensors = {}
    for path in sorted({*pairs[0], *pairs[1]}):
        both = [(config, each[path]) for config, each in zip(configs, pairs, strict=True) if path in each]
        a = torch.cat([a for _, (a, _) in both])
        b = torch.cat([b * scale_of(config, a) for config, (a, b) in both], dim=1)
        missing = rank - a.shape[0]
        tensors[f"{PREFIX}{path}.lora_A.weight"] = torch.nn.functional.pad(a, (0, 0, 0, missing)).contiguous()
        tensors[f"{PREFIX}{path}.lora_B.weight"] = torch.nn.functional.pad(b, (0, missing)).contiguous()
    names = sorted({path.rpartition(".")[2] for each in pairs for path in each})
    config = configs[0] | {"r": rank, "lora_alpha": rank, "use_rslora": False, "target_modules": names}
    config |= (
        {"layers_pattern": None, "layers_to_transform": None} if pairs[0].keys() != pairs[1].keys() else {}
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
    write_json(folder / CONFIG_FILE, config | {"base_model_name_or_path": base_model})


def fold(weight_OI: Tensor, a_RI: Tensor, b_OR: Tensor, scale: float) -> Tensor:
    """`weight + scale * b @ a`, rounded to the weight's own type.

    Training and answering share it, so that what answers is bit for bit what was trained.
    """
    dtype = weight_OI.dtype
    return torch.addmm(weight_OI, b_OR.to(dtype), a_RI.to(dtype), alpha=scale)


@torch.no_grad()
def _merged(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    return fold(weight, a.to(weight.device), b.to(weight.device), scale)


def scale_of(config: Mapping[str, Any], a: Tensor) -> float:
    """What the product of both halves is multiplied by."""
    rank = a.shape[0]
    return float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _linear(module: Any, path: str, folder: Path) -> Any:
    try:
        layer = module.get_submodule(path)
    except AttributeError:
        layer = None
    if not isinstance(layer, torch.nn.Linear):
        raise ModelError(
            f"The adapter {folder} changes {path!r}, which is no linear layer of this model. "
            "Use the base model it was trained on."
        )
    return layer


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json of a plain LoRA adapter. Raises ModelError."""
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind, alpha = config["peft_type"], config["lora_alpha"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is not the file of a LoRA adapter ({error!r}). Train the adapter again."
        ) from error
    odd = [name for name in UNSUPPORTED if config.get(name)]
    odd += [
        name for name, usual in (("bias", "none"), ("peft_type", "LORA")) if config.get(name, usual) != usual
    ]
    if odd or not isinstance(alpha, int | float):
        raise ModelError(
            f"{path} asks for {', '.join(f'{name}={quote_value(config.get(name))}' for name in odd) or quote_value(alpha)} "
            f"({kind}); Etude lays plain LoRA adapters over a model. Merge the adapter with PEFT and name "
            "the merged folder."
        )
    return dict(config)


def read_pairs(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Path of a layer -> A (R, I) and B (O, R). Raises ModelError."""
    path = folder / WEIGHTS_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Train the adapter again.") from error
    halves: dict[str, dict[str, Tensor]] = {}
    odd = []
    for key, tensor in tensors.items():
        name, _, half = key.removesuffix(".weight").rpartition(".")
        if key.startswith(PREFIX) and half in ("lora_A", "lora_B"):
            halves.setdefault(name.removeprefix(PREFIX), {})[half] = tensor
        else:
            odd.append(key)
    odd += [name for name, both in halves.items() if len(both) < 2]
    if odd or not halves:
        raise ModelError(
            f"{path} holds tensors that are not pairs of a LoRA adapter: {quote_value(odd)}. Train it again."
        )
    return {name: (both["lora_A"], both["lora_B"]) for name, both in halves.items()}
