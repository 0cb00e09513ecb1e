"""Entering a model at a decoder layer with hidden states that are known, and leaving it before one.

Embeddings (cheap), positions and masks are made by the model itself as always; only the layers that are left
out compute nothing. It is tried before it is used, so that a model whose layers hand on more than
their hidden states is found out.

B = rows of a micro-batch, T = its longest row in tokens, D = width of the hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from etude.training.layers.body import whole_body
from etude.training.rows.batches import MicroBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where the kept hidden states enter a model."""

    below: tuple[nn.Module, ...]
    """Decoder layers that are not computed where the states are known."""
    above: tuple[nn.Module, ...]
    """The lowest adapted layer and those above it."""
    tupled: bool
    """Whether a layer returns its hidden states within a tuple."""
    width: int
    dtype: torch.dtype

    def give(self, states: Tensor) -> Any:
        """States in the form in which a layer returns them."""
        return (states,) if self.tupled else states


class NotKeptError(Exception):
    """Hidden states of a run cannot be kept; the message is the reason, without a full stop."""


def find_entrance(module: PreTrainedModel, layers: nn.ModuleList, lowest: int) -> Entrance:
    """The entrance of layer `lowest`.

    Tried on a few tokens: the states must be the same each time (no dropout below), and the model must reach
    the same end from them alone; else raises NotKeptError. Leaves the module in eval mode.
    """
    ids = torch.arange(8, device=module.device)[None] % module.config.get_text_config().vocab_size
    none = torch.empty(0, dtype=torch.long, device=module.device)
    batch = MicroBatch((), ids, none, none)
    with torch.no_grad(), watched(layers[lowest]) as (entered, left):
        for training in (True, True, False):
            module.train(training)
            end = whole_body(module, batch)
    first, second, states = entered
    if not (torch.equal(first, second) and torch.equal(first, states)):
        raise NotKeptError(
            "the layers below drop numbers at random, so their states differ from epoch to epoch"
        )
    tupled = isinstance(left[0], tuple)
    entrance = Entrance(
        tuple(layers[:lowest]), tuple(layers[lowest:]), tupled, states.shape[-1], states.dtype
    )
    with torch.no_grad(), started_at(entrance, states):
        again = whole_body(module, batch)
    if (tupled and len(left[0]) > 1) or not torch.equal(again, end):
        raise NotKeptError("the layers of this model hand on more than their hidden states")
    return entrance


@contextmanager
def watched(layer: nn.Module) -> Iterator[tuple[list[Tensor], list[Any]]]:
    """Within it, the hidden states that enter `layer`, and what it returns, are added to the two lists."""
    entered: list[Tensor] = []
    left: list[Any] = []
    with ExitStack() as stack:
        before = layer.register_forward_pre_hook(
            lambda _, given, named: entered.append(_hidden(given, named)), with_kwargs=True
        )
        stack.callback(before.remove)
        stack.callback(layer.register_forward_hook(lambda _, given, output: left.append(output)).remove)
        yield entered, left


@contextmanager
def started_at(entrance: Entrance, states: Tensor) -> Iterator[None]:
    """Within it the layers below compute nothing, and `states` (B, T, D) enter the lowest adapted layer."""
    output = entrance.give(states)
    with _replaced(entrance.below, lambda *given, **named: output):
        yield


@contextmanager
def ended_at(entrance: Entrance) -> Iterator[None]:
    """Within it the lowest adapted layer and those above compute nothing."""
    with _replaced(entrance.above, lambda *given, **named: entrance.give(_hidden(given, named))):
        yield


@contextmanager
def _replaced(layers: Iterable[nn.Module], forward: Callable[..., Any]) -> Iterator[None]:
    """Another forward of some layers for the length of a `with`; the modules themselves stay in place."""
    with ExitStack() as stack:
        for layer in layers:
            own = vars(layer)
            if "forward" in own:
                stack.callback(own.__setitem__, "forward", own["forward"])
            else:
                stack.callback(own.pop, "forward")
            own["forward"] = forward
        yield


def _hidden(given: Sequence[Any], named: Mapping[str, Any]) -> Tensor:
    states: Tensor = given[0] if given else named["hidden_states"]
    return states
