"""All learned weights in one buffer: one clip, one step of the optimizer, few tensors to save."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from etude.errors import ModelError


@dataclass(slots=True)
class Buffer:
    """Learned weights and their gradients, in 32 bits or more.

    Parameters of that width are views of the buffer, and their gradients views of its gradient. Parameters of 16 bits
    are views of a narrow copy that `update_narrow` renews, so an update too small for 16 bits is not lost.
    """

    weights: nn.Parameter
    """(all numbers,); `weights.grad` is never None."""
    narrow: Tensor | None
    """The copy in 16 bits, if the model needs one."""
    mixed: bool
    """Whether some parameters are views of `weights` and others of `narrow`."""

    @property
    def current(self) -> Tensor:
        """The weights in the type that the model computes with."""
        return self.weights.data if self.narrow is None or self.mixed else self.narrow

    def update_narrow(self) -> None:
        """Copy the buffer's weights to the narrow copy."""
        if self.narrow is not None:
            self.narrow.copy_(self.weights.data)


def buffer_bytes(numel: int, types: Iterable[torch.dtype]) -> int:
    """Calculate the memory of a buffer for `numel` numbers in parameters of these types: weights, gradient, narrow
    copy, two states of the optimizer and a copy of the best weights."""
    given = set(types)
    wide = {torch.promote_types(each, torch.float32) for each in given}
    narrow = max((each.itemsize for each in given - wide), default=0)
    width = max(each.itemsize for each in wide)
    current = narrow if narrow and not given & wide else width
    return numel * (4 * width + narrow + current)


@contextmanager
def buffered(parameters: Sequence[nn.Parameter]) -> Iterator[Buffer]:
    """Move the parameters, in their order, into a new buffer for the length of a `with`; afterwards they have their own
    data again, unchanged.

    Gradients of 16-bit parameters are added to the buffer's after each backward, so sums over micro-batches are made
    in 32 bits. Raises ModelError for parameters of two 16-bit types.
    """
    buffer = _buffer(parameters)
    own = [each.data for each in parameters]
    handles = []
    start = 0
    for each in parameters:
        part = slice(start, start + each.numel())
        grad = _of(buffer.weights.grad)[part].view_as(each)
        if buffer.narrow is not None and each.dtype == buffer.narrow.dtype:
            each.data = buffer.narrow[part].view_as(each)
            handle = each.register_post_accumulate_grad_hook(_adder(grad))  # type: ignore[no-untyped-call]
            handles.append(handle)
        else:
            each.data = buffer.weights.data[part].view_as(each)
            each.grad = grad
        start = part.stop
    try:
        yield buffer
    finally:
        for handle in handles:
            handle.remove()
        for each, data in zip(parameters, own, strict=True):
            each.data, each.grad = data, None


def _buffer(parameters: Sequence[nn.Parameter]) -> Buffer:
    wide = {torch.promote_types(each.dtype, torch.float32) for each in parameters}
    kinds = {each.dtype for each in parameters} - wide
    if len(kinds) > 1 or len(wide) > 1:
        raise ModelError(
            f"The model mixes {', '.join(sorted({str(each.dtype) for each in parameters}))}. Load it in one type."
        )
    (width,) = wide
    flat = nn.Parameter(torch.cat([each.detach().flatten().to(width) for each in parameters]))
    flat.grad = torch.zeros_like(flat)
    mixed = bool(kinds) and any(each.dtype in wide for each in parameters)
    return Buffer(flat, flat.detach().to(next(iter(kinds))) if kinds else None, mixed)


def _adder(total: Tensor) -> Callable[[Tensor], None]:
    def add(parameter: Tensor) -> None:
        total.add_(_of(parameter.grad))
        parameter.grad = None

    return add


def _of(grad: Tensor | None) -> Tensor:
    assert grad is not None
    return grad
