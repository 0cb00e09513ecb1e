"""What was found, remembered only as keyed hashes: for a test, after training, of what the model repeats.

A plain hash of a phone number can be undone by hashing all phone numbers; HMAC-SHA-256 under a secret key
cannot without the key. The ledger's lines hold kinds, row ids and hashes, never a text; an id that is an e-mail address
or the like is hashed too. The key is a file apart.
"""

from __future__ import annotations

import errno
import hmac
import secrets as random_source
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from etude.base.files import read_lines, write_bytes, write_lines
from etude.errors import RunError
from etude.privacy.find import find
from etude.privacy.mask.same_value import unescaped
from etude.privacy.spans import Span

REMEDY = "Scan the data again."


class Ledger:
    """Hashed findings. `key`: 32 random bytes by default; the same key recognises the same values."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or random_source.token_bytes(32)
        self._entries: dict[str, tuple[str, str]] = {}

    def __len__(self) -> int:
        """Different values remembered."""
        return len(self._entries)

    def add(self, row: str, spans: Iterable[Span]) -> None:
        """Remembers what was found in a row, under the row's id; of a value's rows the first stays."""
        spans = tuple(spans)
        if spans and find(row, review=False):
            row = f"row {self._digest(row)[:12]}"
        for span in spans:
            self._entries.setdefault(self._hash(span), (span.kind, row))

    def repeated(self, spans: Iterable[Span]) -> Iterator[tuple[Span, str]]:
        """Those spans, found in a model's answers, whose value is remembered, with the row it stood in."""
        for span in spans:
            entry = self._entries.get(self._hash(span))
            if entry:
                yield span, entry[1]

    def save(self, file: Path, key_file: Path) -> None:
        """Writes the hashes, and the key apart from them, both whole after a kill; the key is its owner's only (mode
        600). Raises OSError where another key is there."""
        key = self._key.hex().encode()
        if not key_file.exists():
            write_bytes(key_file, key, private=True)
        elif key_file.read_bytes() == key:
            key_file.chmod(0o600)
        else:
            raise FileExistsError(errno.EEXIST, "is there, with another key", str(key_file))
        lines = [{"hash": digest, "kind": kind, "row": row} for digest, (kind, row) in self._entries.items()]
        write_lines(file, lines)

    @classmethod
    def load(cls, file: Path, key_file: Path) -> Ledger:
        """The ledger of both files. Raises OSError, and RunError where one of them is damaged."""
        try:
            ledger = cls(bytes.fromhex(key_file.read_text(encoding="ascii")))
        except ValueError as error:
            raise RunError(
                f"{key_file} is no key of a ledger, or a damaged one ({error}). {REMEDY}"
            ) from error
        try:
            for line in read_lines(file, REMEDY):
                ledger._entries[line["hash"]] = (line["kind"], line["row"])
        except KeyError as error:
            raise RunError(f"{file} is no ledger: a line without {error}. {REMEDY}") from error
        return ledger

    def _hash(self, span: Span) -> str:
        """Of the value's letters and digits only, so that other spaces, hyphens, escapes and accents do not hide it."""
        meant = unicodedata.normalize("NFC", unescaped(span.text)).casefold()
        return self._digest("".join(filter(str.isalnum, meant)) or meant)

    def _digest(self, text: str) -> str:
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256").hex()
