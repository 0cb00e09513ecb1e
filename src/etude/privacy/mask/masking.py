"""Consistent masking: a value gets the same surrogate everywhere, so the task can still be learned.

Surrogates come from HMAC-SHA-256 with a secret key, so nobody without the key can find values by
trial. The map from surrogate to original is a key file; it is separate from the data, and is
written only on request.
"""

import hmac
import json
import secrets as random_source
from collections.abc import Collection, Iterable
from pathlib import Path

from etude.base.files import write_bytes
from etude.errors import RunError
from etude.privacy.find import find
from etude.privacy.mask import known_values, lookup
from etude.privacy.mask.known_values import decode_json_string, to_canonical
from etude.privacy.mask.surrogates import create_surrogate, list_spellings, may_be_real
from etude.privacy.spans import Span

KEY_REMEDY = (
    "Restore it from a backup. If there is none, delete it; the originals are then lost, and all "
    "values get new surrogates."
)
MAX_TRIES = 1000
"""Surrogates of one length that are tried until one is unused; if a number has few digits, all may
be used.
"""


class Masker:
    """Replaces spans by surrogates, and can undo it.

    The same `key` (default: 32 random bytes) masks two files alike, except for surrogates that one
    already has.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or random_source.token_bytes(32)
        # (kind, text) -> surrogate
        self._surrogates: dict[tuple[str, str], str] = {}
        # Surrogate -> text
        self._originals: dict[str, str] = {}
        # `_value_key` -> the surrogate of its first spelling
        self._first_surrogates: dict[tuple[str, str], str] = {}
        self.surrogate_index = lookup.SurrogateIndex()
        self._canonical_surrogates: set[str] = set()
        # No surrogate may occur in the texts
        self._words_in_texts = lookup.WordFilter()

    def keep_clear_of(self, text: str) -> None:
        """Create no surrogate that occurs in the text.

        If it is called with all texts before the first one is masked, `unmask` is exact for all of
        them.
        """
        self._words_in_texts.add(text)

    def mask(self, text: str, spans: Iterable[Span]) -> str:
        """Replace spans, which are in order and do not overlap, as `find` returns them."""
        self.keep_clear_of(text)
        pieces = []
        end = 0
        for span in spans:
            pieces += [text[end : span.start], self.surrogate(span.kind, span.text)]
            end = span.end
        return "".join([*pieces, text[end:]])

    def surrogate(self, kind: str, text: str) -> str:
        """Return the surrogate of a value.

        All spellings of a value have the same letters and digits in their surrogates, even if a
        number is found as different kinds; spaces, hyphens and capitals are those of `text`. In
        keys and passwords every character counts. No two values share a surrogate, and no surrogate
        equals a value that was masked.
        """
        surrogate = self._surrogates.get((kind, text))
        if surrogate is None:
            # A value that has a surrogate gets it in the spelling of `text`.
            first = self._first_surrogates.get(_value_key(kind, text))
            spellings = list_spellings(kind, first, decode_json_string(text)) if first else ()
            candidates = (_escape_like(text, spelling) for spelling in spellings)
            surrogate = next(
                (item for item in candidates if self._originals.get(item, text) == text), None
            )
            if surrogate is None:
                surrogate = (
                    first if first and "\\" not in text else self._create_surrogate(kind, text)
                )
            self._remember(kind, text, surrogate)
        return surrogate

    def unmask(self, text: str) -> str:
        """Replace the surrogates of this masker, as whole words, by their originals."""
        pieces = []
        end = 0
        for start, stop in self.surrogate_index.find_in(text):
            pieces += [text[end:start], self._originals[text[start:stop]]]
            end = stop
        return "".join([*pieces, text[end:]])

    @property
    def surrogates(self) -> Collection[str]:
        return self._originals.keys()

    def save_key(self, file: Path) -> None:
        """Write the map from surrogate to original, readable by the owner only (mode 600). Raises
        OSError.
        """
        values = [
            [*kind_and_text, surrogate] for kind_and_text, surrogate in self._surrogates.items()
        ]
        body = {"key": self._key.hex(), "values": values}
        write_bytes(file, json.dumps(body, indent=1).encode(), private=True)

    @classmethod
    def load_key(cls, file: Path) -> "Masker":
        """Load the masker that saved a key file. Raises OSError, and RunError if the file is
        damaged.
        """
        try:
            body = json.loads(file.read_text(encoding="utf-8"))
            masker = cls(bytes.fromhex(body["key"]))
            for kind, text, surrogate in body["values"]:
                masker._remember(kind, text, surrogate)
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{file} is not a key file, or is damaged ({error}). {KEY_REMEDY}"
            ) from error
        return masker

    def _remember(self, kind: str, text: str, surrogate: str) -> None:
        self._surrogates[kind, text] = surrogate
        if surrogate not in self._originals:
            self._originals[surrogate] = text
            self.surrogate_index.add(surrogate)
        self._first_surrogates.setdefault(_value_key(kind, text), decode_json_string(surrogate))
        self._canonical_surrogates.add(to_canonical(kind, surrogate))

    def _create_surrogate(self, kind: str, text: str) -> str:
        (number_or_kind, canonical) = _value_key(kind, text)
        decoded = decode_json_string(text)
        for tries in range(2 * MAX_TRIES):
            if tries >= MAX_TRIES and decoded.isdigit():
                # All numbers of this length are used. With more digits it is still a number, as
                # JSON requires.
                pattern = decoded + "0" * (1 + (tries - MAX_TRIES) // 100)
            else:
                pattern = decoded
            value = f"{number_or_kind}\0{canonical}\0{tries}".encode("utf-8", "surrogatepass")
            candidate = create_surrogate(
                kind, pattern, hmac.digest(self._key, value, "sha256"), tries
            )
            if candidate and self._is_free(kind, candidate, text, tries):
                return _escape_like(text, candidate)
        return f"[{kind.replace('_', ' ')} {len(self._originals)}]"

    def _is_free(self, kind: str, candidate: str, text: str, tries: int) -> bool:
        """Whether a surrogate is unused, not in the texts, and certainly not a real value."""
        canonical = to_canonical(kind, candidate)
        kinds = {kind, "card", "iban"} if kind in known_values.NUMBER_KINDS else {kind}
        return (
            canonical != to_canonical(kind, text)
            and canonical not in self._canonical_surrogates
            and self._originals.get(_escape_like(text, candidate), text) == text
            and _value_key(kind, candidate) not in self._first_surrogates
            and not self._words_in_texts.may_contain(candidate)
            and not any(may_be_real(other_kind, candidate, text, tries) for other_kind in kinds)
            # Twelve of a card's sixteen digits can look like a national number, which `find` would
            # find in it.
            and all(
                span.kind == kind or span.text == candidate
                for span in find(candidate, review=False)
            )
        )


def _value_key(kind: str, text: str) -> tuple[str, str]:
    """Return a key that is equal for all spans of a value. An account number can be found as a
    phone elsewhere.
    """
    canonical = to_canonical(kind, text)
    is_number = (
        kind in known_values.NUMBER_KINDS and len(canonical) >= known_values.MIN_NUMBER_LENGTH
    )
    return ("number" if is_number else kind), canonical


def _escape_like(text: str, surrogate: str) -> str:
    """Escape a surrogate for a JSON string if the original text has such escapes."""
    has_escapes = decode_json_string(text) != text
    return known_values.encode_json_string(surrogate, text.isascii()) if has_escapes else surrogate
