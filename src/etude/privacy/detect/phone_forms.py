"""How phone numbers are written: country codes, brackets, trunk zeros, groups, and plans of regions.

Some region's plan allows almost any nine digits, so that a plan says little of a number without a country
code. Its writing says more: an area code in brackets, a trunk zero before groups, three groups or more that
end in four digits or in pairs, as no date, price or list is written. Plans decide on what is left: runs
without any gap, two groups, and groups of three. Conventions: ITU-T E.123, and what libphonenumber and Faker write
for their regions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
_BRACKETED = re.compile(
    r"(?:[0-9]{1,3}[ -]?)?\((?!(?:19|20)[0-9]{2}\))(?:[0-9]{2,5}|[0-9]{1,2}[ -][0-9]{1,4})\)"
    r"[ /.-]?[0-9]+(?:[ ./-][0-9]+){0,4}"
)
_TRUNK = re.compile(r"\(?0[0-9]{1,5}\)?[ ./-]")
_OPTIONAL_TRUNK = re.compile(r"[ -]?\(0\)[ -]?")
"""`+44 (0)20`: dialled inside the country only."""
_ZIP = re.compile(r"[0-9]{5}-[0-9]{4}")
_DIGITS = re.compile(r"[0-9]+")
_PART = re.compile(r"(?<![^ ])(?:\([0-9]{2,5}\) |0[0-9]{2,4} )?[^ ()]{7,}(?![^ ])")
_ABROAD = re.compile(r"\+[^ ]+(?: [^ ]+)+(?= )")
_SEPARATOR = re.compile(r"[^0-9()]+")
_AROUND = re.compile(r" ?([./-]) ?")
_SHORT = ((2, 2, 2, 2), (3, 2, 2), (3, 2, 3), (4, 3, 3))
"""Digits in the groups, with the same gaps between, of a number that is no thousands, price or date."""
_BRAZILIAN = (2, 5, 4)
_TO_ASCII = str.maketrans({"\t": " ", "＋": "+", "[": "(", "]": ")"})
_PLANS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"0[0-9]{9,10}"), ("GB", "DE", "FR", "IT", "AU", "NL", "JP", "CH", "ZA")),
    (re.compile(r"[2-9][0-9]{2}([ -])[0-9]{3}\1[0-9]{2}[1-9]"), ("ES", "PL", "PT", "CZ")),
    (re.compile(r"[3-9][0-9]{3} [0-9]{4}"), ("SG", "HK", "DK", "NO")),
    (re.compile(r"[6-9][0-9]{4}[ -][0-9]{5}"), ("IN",)),
    (re.compile(r"[2-9][0-9]{2}[ ./-][2-9][0-9]{6}"), ("US", "CA")),
    (re.compile(r"3[0-9]{2}[ ./-][0-9]{7}"), ("IT",)),
    (re.compile(r"1?[2-9][0-9]{2}[2-9][0-9]{6}"), ("US", "CA")),
)
"""Writings that other numbers have too, and the regions whose plan then has to know the number."""
_NAMED_PLANS = (
    *_PLANS,
    (re.compile(r"[0-9]{10,11}"), ("US", "CA", "GB", "IN", "DE", "BR", "CN")),
)
"""The same where "number" stands before it."""


def canonical(body: str) -> str:
    """The number with one kind of space, dash and bracket, and no spaces beside dashes and inside brackets."""
    plain = _AROUND.sub(r"\1", body.translate(_TO_ASCII))
    return re.sub(" {2,}", " ", plain).replace("( ", "(").replace(" )", ")")


def by_country_code(body: str) -> bool:
    """Whether a canonical number begins with a country code, after + or as it is dialled."""
    import phonenumbers

    plain = _OPTIONAL_TRUNK.sub(" ", body.lstrip("("), count=1)
    if plain.startswith("+"):
        return _parsed(plain, None, phonenumbers.is_possible_number) or _is_abroad(plain)
    for prefix in ("00", "011"):
        if plain.startswith(prefix):
            certain = phonenumbers.is_valid_number if plain.isdigit() else phonenumbers.is_possible_number
            return _parsed("+" + plain[len(prefix) :], None, certain)
    return False


def by_form(body: str) -> str:
    """The way of writing, of a canonical number, that only phone numbers have; empty where it is none."""
    groups = _DIGITS.findall(body)
    count = sum(map(len, groups))
    gaps = _SEPARATOR.findall(body)
    if _BRACKETED.fullmatch(body) and 8 <= count <= 13:
        return "area code in brackets"
    if "(" in body or ")" in body:
        return ""
    if _has_trunk(body, groups, gaps):
        return "trunk prefix"
    if _is_dialled(body, groups):
        return "country code"
    if len(set(gaps[1:])) > 1 or (" " in body and _YEAR.fullmatch(groups[-1])):
        return ""
    return "grouping" if _like_phone(tuple(map(len, groups)), len(set(gaps)) == 1) else ""


def by_plan(body: str, named: bool = False) -> str:
    """The region whose plan knows a canonical number of a writing that other numbers have too; else empty."""
    import phonenumbers

    for writing, regions in _NAMED_PLANS if named else _PLANS:
        if writing.fullmatch(body):
            known = (r for r in regions if _parsed(body, r, phonenumbers.is_valid_number))
            return next((f"numbering plan of {region}" for region in known), "")
    return ""


def parts(body: str) -> Iterator[tuple[int, str]]:
    """Places and texts of what may be a number of its own between spaces, the longest first."""
    abroad = _ABROAD.match(body)
    if abroad:
        yield 0, abroad[0]
    for part in _PART.finditer(body):
        yield part.start(), part[0]


def _is_abroad(plain: str) -> bool:
    """Whether + and a country's code stand before as many digits as a number has, if not as that country's has."""
    import phonenumbers

    groups = _DIGITS.findall(plain)
    digits = "".join(groups)
    known = any(int(digits[:size]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE for size in (1, 2, 3))
    is_thousands = len(groups) > 1 and all(len(group) == 3 for group in groups[1:])
    return known and 10 <= len(digits) <= 15 and len(max(groups[-2:], key=len)) > 2 and not is_thousands


def _has_trunk(body: str, groups: list[str], gaps: list[str]) -> bool:
    count = sum(map(len, groups))
    if not _TRUNK.match(body) or _ZIP.fullmatch(body) or not 9 <= count <= 12:
        return False
    return len(set(gaps[1:])) < 2 or (len(groups[-1]) == 4 and not _YEAR.fullmatch(groups[-1]))


def _is_dialled(body: str, groups: list[str]) -> bool:
    """Whether a number in groups is one of the country whose code it begins with, without +; or of India after a 0."""
    import phonenumbers

    lengths = tuple(map(len, groups[1:]))
    if sum(lengths) < 9 or len(groups[0]) > 3 or not (lengths == (5, 5) or _like_phone(lengths, True)):
        return False
    return _parsed("+" + body, None, phonenumbers.is_valid_number) or (
        groups[0] == "0" and _parsed(body, "IN", phonenumbers.is_valid_number)
    )


def _like_phone(lengths: tuple[int, ...], even: bool) -> bool:
    """Whether groups of these lengths, with `even` gaps or not, end as a phone number does: in four digits or pairs."""
    local = lengths[1:] if lengths[0] == 1 else lengths
    if local in _SHORT:
        return even
    if local == _BRAZILIAN:
        return True
    if not 9 <= sum(local) <= 11 or not 3 <= len(local) <= 5 or not all(2 <= n <= 4 for n in local):
        return False
    return local != (3, 2, 4) and (local[-1] == 4 or local[-2:] == (2, 2))


def _parsed(number: str, region: str | None, accepts: object) -> bool:
    import phonenumbers

    assert callable(accepts)
    try:
        return bool(accepts(phonenumbers.parse(number, region)))
    except phonenumbers.NumberParseException:
        return False
