"""Tuning all weights of a model, in place of adapters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from etude.base.files import folder_aside
from etude.models.loading import save_weights
from etude.training.layers.lora import unchanged

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def all_weights(module: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Every parameter once, learnable for the length of a `with`; tied ones are one parameter. Matrices come first,
    then vectors, as the optimizer expects. Their own data is not written to: `buffered` learns on copies."""
    with unchanged(module):
        floating = [each for each in module.parameters() if each.is_floating_point()]
        parameters = sorted(floating, key=lambda each: each.ndim < 2)
        for each in parameters:
            each.requires_grad_(True)
        yield parameters


def save_model(module: PreTrainedModel, folder: Path) -> None:
    """Write config.json and model.safetensors, both or neither; a tied tensor once. Raises OSError."""
    with folder_aside(folder) as aside:
        save_weights(module, aside)
