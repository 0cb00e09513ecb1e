"""The adapters under training folded into their matrices, for generating answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from etude.models.adapters import fold
from etude.training.layers.lora import Adapter, place


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
