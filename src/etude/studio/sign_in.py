"""People who may use the pages. Each has a sign-in link and a role."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from starlette.requests import Request

from etude.errors import InputError, quote_value
from etude.web.api_keys import find_hash, hash_key

Role = Literal["reader", "reviewer", "expert", "owner"]
ROLES: tuple[Role, ...] = get_args(Role)
"""A reader reads; a reviewer also gives feedback; an expert also judges answers that others left to
an expert; an owner also writes files and checks.
"""


@dataclass(frozen=True)
class Person:
    """Somebody with a sign-in link."""

    name: str
    """"" for the owner, who chooses a name in the browser."""
    role: Role
    hash: str  # SHA-256 of the link's 256 random bits, which are not saved

    def has_role(self, role: Role) -> bool:
        """Return whether the person has the rights of `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


def invite_person(text: str) -> tuple[Person, str]:
    """Parse NAME:ROLE. Returns the person and the key of their sign-in link. Raises InputError."""
    name, _, role_name = text.rpartition(":")
    role = next((role for role in ROLES if role == role_name), None)
    if not name.strip() or role is None:
        remedy = f"write NAME:ROLE, with one of {', '.join(ROLES)}"
        raise InputError.of("--invite", "not a person with a role", quote_value(text), remedy)
    key = secrets.token_urlsafe(32)
    return Person(name.strip(), role, hash_key(key)), key


class SignIn:
    """The keys of sign-in links and the tokens of forms, all derived from one secret."""

    def __init__(self, secret: str, people: Callable[[], Sequence[Person]] = tuple) -> None:
        self._secret = secret.encode()
        self._people = people

    @property
    def owner_key(self) -> str:
        return self._derive("session")

    @property
    def cookie_name(self) -> str:
        """The name of the cookie. Browsers send cookies to all ports of a host, so every studio has
        its own.
        """
        return f"etude-{self._derive('cookie')[:8]}"

    def find_person(self, key: str) -> Person | None:
        """Find the person with a key."""
        people = [Person("", "owner", hash_key(self.owner_key)), *self._people()]
        position = find_hash((person.hash for person in people), key)
        return None if position is None else people[position]

    def read_key(self, request: Request) -> str:
        """Return the key that the browser sent; "" if none."""
        return request.cookies.get(self.cookie_name, "")

    def form_token(self, key: str = "") -> str:
        """Return the token that a form must send back and that other sites cannot know; `key` is ""
        for the owner.
        """
        return self._derive(f"form {key or self.owner_key}")

    def is_own_form(self, request: Request, token: str) -> bool:
        """Return whether a form comes from a page of this studio; compares in constant time."""
        return hmac.compare_digest(
            token.encode(errors="replace"), self.form_token(self.read_key(request)).encode()
        )

    def _derive(self, purpose: str) -> str:
        return hmac.new(self._secret, purpose.encode(), hashlib.sha256).hexdigest()[:32]  # 128 bits
