"""How much of the present step of long work is done, told to whoever shows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[float], None]
_listener: ContextVar[Listener] = ContextVar("listener", default=lambda share: None)


@contextmanager
def listen_to_progress(listener: Listener) -> Iterator[None]:
    """Call `listener` with each share that is reported in this block, in the same thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report_progress(num_done: float, total: float) -> None:
    """Tell the listener, if there is one, which share of the present step is done; the next step
    begins at 0.
    """
    _listener.get()(min(num_done / total, 1.0) if total else 1.0)
