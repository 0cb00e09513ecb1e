"""API keys with scopes. A file of keys holds only their hashes."""

import hashlib
import hmac
import logging
import math
import secrets
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from starlette.requests import Request

from etude.base.files import read_lines, write_lines
from etude.base.issues import check_known
from etude.base.typed_json import from_json
from etude.errors import InputError, RunError
from etude.web.api_errors import ApiError

LOG = logging.getLogger("etude.serve")
# wrong keys that one address may send within this time
MAX_WRONG = 20
WRONG_SECONDS = 60
MAX_ADDRESSES = 1_000  # addresses whose wrong keys are counted; the oldest are forgotten first
Scope = Literal["chat", "feedback", "admin", "files", "train", "evals"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Ask for answers; send feedback; read metrics; upload, read and delete files; run
fine-tuning jobs and delete what they made; run evals and graders."""


@dataclass(frozen=True)
class ApiKey:
    """One key of the server."""

    name: str
    hash: str  # SHA-256 of its 256 random bits
    scopes: tuple[str, ...]


def create_key(file: Path, name: str, scopes: Sequence[str]) -> str:
    """Add a key to the file, creating the file if needed, and return the key. Only its hash is
    saved.

    Raises InputError if a scope is unknown or the name already has a key.
    """
    keys = read_keys(file) if file.exists() else ()
    check_known("--scope", scopes, SCOPES, "an unknown scope")
    if any(key.name == name for key in keys):
        raise InputError.of(
            str(file), f"{name!r} already has a key", "", "delete its line to replace it"
        )
    token = f"etude-{secrets.token_urlsafe(32)}"
    keys = (*keys, ApiKey(name, hash_key(token), tuple(scopes)))
    write_lines(file, [asdict(key) for key in keys], private=True)
    return token


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """Read a file of keys. Raises InputError if it cannot be read or contains none."""
    remedy = "make one with --new-key NAME"
    try:
        lines = read_lines(file, "Make keys with etude serve --new-key.")
        keys = tuple(from_json(ApiKey, line) for line in lines)
    except (RunError, ValueError) as error:
        raise InputError.of(str(file), "not a file of keys", str(error), remedy) from error
    if not keys:
        raise InputError.of(str(file), "the file contains no key", "", remedy)
    return keys


def hash_key(key: str) -> str:
    """SHA-256 of a key, in hexadecimal digits."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def find_hash(hashes: Iterable[str], key: str) -> int | None:
    """Return the position of a key's hash. Compares it with every hash, each in constant time."""
    digest = hash_key(key)
    matches = [
        position
        for position, candidate in enumerate(hashes)
        if hmac.compare_digest(candidate, digest)
    ]
    return matches[-1] if matches else None


def find_key(keys: Sequence[ApiKey], token: str) -> ApiKey | None:
    """Return the key with this token; None if there is none."""
    position = find_hash((key.hash for key in keys), token)
    return None if position is None else keys[position]


class KeyRing:
    """The keys that a server accepts: some for its whole life, and those of a file, read again when
    it changes.
    """

    def __init__(self, keys: Sequence[ApiKey] = (), file: Path | None = None) -> None:
        self.file = file
        self._own = tuple(keys)
        self._read = tuple[ApiKey, ...]()
        self._stamp: tuple[int, int] | None = None
        self._wrong: dict[str, deque[float]] = {}  # address -> when it sent wrong keys
        self.is_open = not keys and file is None
        """Whether requests need no key."""

    def list_keys(self) -> tuple[ApiKey, ...]:
        """Return the keys. If the file can no longer be read, its previous keys stay valid."""
        try:
            state = self.file.stat() if self.file else None
            stamp = (state.st_mtime_ns, state.st_size) if state else None
            if self.file and stamp != self._stamp:
                self._stamp, self._read = stamp, read_keys(self.file)
        except (OSError, InputError) as error:
            LOG.error(
                "etude serve: the previous keys stay valid, because the new ones cannot be read: "
                "%s",
                error,
            )
        return (*self._own, *self._read)

    def check(self, token: str, address: str) -> ApiKey:
        """Return the key with this token. Raises ApiError for a wrong token.

        After MAX_WRONG wrong keys, an address has to wait for the answer to its next wrong key.
        Right tokens are accepted meanwhile, because many clients may share the address.
        """
        if key := find_key(self.list_keys(), token):
            return key
        now = time.monotonic()
        times = self._wrong.get(address, deque())
        while times and now - times[0] > WRONG_SECONDS:
            times.popleft()
        if len(times) >= MAX_WRONG:
            seconds = math.ceil(times[0] + WRONG_SECONDS - now)
            message = f"Too many wrong keys from {address}. Try again in {seconds} s."
            raise ApiError(429, message, code="too_many_wrong_keys", retry_after=seconds)
        self._wrong.pop(address, None)
        self._wrong[address] = times
        times.append(now)
        if len(self._wrong) > MAX_ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
        raise ApiError(
            401,
            "This server needs an API key. Send the header Authorization: Bearer KEY.",
            code="invalid_api_key",
        )

    def check_request(self, request: Request, scope: Scope) -> None:
        """Raises ApiError if the server needs keys and the request's key lacks the scope."""
        if self.is_open:
            return
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        address = request.client.host if request.client else ""
        key = self.check(token.strip() if kind.casefold() == "bearer" else "", address)
        request.state.key = key.name
        request.state.scopes = key.scopes
        require_scope(request, scope)


def require_scope(request: Request, scope: Scope) -> None:
    """Raises ApiError if the key of a checked request lacks the scope."""
    scopes = getattr(request.state, "scopes", SCOPES)  # a server without keys allows everything
    if scope not in scopes:
        raise ApiError(403, f"This key does not allow {scope}. It allows {', '.join(scopes)}.")
