"""Surrogates for personal data: values of the same format, made from a keyed hash.

Letters become letters and digits become digits, so a model still learns the format. E-mail
addresses end in example.org (RFC 2606). IP addresses are from the ranges reserved for documentation
(RFC 5737 and 3849), then from the range for benchmarks (RFC 2544). Cards and bank accounts have a
wrong checksum. A phone number is not valid in its country or, without a country code, in the
regions where the original is valid. Other numbers can be real only by coincidence.
"""

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import chain, cycle, islice

from etude.base.word_lists import read_table

REGIONS = ("US", "GB", "DE", "FR", "IT", "AU", "NL", "JP", "CH", "ZA", "ES", "PL", "PT", "IN", "BR")
"""Regions in which a phone number without a country code may be valid."""

_NAMES = read_table(__file__, "names.yaml")
_GIVEN = _NAMES["given"].split()
_FAMILY = _NAMES["family"].split()
# The prefix of a key that identifies its issuer, not its owner
_ISSUER_PREFIX = re.compile(
    r"(?:(?:sk|pk|rk|gh[a-z]|hf|npm|xox[a-z]|glpat)[-_](?:(?:live|test)_|(?:proj|admin|svcacct|ant)-)?"
    r"|github_pat_|AKIA|ASIA|AIza|SG\.|eyJ)(?=.)"
)
MAX_DOCUMENTED_TRIES = 16
"""Tries with the 768 IPv4 addresses of RFC 5737, before the 131,072 of RFC 2544 are used."""

# Zeros dialled before a number: 030, 0044, +44 (0)20
_TRUNK_ZEROS = re.compile(r"^[^0-9]*(00?)|(?<=\()0(?=\))")
MAX_TRUNK_TRIES = 32
"""Tries with these zeros kept; in some numbering plans nearly all such numbers are valid."""
TRIES_PER_REGION = 100
"""Tries after which a phone number may be valid in one more region."""


def create_surrogate(kind: str, text: str, digest: bytes, tries: int = 0) -> str:
    """Return a surrogate for `text`; equal arguments give equal surrogates. `tries` counts earlier,
    unusable ones.
    """
    if kind in ("private_key", "health"):
        return f"[{kind.replace('_', ' ')} {digest[:3].hex()}]"
    if kind == "email":
        person = f"{_choose(_GIVEN, digest[0])}.{_choose(_FAMILY, digest[1])}"
        address = f"{person}{digest[2:4].hex()}@example.org"
        return _apply_case(text, address.lower())
    if kind == "name":
        return _make_name(text, digest)
    if kind == "ip_address":
        if ":" in text:
            return f"2001:db8::{digest[:2].hex()}"
        if tries < MAX_DOCUMENTED_TRIES:
            return f"{_choose(['192.0.2', '198.51.100', '203.0.113'], digest[1])}.{digest[0]}"
        return f"198.{18 + digest[2] % 2}.{digest[1]}.{digest[0]}"
    return _replace_characters(kind, text, digest, _find_fixed(kind, text, tries))


def _find_fixed(kind: str, text: str, tries: int) -> Collection[int]:
    """Return positions that do not change: the issuer's prefix of a key, the zeros dialled before a
    phone number.
    """
    if kind == "api_key":
        prefix = _ISSUER_PREFIX.match(text)
        return range(prefix.end()) if prefix else ()
    if kind != "phone" or tries >= MAX_TRUNK_TRIES:
        return ()
    return {
        position
        for zeros in _TRUNK_ZEROS.finditer(text)
        for position in range(zeros.start(zeros.lastindex or 0), zeros.end())
    }


def list_spellings(kind: str, surrogate: str, text: str) -> Iterator[str]:
    """Yield the surrogate in the spelling of `text`: with its spaces, punctuation and capitals.

    More spellings with other capitals follow, for originals that differ only in their capitals.
    """
    if kind == "name":
        gaps = [*re.findall(r"\s+", text.strip()), ""]
        words = surrogate.split()
        surrogate = (
            "".join(chain(*zip(words, gaps, strict=True))) if len(words) == len(gaps) else surrogate
        )
    elif kind not in ("email", "ip_address", "private_key", "health"):
        letters_and_digits = [letter for letter in surrogate if _is_letter_or_digit(letter)]
        if len(letters_and_digits) == sum(map(_is_letter_or_digit, text)):
            characters = iter(letters_and_digits)
            surrogate = "".join(
                _apply_letter_case(next(characters), letter)
                if _is_letter_or_digit(letter)
                else letter
                for letter in text
            )
            yield surrogate
            return
    yield _apply_case(text, surrogate.lower())
    letters = [position for position, letter in enumerate(surrogate) if letter.isalpha()][:12]
    for number in range(1, 2 ** len(letters)):
        upper = {position for bit, position in enumerate(letters) if number >> bit & 1}
        cased = (
            letter.upper() if position in upper else letter.lower()
            for position, letter in enumerate(surrogate)
        )
        yield "".join(cased)


def may_be_real(kind: str, surrogate: str, text: str, tries: int = 0) -> bool:
    """Whether a surrogate may be real: a card or account with a correct checksum, or a valid phone
    number.

    A phone number without a country code is checked in the regions where the original is valid.
    After every TRIES_PER_REGION tries, it may be valid in one more of these regions, because some
    plans have few unused numbers.
    """
    if kind == "card":
        import stdnum.luhn

        return bool(stdnum.luhn.is_valid(re.sub(r"\D", "", surrogate)))
    if kind == "iban":
        import stdnum.iban

        return bool(stdnum.iban.is_valid(re.sub(r"\W", "", surrogate), check_country=False))
    if kind != "phone":
        return False
    regions = _find_phone_regions(text)
    num_tolerated = 0 if regions == (None,) else tries // TRIES_PER_REGION
    valid = (region for region in regions if _is_valid_phone(surrogate, region))
    return any(True for _ in islice(valid, num_tolerated, None))


@lru_cache(1024)
def _find_phone_regions(text: str) -> tuple[str | None, ...]:
    if text.strip().startswith(("+", "(+", "00")):
        return (None,)
    return tuple(region for region in REGIONS if _is_valid_phone(text, region))


def _is_valid_phone(text: str, region: str | None) -> bool:
    import phonenumbers

    number = re.sub(r"^\D*00(?=\d)", "+", text) if region is None else text
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(number, region)))
    except phonenumbers.NumberParseException:
        return False


def _make_name(text: str, digest: bytes) -> str:
    """Return a name with as many words, initials and capitals."""
    words = text.split()
    new_words = []
    for position, (word, number) in enumerate(zip(words, cycle(digest), strict=False)):
        if len(word.rstrip(".")) == 1:
            new_words.append(chr(ord("A") + number % 26) + word[1:])
        else:
            new_words.append(_choose(_FAMILY if 0 < position == len(words) - 1 else _GIVEN, number))
    name = " ".join(new_words)
    return (
        name.lower()
        if text.islower()
        else name.upper()
        if text.isupper() and len(text) > 3
        else name
    )


def _replace_characters(kind: str, text: str, digest: bytes, fixed: Collection[int]) -> str:
    """Replace digits by digits and letters by letters, except at fixed positions.

    A number that does not begin with 0 gets a surrogate that does not, because it may be a number
    in JSON.
    """
    numbers = cycle(digest)
    characters = []
    is_first = True
    for position, letter in enumerate(text):
        # The only letters in a phone number are those of "ext".
        is_replaced = letter.isdigit() or (kind != "phone" and letter.isalpha())
        is_replaced = is_replaced and position not in fixed
        if not is_replaced:
            characters.append(letter)
        elif letter.isdigit():
            number = next(numbers)
            characters.append(
                str(1 + number % 9) if is_first and letter != "0" else str(number % 10)
            )
        else:
            characters.append(_apply_letter_case(chr(ord("a") + next(numbers) % 26), letter))
        is_first = position in fixed or (is_first and not is_replaced)
    return "".join(characters)


def _is_letter_or_digit(letter: str) -> bool:
    return letter.isdigit() or letter.isalpha()


def _apply_case(text: str, surrogate: str) -> str:
    """Apply the capitals of a text to a lower-case surrogate: none, all, or at the start of words
    before an @.
    """
    if text.islower() or text.isupper():
        return surrogate.upper() if text.isupper() else surrogate
    head, at_sign, domain = surrogate.partition("@")
    return re.sub(r"\b[a-z]", lambda letter: letter[0].upper(), head) + at_sign + domain


def _apply_letter_case(letter: str, pattern: str) -> str:
    return letter.upper() if pattern.isupper() else letter.lower()


def _choose(words: list[str], number: int) -> str:
    return words[number % len(words)]
