"""Stand-ins for personal data: of the same format, made from a keyed hash.

Letters become letters and digits digits, so that what is learned from the text stays true of its form. E-mail
addresses end in example.org (RFC 2606); IP addresses lie in the ranges kept for documentation (RFC 5737 and 3849)
and, when those run out, for measurements (RFC 2544). These belong to nobody, and neither do cards and bank accounts,
whose checksum is wrong. A phone number is no valid one of its country; of a number without a country code that is
judged in the regions where the value is valid. A national or other number is somebody's by chance only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import chain, cycle, islice

from etude.base.word_lists import read_table

REGIONS = ("US", "GB", "DE", "FR", "IT", "AU", "NL", "JP", "CH", "ZA", "ES", "PL", "PT", "IN", "BR")
"""Regions that are asked about a phone number without a country code."""

_NAMES = read_table(__file__, "names.yaml")
_GIVEN, _FAMILY = _NAMES["given"].split(), _NAMES["family"].split()
_ISSUER = re.compile(
    r"(?:(?:sk|pk|rk|gh[a-z]|hf|npm|xox[a-z]|glpat)[-_](?:(?:live|test)_|(?:proj|admin|svcacct|ant)-)?|github_pat_|AKIA|ASIA|AIza|SG\.|eyJ)(?=.)"
)
"""The mark at the front of a key that tells who has issued it, and nothing of whose it is."""
DOCUMENTED = 16
"""Tries after which IPv4 addresses no longer come from RFC 5737, which holds 768, but from RFC 2544, which holds
131,072."""

_TRUNK = re.compile(r"^[^0-9]*(00?)|(?<=\()0(?=\))")
"""Zeros that are dialled before a number: 030, 0044, +44 (0)20."""
TRUNK_TRIES = 32
"""Tries for a phone number that keeps them: of some plans nearly all such numbers are valid."""
PATIENCE = 100
"""Tries for a phone number that is valid in no more regions than the tries before have borne."""


def surrogate(kind: str, text: str, digest: bytes, tries: int = 0) -> str:
    """What stands in for `text`; equal arguments give equal surrogates. `tries`: how many were not free before."""
    if kind in ("private_key", "health"):
        return f"[{kind.replace('_', ' ')} {digest[:3].hex()}]"
    if kind == "email":
        made = f"{_pick(_GIVEN, digest[0])}.{_pick(_FAMILY, digest[1])}{digest[2:4].hex()}@example.org"
        return _in_case_of(text, made.lower())
    if kind == "name":
        return _name(text, digest)
    if kind == "ip_address":
        return f"2001:db8::{digest[:2].hex()}" if ":" in text else _ipv4(digest, tries)
    return _same_format(kind, text, digest, _kept(kind, text, tries))


def _kept(kind: str, text: str, tries: int) -> Collection[int]:
    """Where what stays stands: the issuer's mark at the front of a key, the zeros dialled before a phone number."""
    if kind == "api_key":
        mark = _ISSUER.match(text)
        return range(mark.end()) if mark else ()
    if kind != "phone" or tries >= TRUNK_TRIES:
        return ()
    return {
        place
        for zeros in _TRUNK.finditer(text)
        for place in range(zeros.start(zeros.lastindex or 0), zeros.end())
    }


def written_as(kind: str, made: str, text: str) -> Iterator[str]:
    """The surrogate of a value for another way to write the value: its spaces and marks, its capitals. Several, the
    likeliest first, where capitals are all there is to tell two ways apart."""
    if kind == "name":
        gaps = [*re.findall(r"\s+", text.strip()), ""]
        words = made.split()
        made = "".join(chain(*zip(words, gaps, strict=True))) if len(words) == len(gaps) else made
    elif kind not in ("email", "ip_address", "private_key", "health"):
        signs = [letter for letter in made if _is_sign(letter)]
        if len(signs) == sum(map(_is_sign, text)):
            left = iter(signs)
            made = "".join(_cased_as(next(left), letter) if _is_sign(letter) else letter for letter in text)
            yield made
            return
    yield _in_case_of(text, made.lower())
    letters = [place for place, letter in enumerate(made) if letter.isalpha()][:12]
    for number in range(1, 2 ** len(letters)):
        raised = {place for bit, place in enumerate(letters) if number >> bit & 1}
        yield "".join(
            letter.upper() if place in raised else letter.lower() for place, letter in enumerate(made)
        )


def may_belong(kind: str, made: str, text: str, tries: int = 0) -> bool:
    """Whether a surrogate may be somebody's: a card or bank account with its checksum, or a phone number that is valid
    where its country code says or, without one, in a region where the value itself is; in one more of these after each
    PATIENCE tries, as some plans leave hardly a number free."""
    if kind == "card":
        import stdnum.luhn

        return bool(stdnum.luhn.is_valid(re.sub(r"\D", "", made)))
    if kind == "iban":
        import stdnum.iban

        return bool(stdnum.iban.is_valid(re.sub(r"\W", "", made), check_country=False))
    if kind != "phone":
        return False
    regions = _phone_regions(text)
    borne = 0 if regions == (None,) else tries // PATIENCE
    valid = (region for region in regions if _is_phone(made, region))
    return any(True for _ in islice(valid, borne, None))


@lru_cache(1024)
def _phone_regions(text: str) -> tuple[str | None, ...]:
    if text.strip().startswith(("+", "(+", "00")):
        return (None,)
    return tuple(region for region in REGIONS if _is_phone(text, region))


def _is_phone(text: str, region: str | None) -> bool:
    import phonenumbers

    plain = re.sub(r"^\D*00(?=\d)", "+", text) if region is None else text
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(plain, region)))
    except phonenumbers.NumberParseException:
        return False


def _ipv4(digest: bytes, tries: int) -> str:
    if tries < DOCUMENTED:
        return f"{_pick(['192.0.2', '198.51.100', '203.0.113'], digest[1])}.{digest[0]}"
    return f"198.{18 + digest[2] % 2}.{digest[1]}.{digest[0]}"


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


def _same_format(kind: str, text: str, digest: bytes, kept: Collection[int]) -> str:
    """Every letter and digit replaced by another of its sort, but at the places that are kept.

    A number that does not begin with 0 gets one that does not: it may be a number in JSON.
    """
    numbers = cycle(digest)
    made, is_first = [], True
    for place, letter in enumerate(text):
        is_sign = letter.isdigit() or (kind != "phone" and letter.isalpha())  # "ext" stays
        is_sign = is_sign and place not in kept
        made.append(_another(letter, next(numbers), is_first) if is_sign else letter)
        is_first = place in kept or (is_first and not is_sign)
    return "".join(made)


def _another(letter: str, number: int, is_first: bool) -> str:
    if letter.isdigit():
        return str(1 + number % 9) if is_first and letter != "0" else str(number % 10)
    return _cased_as(chr(ord("a") + number % 26), letter)


def _is_sign(letter: str) -> bool:
    return letter.isdigit() or letter.isalpha()


def _in_case_of(text: str, made: str) -> str:
    """A surrogate of small letters in the capitals of a text: none, all, or at the start of words before an @."""
    if text.islower() or text.isupper():
        return made.upper() if text.isupper() else made
    head, at, rest = made.partition("@")
    return re.sub(r"\b[a-z]", lambda letter: letter[0].upper(), head) + at + rest


def _cased_as(letter: str, other: str) -> str:
    return letter.upper() if other.isupper() else letter.lower()


def _pick(words: list[str], number: int) -> str:
    return words[number % len(words)]
