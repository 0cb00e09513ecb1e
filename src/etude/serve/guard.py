"""What stands around every request: its id and its line in the log, the host it names, and the key it brings."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from uuid import uuid4

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from etude.serve.errors import ApiError
from etude.serve.keys import Key, holder
from etude.serve.metrics import Figures

LOG = logging.getLogger("etude.serve")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OWN_ID = re.compile(r"[\w.-]{1,64}")


class Guard:
    """Gives every request an id, counts it and logs one JSON line when it is answered.

    With `loopback` a request must name the loopback as its host: a page on the network whose name was made to mean this
    machine cannot reach the server (DNS rebinding). Requests from pages are refused unless their origin is the server's
    own or in `origins`: a browser sends a POST without a body from any page.
    """

    def __init__(self, app: ASGIApp, figures: Figures, loopback: bool, origins: tuple[str, ...] = ()) -> None:
        self.app, self.figures, self.loopback, self.origins = app, figures, loopback, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, started = Headers(scope=scope), time.perf_counter()
        given = headers.get("x-request-id", "")
        name = given if _OWN_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = name
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        try:
            if self.loopback and (why := self._foreign(headers)):
                await ApiError(403, why).response(scope, receive, answer)
            else:
                await self.app(scope, receive, answer)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self.figures.requests.labels(path, str(status)).inc()
            line = {"id": name, "method": scope["method"], "path": path, "status": status}
            line |= {"seconds": round(time.perf_counter() - started, 3), "key": scope["state"].get("key", "")}
            LOG.info(json.dumps(line))

    def _foreign(self, headers: Headers) -> str:
        """Why a request without a key comes from elsewhere, "" if it does not."""
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if _host(host) not in LOOPBACK:
            return "This server answers on the loopback only: name localhost as the host."
        own = origin.partition("://")[2].casefold() == host.casefold()
        if not origin or own or {origin, "*"} & {*self.origins}:
            return ""
        return f"Pages of {origin} may not ask this server; --origin {origin} lets them."


def _host(given: str) -> str:
    """The host without its port."""
    return given[1:].partition("]")[0] if given.startswith("[") else given.partition(":")[0].casefold()


def needs(keys: tuple[Key, ...], scope: str) -> Callable[[Request], None]:
    """A dependency that refuses a request whose key does not allow this; without any keys, none is needed."""

    def check(request: Request) -> None:
        if not keys:
            return
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        key = holder(keys, token.strip()) if kind.casefold() == "bearer" else None
        if key is None:
            raise ApiError(401, "A key is needed: Authorization: Bearer KEY.", code="invalid_api_key")
        request.state.key = key.name
        if scope not in key.scopes:
            raise ApiError(403, f"This key does not allow {scope}; it allows {', '.join(key.scopes)}.")

    return check
