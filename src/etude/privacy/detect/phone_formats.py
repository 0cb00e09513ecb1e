"""Recognise phone numbers by their format: country codes, brackets, trunk zeros, groups, and
numbering plans.

Almost any nine digits are valid in some region, so a numbering plan says little about a number
without a country code. Its format says more: an area code in brackets, a trunk zero before groups,
or three or more groups that end in four digits or in pairs; dates, prices and lists do not have
such formats. Numbering plans are used only for digits without gaps, for two groups, and for groups
of three. The formats are those of ITU-T E.123, libphonenumber and Faker.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
_BRACKETED = re.compile(
    r"(?:[0-9]{1,3}[ -]?)?\((?!(?:19|20)[0-9]{2}\))(?:[0-9]{2,5}|[0-9]{1,2}[ -][0-9]{1,4})\)"
    r"[ /.-]?[0-9]+(?:[ ./-][0-9]+){0,4}"
)
_TRUNK = re.compile(r"\(?0[0-9]{1,5}\)?[ ./-]")
# In `+44 (0)20`, dialled only inside the country
_OPTIONAL_TRUNK = re.compile(r"[ -]?\(0\)[ -]?")
_ZIP = re.compile(r"[0-9]{5}-[0-9]{4}")
_DIGITS = re.compile(r"[0-9]+")
_NUMBER = re.compile(r"(?<![^ ])(?:\([0-9]{2,5}\) |0[0-9]{2,4} )?[^ ()]{7,}(?![^ ])")
_FOREIGN = re.compile(r"\+[^ ]+(?: [^ ]+)+(?= )")
_SEPARATOR = re.compile(r"[^0-9()]+")
_SPACED_SEPARATOR = re.compile(r" ?([./-]) ?")
# Digits in the groups of a short number, if all gaps are equal
_SHORT_GROUPINGS = ((2, 2, 2, 2), (3, 2, 2), (3, 2, 3), (4, 3, 3))
_BRAZILIAN_GROUPING = (2, 5, 4)
_TO_ASCII = str.maketrans({"\t": " ", "＋": "+", "[": "(", "]": ")"})
# Formats that other numbers have, too; the number must be valid in one of the regions
_PLANS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"0[0-9]{9,10}"), ("GB", "DE", "FR", "IT", "AU", "NL", "JP", "CH", "ZA")),
    (re.compile(r"[2-9][0-9]{2}([ -])[0-9]{3}\1[0-9]{2}[1-9]"), ("ES", "PL", "PT", "CZ")),
    (re.compile(r"[3-9][0-9]{3} [0-9]{4}"), ("SG", "HK", "DK", "NO")),
    (re.compile(r"[6-9][0-9]{4}[ -][0-9]{5}"), ("IN",)),
    (re.compile(r"[2-9][0-9]{2}[ ./-][2-9][0-9]{6}"), ("US", "CA")),
    (re.compile(r"3[0-9]{2}[ ./-][0-9]{7}"), ("IT",)),
    (re.compile(r"1?[2-9][0-9]{2}[2-9][0-9]{6}"), ("US", "CA")),
)
# The same after the word "number"
_LABELLED_PLANS = (
    *_PLANS,
    (re.compile(r"[0-9]{10,11}"), ("US", "CA", "GB", "IN", "DE", "BR", "CN")),
)


def normalise_number(body: str) -> str:
    """Use one kind of space, dash and bracket, without spaces next to dashes and inside
    brackets.
    """
    plain = _SPACED_SEPARATOR.sub(r"\1", body.translate(_TO_ASCII))
    return re.sub(" {2,}", " ", plain).replace("( ", "(").replace(" )", ")")


def has_country_code(body: str) -> bool:
    """Whether a normalised number begins with a country code, after + or a dialling prefix."""
    import phonenumbers

    plain = _OPTIONAL_TRUNK.sub(" ", body.lstrip("("), count=1)
    if plain.startswith("+"):
        return _is_accepted(plain, None, phonenumbers.is_possible_number) or _is_foreign(plain)
    for prefix in ("00", "011"):
        if plain.startswith(prefix):
            is_accepted = (
                phonenumbers.is_valid_number if plain.isdigit() else phonenumbers.is_possible_number
            )
            return _is_accepted("+" + plain[len(prefix) :], None, is_accepted)
    return False


def match_format(body: str) -> str:
    """Return the format of a normalised number if only phone numbers have it; otherwise ""."""
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
    return "grouping" if _is_phone_grouping(tuple(map(len, groups)), len(set(gaps)) == 1) else ""


def match_plan(body: str, has_label: bool = False) -> str:
    """Return the numbering plan in which a normalised number is valid, if its format needs one;
    else "".
    """
    import phonenumbers

    for pattern, regions in _LABELLED_PLANS if has_label else _PLANS:
        if pattern.fullmatch(body):
            matching = (r for r in regions if _is_accepted(body, r, phonenumbers.is_valid_number))
            return next((f"numbering plan of {region}" for region in matching), "")
    return ""


def split_numbers(body: str) -> Iterator[tuple[int, str]]:
    """Yield the positions and texts of parts between spaces that may be phone numbers, the longest
    first.
    """
    if foreign := _FOREIGN.match(body):
        yield 0, foreign[0]
    for match in _NUMBER.finditer(body):
        yield match.start(), match[0]


def _is_foreign(plain: str) -> bool:
    """Whether + and a country code begin 10 to 15 digits, although libphonenumber rejects the
    number.
    """
    import phonenumbers

    groups = _DIGITS.findall(plain)
    digits = "".join(groups)
    has_code = any(
        int(digits[:size]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE for size in (1, 2, 3)
    )
    is_thousands = len(groups) > 1 and all(len(group) == 3 for group in groups[1:])
    return (
        has_code
        and 10 <= len(digits) <= 15
        and len(max(groups[-2:], key=len)) > 2
        and not is_thousands
    )


def _has_trunk(body: str, groups: list[str], gaps: list[str]) -> bool:
    count = sum(map(len, groups))
    if not _TRUNK.match(body) or _ZIP.fullmatch(body) or not 9 <= count <= 12:
        return False
    return len(set(gaps[1:])) < 2 or (len(groups[-1]) == 4 and not _YEAR.fullmatch(groups[-1]))


def _is_dialled(body: str, groups: list[str]) -> bool:
    """Whether groups begin with a country code without +, and are valid there, or are valid in
    India after a 0.
    """
    import phonenumbers

    lengths = tuple(map(len, groups[1:]))
    if (
        sum(lengths) < 9
        or len(groups[0]) > 3
        or not (lengths == (5, 5) or _is_phone_grouping(lengths, True))
    ):
        return False
    return _is_accepted("+" + body, None, phonenumbers.is_valid_number) or (
        groups[0] == "0" and _is_accepted(body, "IN", phonenumbers.is_valid_number)
    )


def _is_phone_grouping(lengths: tuple[int, ...], has_even_gaps: bool) -> bool:
    """Whether groups of these lengths end as in a phone number: in four digits or in pairs."""
    local = lengths[1:] if lengths[0] == 1 else lengths
    if local in _SHORT_GROUPINGS:
        return has_even_gaps
    if local == _BRAZILIAN_GROUPING:
        return True
    if not 9 <= sum(local) <= 11 or not 3 <= len(local) <= 5 or not all(2 <= n <= 4 for n in local):
        return False
    return local != (3, 2, 4) and (local[-1] == 4 or local[-2:] == (2, 2))


def _is_accepted(number: str, region: str | None, accepts: Callable[[Any], bool]) -> bool:
    import phonenumbers

    try:
        return bool(accepts(phonenumbers.parse(number, region)))
    except phonenumbers.NumberParseException:
        return False
