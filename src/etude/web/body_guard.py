"""Checks before and while a request's body is read: sender, content type, time, size, and half
characters.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from etude.base.files import parse_storable_json
from etude.web.api_errors import ApiError

MIN_RATE = 65_536  # bytes per second that a client must send after the first seconds
TOO_LARGE = ApiError(
    413,
    "The body is too large for this route. Start the server with --limit body_bytes=N to allow "
    "larger chats.",
)


def build_route_class(check: Callable[[Request], Awaitable[None]]) -> type[APIRoute]:
    """Return a class of routes that call `check` before they read the body; FastAPI's dependencies
    run after that.
    """

    class CheckedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def check_then_handle(request: Request) -> Response:
                await check(request)
                return await handle(StorableRequest(request.scope, request.receive))

            return check_then_handle

    return CheckedRoute


class StorableRequest(Request):
    """A request whose JSON contains nothing that no file can store."""

    async def json(self) -> Any:
        """Parse the body. Raises JSONDecodeError."""
        try:
            return parse_storable_json((await self.body()).decode())
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error


class BodyGuard:
    """Middleware that reads a body without a content type, or with the one that `curl -d` sends, as
    JSON. It refuses a body that arrives too slowly, and words Starlette's error for a body that is
    too large as OpenAI does.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        """`seconds`: the time for a small body; a large one has more time, in proportion to
        MIN_RATE.
        """
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        if headers.get("content-type", "").partition(";")[0] in (
            "",
            "application/x-www-form-urlencoded",
        ):
            headers["content-type"] = "application/json"
        deadline = asyncio.get_running_loop().time() + self.seconds
        is_read = False
        is_refused = False

        async def receive_in_time() -> Message:
            nonlocal deadline, is_read
            if is_read:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(
                    408, f"The body did not arrive within {self.seconds:g} s."
                ) from error
            deadline += len(message.get("body", b"")) / MIN_RATE
            is_read = not message.get("more_body", False)
            return message

        async def send_reworded(message: Message) -> None:
            nonlocal is_refused
            if (
                message["type"] == "http.response.start"
                and message["status"] == 413
                and dict(message["headers"]).get(b"content-type")
                != b"application/json"  # an ApiError
            ):
                is_refused = True
                await TOO_LARGE.response(scope, receive, send)
            elif not is_refused:
                await send(message)

        await self.app(scope, receive_in_time, send_reworded)
