"""The decoder layers of a model of any family, and which of them are adapted.

Layers are numbered from 0, the one that reads the embeddings.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from etude.errors import InputError, Issue, ModelError
from etude.task.settings import ALL, TOP


def decoder_layers(module: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of a model's decoder layers and its path within the model, e.g. "model.layers".

    It is the outermost list with as many parts as the configuration has text layers; a transformers model has one.
    Raises ModelError if there is none, or more than one.
    """
    wanted = module.config.get_text_config().num_hidden_layers  # type: ignore[operator, union-attr]
    lists = {name: part for name, part in module.named_modules() if isinstance(part, nn.ModuleList)}
    inner = {name for name in lists for other in lists if name.startswith(f"{other}.")}
    found = [(name, part) for name, part in lists.items() if len(part) == wanted and name not in inner]
    if len(found) != 1:
        names = ", ".join(name for name, _ in found) or "none"
        raise ModelError(
            f"{type(module).__name__} counts {wanted} decoder layers, and lists of that many parts are: {names}. "
            "Layers can be chosen only if there is one such list; leave train: lora_layers out."
        )
    return found[0]


def chosen_layers(module: nn.Module, layers: str) -> Callable[[str], bool]:
    """A function that says of a path within the model whether `layers` ("all" or "top-N") includes it.

    Raises InputError if the model has fewer than N layers, ModelError if they cannot be found.
    """
    if layers == ALL:
        return lambda name: True
    path, parts = decoder_layers(module)
    match = TOP.fullmatch(layers)
    if match is None or int(match[1]) > len(parts):
        remedy = f"give all or top-1 to top-{len(parts)}; the model has {len(parts)} decoder layers"
        raise InputError([Issue("train: lora_layers", "there are no such layers", layers, remedy)])
    above = tuple(f"{path}.{number}." for number in range(len(parts) - int(match[1]), len(parts)))
    return lambda name: name.startswith(above)


def layer_of(name: str) -> tuple[str, int]:
    """The list and number of the decoder layer in a path: "model.layers.3.mlp" gives ("layers", 3)."""
    parts = name.split(".")
    at = next(at for at, part in enumerate(parts) if part.isdigit())
    return parts[at - 1], int(parts[at])
