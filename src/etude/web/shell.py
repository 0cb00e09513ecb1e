"""The checks and headers around every request of the server and the studio."""

import re
import time
from collections.abc import Callable, Collection, Mapping
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_REQUEST_ID = re.compile(r"[\w.-]{1,64}")


class Shell:
    """Middleware that refuses foreign hosts and origins, adds headers, and gives every request an
    id.

    The check of the Host header stops DNS rebinding: a page whose domain name was changed to point
    to this machine. The check of the Origin header stops all other pages, because a browser sends a
    POST without a body from any page.
    """

    def __init__(
        self,
        app: ASGIApp,
        refuse: Callable[[str], ASGIApp],
        hosts: Collection[str] | None = None,
        origins: Collection[str] | None = None,
        headers: Mapping[str, str] | None = None,
        on_answered: Callable[[Scope, int, float], None] | None = None,
    ) -> None:
        """`refuse` builds the response to a refused request from a sentence. `hosts` and `origins`
        are allowed in addition to the server's own; None skips the check. `headers` are added
        unless the response has them. `on_answered` is called with the scope, the status and the
        seconds of every request.
        """
        self.app = app
        self.refuse = refuse
        self.hosts = hosts
        self.origins = origins
        self.headers = headers or {}
        self.on_answered = on_answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        started = time.perf_counter()
        status = 0
        client_id = headers.get("x-request-id", "")
        # A client's own id helps to find the request in both logs.
        request_id = client_id if _REQUEST_ID.fullmatch(client_id) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                response_headers = MutableHeaders(scope=message)
                response_headers["x-request-id"] = request_id
                for name, value in self.headers.items():
                    response_headers.setdefault(name, value)
            await send(message)

        # Refused before the body is read.
        reason = self._find_refusal(headers)
        try:
            await (self.refuse(reason) if reason else self.app)(scope, receive, send_with_headers)
        finally:
            if self.on_answered:
                self.on_answered(scope, status, time.perf_counter() - started)

    def _find_refusal(self, headers: Headers) -> str:
        host = headers.get("host", "")
        origin = headers.get("origin", "")
        name = (
            host[1:].partition("]")[0]
            if host.startswith("[")
            else host.partition(":")[0].casefold()
        )
        if self.hosts is not None and name not in self.hosts:
            return f"The Host header of a request must be one of: {', '.join(self.hosts)}."
        is_own = origin.partition("://")[2].casefold() == host.casefold()
        if self.origins is None or not origin or is_own or {origin, "*"} & {*self.origins}:
            return ""
        return f"Pages of {origin} may not use this server. --origin {origin} allows them."
