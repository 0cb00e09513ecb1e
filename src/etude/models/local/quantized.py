"""Frozen weights in 8 or 4 bits, for bases that are too large in 16 bits.

This is our own code and saves memory, not time: a layer computes its weights in the model's type
before each product, also in the backward pass, and keeps none of them. 8 bits are whole numbers
from -127 to 127; 4 bits are the values of NF4, whose steps suit normally distributed weights
(Dettmers et al. 2023, arXiv 2305.14314). Each group of 64 inputs has one scale. Embeddings and the
head stay as they are.

I = inputs of a matrix, O = outputs, G = inputs in a group.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from etude.models.weights import Bits

GROUP = 64
# The 16 values of NF4.
NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434),
    *(0.5626170039176941, 0.7229568362236023, 1.0),
)


class _Product(torch.autograd.Function):
    """x @ W^T + bias; the backward pass computes W again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: "QuantizedLinear") -> Tensor:
        ctx.layer = layer
        return functional.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] @ ctx.layer.weight, None


class QuantizedLinear(nn.Linear):
    """A frozen linear layer that stores its weights in few bits. `weight` (O, I) is computed at
    each access.
    """

    packed: Tensor
    scale: Tensor
    pairs: Tensor

    def __init__(self, layer: nn.Linear, bits: Bits) -> None:
        nn.Module.__init__(self)
        self.in_features = layer.in_features
        self.out_features = layer.out_features
        self.bits = bits
        self.bias = layer.bias
        self.dtype = layer.weight.dtype
        groups = (
            layer.weight.detach()
            .float()
            .view(self.out_features, -1, math.gcd(GROUP, self.in_features))
        )
        scale = groups.abs().amax(-1, keepdim=True).clamp_(min=1e-12)
        if bits == "8bit":
            scale = scale / 127
            packed = (groups / scale).round_().to(torch.int8).flatten(1)
        else:
            values = torch.tensor(NF4, device=groups.device)
            codes = (
                torch.bucketize(groups / scale, (values[1:] + values[:-1]) / 2)
                .to(torch.uint8)
                .flatten(1)
            )
            packed = codes[:, ::2] << 4 | codes[:, 1::2]
        self.register_buffer("packed", packed)
        self.register_buffer("scale", scale.to(self.dtype))
        # The two values of each byte: one look-up is faster than two and the bit operations.
        values = torch.tensor(NF4, dtype=self.dtype, device=packed.device)
        self.register_buffer("pairs", torch.cartesian_prod(values, values))
        self.fold: Callable[[Tensor], Tensor] = lambda weight: weight
        """Adds an adapter to the weights."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weights in the model's type, with the adapter."""
        packed = self.packed
        is_wide = self.bits == "8bit"
        weight = (
            packed.to(self.dtype) if is_wide else functional.embedding(packed.int(), self.pairs)
        )
        return self.fold(
            (weight.view(self.out_features, self.scale.shape[1], -1) * self.scale).flatten(1)
        )

    def forward(self, input: Tensor) -> Tensor:
        """The layer's output; (..., I) -> (..., O)."""
        output: Tensor = _Product.apply(input, self)  # type: ignore[no-untyped-call]
        return output


@torch.no_grad()
def quantize_layers(module: nn.Module, bits: Bits) -> None:
    """Replace the linear layers of a model, except its head, one after another."""
    head = getattr(module, "get_output_embeddings", lambda: None)()
    layers = [
        (name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear)
    ]
    for name, layer in layers:
        if layer is not head and layer.in_features % 2 == 0:
            module.set_submodule(name, QuantizedLinear(layer, bits))
            # the list holds the last reference to the weights in 16 bits
            layer.weight = nn.Parameter(torch.empty(0), requires_grad=False)
    # Copies, so that nothing keeps the file with the other weights mapped.
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
