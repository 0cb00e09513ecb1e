"""Stand-ins for personal data: of the same format, made from a keyed hash, and belonging to nobody.

Letters become letters and digits digits, so that what is learned from the text stays true of its form. E-mail
addresses end in example.org (RFC 2606), IP addresses lie in the ranges kept for documentation (RFC 5737 and
3849). A checksum is not kept: a surrogate never is a valid card or national number by design, only by chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import cycle

_GIVEN = [
    "Alva",
    "Bryn",
    "Casper",
    "Delia",
    "Edda",
    "Floris",
    "Greta",
    "Henrik",
    "Imke",
    "Joris",
    "Kaia",
    "Lennart",
    "Mirja",
    "Nils",
    "Oda",
    "Pelle",
    "Quinn",
    "Runa",
    "Sander",
    "Tove",
    "Ulla",
    "Vidar",
    "Wanda",
    "Xenia",
    "Yara",
    "Zeno",
    "Arvid",
    "Birte",
    "Corin",
    "Dagny",
]
_FAMILY = [
    "Almgren",
    "Birkner",
    "Corvall",
    "Dahlby",
    "Elmstrand",
    "Fennick",
    "Grenfeld",
    "Hollwin",
    "Isborg",
    "Jarnow",
    "Kestrel",
    "Lindwald",
    "Morvane",
    "Norhagen",
    "Ostrell",
    "Penrick",
    "Quillmar",
    "Rosvik",
    "Stenhart",
    "Tarnley",
    "Ulmer",
    "Valdane",
    "Westrup",
    "Yarrow",
    "Zellin",
    "Ashgrove",
    "Brackwell",
    "Dunmere",
]
_SCHEME = re.compile(
    r"^(?:sk|pk|rk|gh[a-z]|hf|npm|xox[a-z]|glpat|AKIA|ASIA|AIza|SG|eyJ)[-_.]?|^[A-Za-z]{2,10}[-_](?=.)"
)


def surrogate(kind: str, text: str, digest: bytes) -> str:
    """What stands in for `text`; equal kinds, texts and digests give equal surrogates."""
    if kind in ("private_key", "health"):
        return f"[{kind.replace('_', ' ')} {digest[:3].hex()}]"
    if kind == "email":
        return (
            f"{_pick(_GIVEN, digest[0])}.{_pick(_FAMILY, digest[1])}{digest[2:4].hex()}@example.org".lower()
        )
    if kind == "name":
        return _name(text, digest)
    if kind == "ip_address":
        return f"2001:db8::{digest[:2].hex()}" if ":" in text else f"203.0.113.{digest[0]}"
    return _same_format(text, digest)


def _name(text: str, digest: bytes) -> str:
    """As many words as the name has, initials as initials, in its capitals."""
    words = text.split()
    numbers = cycle(digest)
    made = [_name_word(word, place, len(words), next(numbers)) for place, word in enumerate(words)]
    name = " ".join(made)
    return name.lower() if text.islower() else name.upper() if text.isupper() and len(text) > 3 else name


def _name_word(word: str, place: int, count: int, number: int) -> str:
    if len(word.rstrip(".")) == 1:
        return chr(ord("A") + number % 26) + word[1:]
    return _pick(_FAMILY if count > 1 and place == count - 1 else _GIVEN, number)


def _same_format(text: str, digest: bytes) -> str:
    """Every letter and digit replaced by another of its sort; an issuer's mark at the front stays."""
    kept = _SCHEME.match(text)
    start = kept.end() if kept and kept.end() < len(text) else 0
    numbers = cycle(digest)
    return text[:start] + "".join(map(_replacer(numbers), text[start:]))


def _replacer(numbers: Iterator[int]) -> Callable[[str], str]:
    def replaced(letter: str) -> str:
        if letter.isdigit():
            return str(next(numbers) % 10)
        if letter.isalpha():
            small = chr(ord("a") + next(numbers) % 26)
            return small.upper() if letter.isupper() else small
        return letter

    return replaced


def _pick(words: list[str], number: int) -> str:
    return words[number % len(words)]
