"""Who may use the pages, and what a page may load: nothing but the studio's own files."""

from __future__ import annotations

import hashlib
import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 2**20
"""Bytes of a request's body."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Keys:
    """Tokens made of one secret: what a sign-in link holds, and what every form must send back."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    @property
    def session(self) -> str:
        """What the sign-in link and then the cookie hold."""
        return self._made("session")

    @property
    def cookie(self) -> str:
        """The name of the cookie; a browser sends the cookies of one port to all, so every studio has its own."""
        return f"etude-{self._made('cookie')[:8]}"

    @property
    def form(self) -> str:
        """What a form holds, which another site cannot know."""
        return self._made("form")

    def signed_in(self, request: Request) -> bool:
        """Whether a request comes from a browser that has opened the sign-in link."""
        return same(request.cookies.get(self.cookie, ""), self.session)

    def _made(self, use: str) -> str:
        return hmac.new(self._secret, use.encode(), hashlib.sha256).hexdigest()[:32]


def same(given: str, wanted: str) -> bool:
    """Whether two texts are equal, in a time that does not tell how far they are."""
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


class Guard:
    """Around all pages: refuses foreign hosts and long bodies, and adds the headers."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it with a refusal."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({name: value for name, value in HEADERS.items() if name not in headers})
            await send(message)

        await (self._refusal(Headers(scope=scope)) or self.app)(scope, receive, sent)

    def _refusal(self, headers: Headers) -> ASGIApp | None:
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        if host not in self.hosts:  # another name for this machine: DNS rebinding
            return PlainTextResponse("This address is not the studio's.", 421)
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal() or int(length) > MOST_BYTES:
            return PlainTextResponse(f"At most {MOST_BYTES:,} bytes are taken at once.", 413)
        return None
