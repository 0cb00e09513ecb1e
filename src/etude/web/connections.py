"""The connections of a server: how many, and how long one may take to send a request."""

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from etude.errors import InputError

try:
    import resource
except ImportError:  # on Windows, which has no limit of open files
    resource = None  # type: ignore[assignment]

MAX_PATIENCE = 3
SPARE_FILES = 256  # files that a server has open besides its connections


def limit_connections(wanted: int) -> int:
    """Raise this process's limit of open files so that `wanted` connections fit; return how many
    do.
    """
    if resource is None:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        soft = limit
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - SPARE_FILES))


def open_listener(host: str, port: int) -> socket.socket:
    """Open a socket that listens; port 0 chooses a free port. Raises InputError if the port cannot
    be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048, reuse_port=False)
        # asyncio sets this only for sockets that name their protocol; without it every response
        # waits 40 ms for an acknowledgement between its head and its body.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        message = f"port {port} of {host} cannot be used ({error.strerror})"
        remedy = "choose another port; 0 chooses a free one"
        raise InputError.of("--port", message, "", remedy) from error


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol of one connection, with two limits, which a subclass sets.

    A connection that has not sent the head of a request within `head_seconds` is closed. If there
    are more than `max_connections`, one of those that wait for their client is closed: first
    connections without any request, then connections between two requests, then connections whose
    body is not complete; of these, the one silent for longest. If all others are being answered,
    the new connection is closed.
    """

    max_connections = 1_000
    head_seconds = 20.0
    _timer: asyncio.TimerHandle | None = None
    _heard_at = 0.0

    def connection_made(self, transport: Any) -> None:
        """Note when the connection was opened, and make room for it."""
        super().connection_made(transport)
        self._heard_at = self.loop.time()
        self._watch()
        if len(self.connections) > self.max_connections:
            others = [
                item
                for item in self.connections
                if isinstance(item, LimitedProtocol) and item is not self
            ]
            # a connection that has already sent a request probably belongs to an honest client
            longest = min(others, key=lambda item: (item._patience, item._heard_at), default=self)
            longest = self if longest._patience == MAX_PATIENCE else longest
            self.connections.discard(longest)
            longest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        self._heard_at = self.loop.time()
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    @property
    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _patience(self) -> int:
        """How late the connection is closed to make room; MAX_PATIENCE while its request is being
        answered.
        """
        if self._is_waiting:
            return int(self.cycle is not None)
        return 2 if self.cycle.more_body else MAX_PATIENCE

    def _watch(self) -> None:
        if self._timer and not self._is_waiting:
            self._timer.cancel()
            self._timer = None
        elif self._timer is None and self._is_waiting:
            self._timer = self.loop.call_later(self.head_seconds, self._close_if_waiting)

    def _close_if_waiting(self) -> None:
        self._timer = None
        if self._is_waiting:
            self.transport.close()
