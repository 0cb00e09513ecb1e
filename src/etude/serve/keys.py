"""Keys for a server, of which the file holds only hashes, and what each of them allows."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from etude.base.files import read_lines, write_lines
from etude.base.typed_json import from_json
from etude.errors import InputError, Issue, RunError

Scope = Literal["chat", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Asking; saying what is right; figures, and loading and dropping assistants."""


@dataclass(frozen=True)
class Key:
    """One key: who has it, what it allows, and the hash of its 256 random bits (SHA-256)."""

    name: str
    hash: str
    scopes: tuple[str, ...]


def new_key(file: Path, name: str, scopes: Sequence[str]) -> str:
    """Adds a key to the file, which is made if it is not there, and returns it; it is kept nowhere.

    Raises InputError for an unknown scope, and a name that has a key already.
    """
    keys = read_keys(file) if file.exists() else ()
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise InputError(
            [Issue("--scope", "an unknown scope", unknown[0], f"use one of {', '.join(SCOPES)}")]
        )
    if any(key.name == name for key in keys):
        raise InputError(
            [Issue(str(file), f"{name!r} has a key already", "", "delete its line to replace it")]
        )
    token = f"etude-{secrets.token_urlsafe(32)}"
    key = Key(name, hashlib.sha256(token.encode()).hexdigest(), tuple(scopes))
    write_lines(file, [asdict(each) for each in (*keys, key)], private=True)
    return token


def read_keys(file: Path) -> tuple[Key, ...]:
    """The keys of a file. Raises InputError if it holds none or cannot be read."""
    try:
        keys = tuple(
            from_json(Key, line) for line in read_lines(file, "Make keys with etude serve --new-key.")
        )
    except (RunError, ValueError) as error:
        raise InputError(
            [Issue(str(file), "not a file of keys", str(error), "make one with --new-key NAME")]
        ) from error
    if not keys:
        raise InputError([Issue(str(file), "the file holds no key", "", "make one with --new-key NAME")])
    return keys


def holder(keys: Sequence[Key], token: str) -> Key | None:
    """The key that a token is; compared with all of them, each in constant time."""
    given = hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
    found = None
    for key in keys:
        if hmac.compare_digest(key.hash, given):
            found = key
    return found
