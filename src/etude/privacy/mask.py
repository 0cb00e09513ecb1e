"""Consistent masking: one value gets one surrogate throughout, so that the task stays learnable.

Surrogates come from HMAC-SHA-256 under a secret key, so that nobody without the key can try out values. The
way back is a key file that is written apart from the data and only on request.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets as random_source
from collections.abc import Collection, Iterable
from pathlib import Path

from etude.files import write_bytes
from etude.privacy.spans import Span
from etude.privacy.surrogates import surrogate

_SPACES = re.compile(r"\s+")
MOST_TRIES = 1000
"""Surrogates tried until one is free; short numbers can run out of others."""


class Masker:
    """Replaces what was found, and remembers what stands for what.

    `key` (32 random bytes by default) fixes the surrogates: the same key masks two files alike.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or random_source.token_bytes(32)
        self._forward: dict[tuple[str, str], str] = {}
        self._back: dict[str, str] = {}

    def mask(self, text: str, spans: Iterable[Span]) -> str:
        """The text with every span replaced; spans as `find` gives them: in order, not overlapping."""
        pieces, end = [], 0
        for span in spans:
            pieces += [text[end : span.start], self.surrogate(span.kind, span.text)]
            end = span.end
        return "".join([*pieces, text[end:]])

    def surrogate(self, kind: str, text: str) -> str:
        """What stands for a value: the same for the same kind and value, whatever its spaces and capitals.

        Two values never share a surrogate, and no surrogate is itself a value that was masked.
        """
        known = self._forward.get((kind, text))
        if known is None:
            known = self._new(kind, text)
            self._forward[kind, text] = known
            self._back[known] = text
        return known

    def unmask(self, text: str) -> str:
        """The text with the surrogates of this masker turned back, the longest first."""
        if not self._back:
            return text
        longest = sorted(self._back, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest)))
        return pattern.sub(lambda match: self._back[match[0]], text)

    @property
    def stand_ins(self) -> Collection[str]:
        """All surrogates that stand for something."""
        return self._back.keys()

    def save_key(self, file: Path, over: bool = False) -> None:
        """Writes the way back, readable by its owner only (mode 600).

        Raises OSError where `file` exists, unless it is to be written `over`: then it is whole after a kill.
        """
        body = {"key": self._key.hex(), "values": [[*pair, to] for pair, to in self._forward.items()]}
        if over:
            write_bytes(file, json.dumps(body, indent=1).encode(), private=True)
            return
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(body, out, ensure_ascii=True, indent=1)
            out.flush()
            os.fsync(out.fileno())

    @classmethod
    def load_key(cls, file: Path) -> Masker:
        """The masker whose key file this is. Raises OSError and ValueError."""
        body = json.loads(file.read_text(encoding="utf-8"))
        masker = cls(bytes.fromhex(body["key"]))
        for kind, text, to in body["values"]:
            masker._forward[kind, text] = to
            masker._back[to] = text
        return masker

    def _new(self, kind: str, text: str) -> str:
        plain = _SPACES.sub(" ", text).casefold()
        for number in range(MOST_TRIES):
            digest = hmac.digest(
                self._key, f"{kind}\0{plain}\0{number}".encode("utf-8", "surrogatepass"), "sha256"
            )
            made = surrogate(kind, text, digest)
            if (
                made
                and made != text
                and self._back.get(made, text) == text
                and (kind, made) not in self._forward
            ):
                return made
        return f"[{kind.replace('_', ' ')} {len(self._back)}]"
