"""All trained weights in one buffer, so there is one clip, one step of the optimizer, and few tensors to save."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from etude.errors import ModelError


@dataclass(slots=True)
class Buffer:
    """Trained weights and their gradients, in 32 bits or more.

    Parameters of this width are views of the buffer, and their gradients are views of its gradient. Parameters of 16
    bits are views of a narrow copy that `update_narrow` renews: an update too small for 16 bits is not lost.
    """

    weights: nn.Parameter
    """(all numbers,); `weights.grad` is never None."""
    narrow: Tensor | None
    """The copy in 16 bits, if the model needs one."""
    is_mixed: bool
    """Whether some parameters are views of `weights` and others of `narrow`."""

    @property
    def current(self) -> Tensor:
        """The weights in the type with which the model computes."""
        return self.weights.data if self.narrow is None or self.is_mixed else self.narrow

    def update_narrow(self) -> None:
        """Copy the buffer's weights to the narrow copy."""
        if self.narrow is not None:
            self.narrow.copy_(self.weights.data)


def compute_buffer_bytes(numel: int, dtypes: Iterable[torch.dtype]) -> int:
    """Compute the memory of a buffer for `numel` numbers in parameters of these types: weights, gradient, narrow copy,
    the optimizer's two states and a copy of the best weights."""
    types = set(dtypes)
    wide = {torch.promote_types(dtype, torch.float32) for dtype in types}
    narrow = max((dtype.itemsize for dtype in types - wide), default=0)
    width = max(dtype.itemsize for dtype in wide)
    # The best weights are stored in the type with which the model computes.
    current = narrow if narrow and not types & wide else width
    return numel * (4 * width + narrow + current)


@contextmanager
def use_buffer(parameters: Sequence[nn.Parameter]) -> Iterator[Buffer]:
    """Context manager: move the parameters, in order, into a new buffer. At the end they have their data again.

    Gradients of 16-bit parameters are added to the buffer's after each backward pass, so sums over micro-batches are
    in 32 bits. Raises ModelError for parameters of two different 16-bit types.
    """
    buffer = _build_buffer(parameters)
    total = buffer.weights.grad
    assert total is not None
    own_data = [parameter.data for parameter in parameters]
    handles = []
    start = 0
    for parameter in parameters:
        span = slice(start, start + parameter.numel())
        grad = total[span].view_as(parameter)
        if buffer.narrow is not None and parameter.dtype == buffer.narrow.dtype:
            parameter.data = buffer.narrow[span].view_as(parameter)
            add_to_grad = partial(_add_gradient, grad)
            handles.append(parameter.register_post_accumulate_grad_hook(add_to_grad))  # type: ignore[no-untyped-call]
        else:
            parameter.data = buffer.weights.data[span].view_as(parameter)
            parameter.grad = grad
        start = span.stop
    try:
        yield buffer
    finally:
        for handle in handles:
            handle.remove()
        for parameter, data in zip(parameters, own_data, strict=True):
            parameter.data, parameter.grad = data, None


def _build_buffer(parameters: Sequence[nn.Parameter]) -> Buffer:
    dtypes = {parameter.dtype for parameter in parameters}
    wide = {torch.promote_types(dtype, torch.float32) for dtype in dtypes}
    narrow = dtypes - wide
    if len(narrow) > 1 or len(wide) > 1:
        raise ModelError(
            f"The model mixes {', '.join(sorted(map(str, dtypes)))}. Load all its weights in one type."
        )
    (width,) = wide
    weights = nn.Parameter(torch.cat([parameter.detach().flatten().to(width) for parameter in parameters]))
    weights.grad = torch.zeros_like(weights)
    # The model computes with the 16-bit copy; the optimizer changes the 32-bit weights.
    copy = weights.detach().to(next(iter(narrow))) if narrow else None
    return Buffer(weights, copy, is_mixed=bool(narrow) and len(dtypes) > 1)


def _add_gradient(total: Tensor, parameter: Tensor) -> None:
    assert parameter.grad is not None
    total.add_(parameter.grad)
    parameter.grad = None
