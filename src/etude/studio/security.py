"""Who may use the pages, and what a page may load: nothing but the studio's own files."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from etude.errors import InputError, Issue, quote_value

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


Role = Literal["reader", "reviewer", "owner"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Reads; says what is right; writes files, checks and compares. Each may all that those before it may."""


@dataclass(frozen=True)
class Person:
    """Who has a sign-in link."""

    name: str
    """"" for the owner at this machine, who chooses one."""
    role: Role
    hash: str = ""
    """SHA-256 of the link's 256 random bits, which are kept nowhere."""

    def may(self, role: Role) -> bool:
        """Whether the person may do what `role` may."""
        return ROLES.index(self.role) >= ROLES.index(role)


OWNER = Person("", "owner")


def invited(given: str) -> tuple[Person, str]:
    """A person from NAME:ROLE, and the key of their sign-in link. Raises InputError."""
    name, _, role = given.rpartition(":")
    known = next((each for each in ROLES if each == role), None)
    if not name.strip() or known is None:
        remedy = f"write NAME:ROLE, with one of {', '.join(ROLES)}"
        raise InputError([Issue("--invite", "not a person with a role", quote_value(given), remedy)])
    key = secrets.token_urlsafe(32)
    return Person(name.strip(), known, _hash(key)), key


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


class Keys:
    """Tokens made of one secret: what the owner's sign-in link holds, and what every form must send back."""

    def __init__(self, secret: str, people: Callable[[], Sequence[Person]] = tuple) -> None:
        self._secret, self._people = secret.encode(), people

    @property
    def session(self) -> str:
        """What the owner's sign-in link and then the cookie hold."""
        return self._made("session")

    @property
    def cookie(self) -> str:
        """The name of the cookie; a browser sends the cookies of one port to all, so every studio has its own."""
        return f"etude-{self._made('cookie')[:8]}"

    def form(self, key: str = "") -> str:
        """What a form holds, which another site cannot know; of the owner, or of who has signed in by `key`."""
        return self._made(f"form {key or self.session}")

    def holder(self, key: str) -> Person | None:
        """Who has a key; compared with all keys, each in constant time."""
        given, found = _hash(key), OWNER if same(key, self.session) else None
        for person in self._people():
            found = person if same(given, person.hash) else found
        return found

    def person(self, request: Request) -> Person | None:
        """Whose browser a request comes from; None for one that has not opened a sign-in link."""
        return self.holder(self.given(request))

    def given(self, request: Request) -> str:
        """The key that a browser has sent; "" if none."""
        return request.cookies.get(self.cookie, "")

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
