"""Consistent masking: one value gets one surrogate throughout, so that the task stays learnable.

Surrogates come from HMAC-SHA-256 under a secret key, so that nobody without the key can try out values. The
way back is a key file that is written apart from the data and only on request.
"""

from __future__ import annotations

import hmac
import json
import secrets as random_source
from collections.abc import Collection, Iterable
from pathlib import Path

from etude.base.files import write_bytes
from etude.errors import RunError
from etude.privacy.find import find
from etude.privacy.mask.letter_runs import LetterRuns
from etude.privacy.mask.occurrences import Standing
from etude.privacy.mask.same_value import FREE, NUMBERS, canonical, escaped, unescaped
from etude.privacy.mask.surrogates import may_belong, surrogate, written_as
from etude.privacy.spans import Span

REMEDY = "Put a copy of it back. Without one, delete it: what it stood for is lost, and all values get new stand-ins."
MOST_TRIES = 1000
"""Surrogates tried until one is free; short numbers can run out of others."""


class Masker:
    """Replaces what was found, and remembers what stands for what.

    `key` (32 random bytes by default) fixes the surrogates: the same key masks two files alike, but for surrogates
    that stand in one of them by themselves.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or random_source.token_bytes(32)
        self._forward: dict[tuple[str, str], str] = {}
        self._back: dict[str, str] = {}
        self._first: dict[tuple[str, str], str] = {}
        """`_value` -> the surrogate for the first way in which it was written."""
        self.standing = Standing()
        """Finds the surrogates in texts."""
        self._made: set[str] = set()
        """Canonical surrogates."""
        self._there = LetterRuns()
        """What occurs in the texts; no surrogate may be any of it."""

    def keep_clear_of(self, text: str) -> None:
        """Makes no surrogate that occurs in the text. Given all texts before the first is masked, the way
        back is exact for all of them."""
        self._there.add(text)

    def mask(self, text: str, spans: Iterable[Span]) -> str:
        """The text with every span replaced; spans as `find` gives them: in order, not overlapping."""
        self.keep_clear_of(text)
        pieces, end = [], 0
        for span in spans:
            pieces += [text[end : span.start], self.surrogate(span.kind, span.text)]
            end = span.end
        return "".join([*pieces, text[end:]])

    def surrogate(self, kind: str, text: str) -> str:
        """What stands for a value: the same letters and digits for the same kind and value, and for the same number
        whatever its kind. The spaces and hyphens of a number, and capitals, are as in `text`; in keys and passwords
        every character counts.

        Two values never share a surrogate, and no surrogate is itself a value that was masked.
        """
        known = self._forward.get((kind, text))
        if known is None:
            known = self._written(kind, text)
            self._remember(kind, text, known)
        return known

    def unmask(self, text: str) -> str:
        """The text with the surrogates of this masker turned back, as whole words, the longest first."""
        pieces, end = [], 0
        for start, last in self.standing.places(text):
            pieces += [text[end:start], self._back[text[start:last]]]
            end = last
        return "".join([*pieces, text[end:]])

    @property
    def stand_ins(self) -> Collection[str]:
        """All surrogates that stand for something."""
        return self._back.keys()

    def save_key(self, file: Path) -> None:
        """Writes the way back, whole even after a kill, readable by its owner only (mode 600). Raises OSError."""
        body = {"key": self._key.hex(), "values": [[*pair, to] for pair, to in self._forward.items()]}
        write_bytes(file, json.dumps(body, indent=1).encode(), private=True)

    @classmethod
    def load_key(cls, file: Path) -> Masker:
        """The masker whose key file this is. Raises OSError, and RunError where it cannot be read as one."""
        try:
            body = json.loads(file.read_text(encoding="utf-8"))
            masker = cls(bytes.fromhex(body["key"]))
            for kind, text, to in body["values"]:
                masker._remember(kind, text, to)
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{file} is no key file, or a damaged one ({error}). {REMEDY}") from error
        return masker

    def _remember(self, kind: str, text: str, made: str) -> None:
        self._forward[kind, text] = made
        if made not in self._back:
            self._back[made] = text
            self.standing.add(made)
        self._first.setdefault(_value(kind, text), unescaped(made))
        self._made.add(canonical(kind, made))

    def _written(self, kind: str, text: str) -> str:
        """A surrogate that stands for the value already, written as the value is here; else a new one."""
        first = self._first.get(_value(kind, text))
        if first is None:
            return self._new(kind, text)
        ways = (_as_in(text, way) for way in written_as(kind, first, unescaped(text)))
        free = (way for way in ways if self._back.get(way, text) == text)
        return next(free, None) or (self._new(kind, text) if "\\" in text else first)

    def _new(self, kind: str, text: str) -> str:
        (sort, plain), meant = _value(kind, text), unescaped(text)
        for tries in range(2 * MOST_TRIES):
            value = f"{sort}\0{plain}\0{tries}".encode("utf-8", "surrogatepass")
            made = surrogate(kind, _widened(meant, tries), hmac.digest(self._key, value, "sha256"), tries)
            if made and self._is_free(kind, made, text, tries):
                return _as_in(text, made)
        return f"[{kind.replace('_', ' ')} {len(self._back)}]"

    def _is_free(self, kind: str, made: str, text: str, tries: int) -> bool:
        """Whether nothing else is, or may be, meant by a surrogate."""
        plain = canonical(kind, made)
        kinds = {kind, "card", "iban"} if kind in NUMBERS else {kind}
        return (
            plain != canonical(kind, text)
            and plain not in self._made
            and self._back.get(_as_in(text, made), text) == text
            and _value(kind, made) not in self._first
            and not self._there.may_hold(made)
            and not any(may_belong(each, made, text, tries) for each in kinds)
            # Twelve digits of a card's sixteen can have the form of a national number, which would be found again.
            and all(span.kind == kind or span.text == made for span in find(made, review=False))
        )


def _value(kind: str, text: str) -> tuple[str, str]:
    """What is equal for two spans of one value: an account number may be told as a phone number elsewhere."""
    plain = canonical(kind, text)
    return ("number" if kind in NUMBERS and len(plain) >= FREE else kind), plain


def _as_in(text: str, made: str) -> str:
    """A surrogate with the escapes of JSON, where the text that it stands for is written with them."""
    return escaped(made, text.isascii()) if unescaped(text) != text else made


def _widened(text: str, tries: int) -> str:
    """A number that is nothing but digits with more of them, when no other of its length has been free: in JSON it has
    to stay a number."""
    return text + "0" * (1 + (tries - MOST_TRIES) // 100) if tries >= MOST_TRIES and text.isdigit() else text
