"""The secret key of a user's records. It hashes users and exchanges, and masks questions.

Without the key, a value that a record has only as a hash or a surrogate cannot be found by trying
all values. So the key is never in the folder of a record: it is a file of the user who runs the
server, and `etude watch` reads the same file.
"""

import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etude.base.files import hold_lock, write_bytes
from etude.errors import InputError
from etude.types import Message

VARIABLE = "ETUDE_RECORD_KEY"
"""The environment variable with another path of the key's file."""
NUM_BYTES = 32
HASH_DIGITS = 16
ID_DIGITS = 8


@dataclass(frozen=True, slots=True)
class RecordKey:
    """A secret key, and the hashes that are computed with it (HMAC-SHA-256)."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Names the key in the lines of a record."""
        return self._derive("id").hex()[:ID_DIGITS]

    @property
    def masking(self) -> bytes:
        """The key of surrogates that are the same in every call."""
        return self._derive("masking")

    def hash_exchange(self, turns: Sequence[Message], answer: str) -> str:
        """Hash an input and its answer, by which feedback on the answer is found although the
        record is masked.
        """
        pairs = [(turn.role, turn.content) for turn in turns]
        return self._derive(f"exchange {(pairs, answer)!r}").hex()[:HASH_DIGITS]

    def hash_user(self, name: str) -> str:
        """Hash the `user` that a client named."""
        return self._derive(f"user {name}").hex()[:HASH_DIGITS]

    def _derive(self, purpose: str) -> bytes:
        return hmac.digest(self.secret, purpose.encode("utf-8", "surrogatepass"), "sha256")


def find_key_file() -> Path:
    """Return the path of the key's file, by the environment variable or else in the user's home."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path.home() / ".config" / "etude" / "record.key"


def load_record_key(record: Path) -> RecordKey:
    """Load the key; the first call on a machine creates its file, readable by its owner only.

    Raises InputError if the file is inside the folder of the `record`, is no key, or cannot be read
    or created.
    """
    file = find_key_file().absolute()
    if file.resolve().is_relative_to(record.resolve()):
        message = "the key of a record must not be inside the record"
        raise InputError.of(VARIABLE, message, str(file), "name a file in another folder")

    try:
        if not file.exists():
            _create_key(file)
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        message = f"the key of the record cannot be read or created ({error.strerror})"
        remedy = f"set {VARIABLE} to a file outside the record that this user may write"
        raise InputError.of(VARIABLE, message, str(file), remedy) from error

    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != NUM_BYTES:
        message = f"not a key of {2 * NUM_BYTES} hexadecimal digits"
        remedy = (
            "restore it from a backup; or delete it, then feedback no longer counts for requests "
            "recorded before"
        )
        raise InputError.of(VARIABLE, message, str(file), remedy)
    return RecordKey(secret)


def _create_key(file: Path) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with hold_lock(file.with_suffix(".lock")):
        # Another server may have created it while this one waited.
        if not file.exists():
            write_bytes(file, os.urandom(NUM_BYTES).hex().encode(), private=True)
