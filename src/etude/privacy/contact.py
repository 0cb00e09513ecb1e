"""E-mail addresses, phone numbers and IP addresses.

Phone numbers are parsed by phonenumbers. Without a country code a number counts when a label stands before
it ("call me on"), or when its grouping is that of a region and the region knows it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from etude.privacy.spans import Span, labelled, spans_of

_EMAIL = re.compile(
    r"(?<![\w.+%-])\w[\w.+%'-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])"
)
_UPI = re.compile(
    r"(?<![\w.-])[\w.-]{2,64}@(?:oksbi|okaxis|okhdfcbank|okicici|ybl|ibl|axl|upi|paytm|apl|sbi)(?![\w.-])",
    re.I,
)
"""Payment addresses of India's UPI: the handles of its largest providers."""
_AWAY = re.compile(
    r"(?<![\w.+-])\w[\w.+-]{1,63} ?[\[(] ?at ?[\])] ?\w[\w-]{0,62}(?: ?(?:\.|[\[(] ?dot ?[\])]) ?\w{2,24}){1,4}",
    re.I,
)
"""`jo (at) mail (dot) org`."""

_PHONE = re.compile(
    r"(?<![\w+.:/-])(?:\((?=\+?[0-9]{1,5}\)))?(?:\+ ?)?[0-9](?:[ .\-/()\u00a0\u2010-\u2013]{0,3}[0-9]){6,14}"
    r"(?: ?(?:x|ext\.?|extension) ?[0-9]{1,6})?(?![\w:]|[.,/-][0-9])",
    re.I,
)
_PHONE_LABEL = re.compile(
    r"(?:\b(?:tele)?phones?|\btel|\bmobil[e]?|\bcell|\bfax|\bcall(?:ed|ing)?|\bwhats ?app|\btext(?:ed)?|\bsms|\bdial"
    r"|\bring|\breach|\bcontact|\bhotline|\bph|\bmob|\bhandset|\bmessages? (?:to|from)|\bregistered|\bcallback"
    r"|\btelefon\w*|\bhandy|\bportable|\btel[eé]fono|\bm[oó]vil)\b"
    r"[^0-9\n]{0,24}\n?[ (]{0,2}$",
    re.I,
)
_DATE = re.compile(
    r"(?:(?:19|20)[0-9]{2}([-./ ])[01]?[0-9]\1[0-3]?[0-9]|[0-3]?[0-9]([-./ ])[0-3]?[0-9]\2(?:19|20)[0-9]{2})"
)
_SHAPES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"(?:1[ .-]?)?\(?[2-9][0-9]{2}\)?[ .-]{1,2}[2-9][0-9]{2}[ .-][0-9]{4}"), ("US",)),
    (
        re.compile(r"\(?0[0-9]{2,5}\)?[ /.-].*|0[0-9]{9,10}"),
        ("GB", "DE", "FR", "IT", "AU", "NL", "JP", "CH", "ZA"),
    ),
    (re.compile(r"[5-9][0-9]{2} [0-9]{3} [0-9]{3}"), ("ES", "PL", "PT")),
    (re.compile(r"[6-9][0-9]{4}[ -][0-9]{5}"), ("IN",)),
    (re.compile(r"\(?[1-9][0-9]\)?[ -]9?[0-9]{4}-[0-9]{4}"), ("BR",)),
)
"""How numbers without a country code are grouped, and the regions that then are asked, in this order."""

_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w]|\.[0-9])")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]{2,40}(?:\.[0-9.]{5,11})?(?![\w:])")
_VERSION = re.compile(r"(?:\bv|version|release|firmware|build|section|chapter) ?:? ?$", re.I)


def emails(text: str) -> list[Span]:
    """E-mail addresses, written out or with (at) and (dot), and payment addresses of UPI."""
    found = spans_of(_EMAIL.finditer(text), "email", "form") if "@" in text else []
    if "@" in text:
        found += spans_of(_UPI.finditer(text), "email", "UPI handle")
    if "at)" in text or "at]" in text:
        found += spans_of(_AWAY.finditer(text), "email", "written with (at)")
    return found


def phones(text: str) -> Iterator[Span]:
    """Phone numbers of 7 to 15 digits."""
    for match in _PHONE.finditer(text):
        if _DATE.match(match[0]):
            continue
        rule = _phone_rule(match[0], labelled(text, match.start(), _PHONE_LABEL, 60))
        if rule:
            yield Span(*match.span(), "phone", match[0], rule)


def ip_addresses(text: str) -> Iterator[Span]:
    """IPv4 and IPv6 addresses, without those that mean "this machine" or "any"."""
    for match in _IPV4.finditer(text) if text.count(".") >= 3 else ():
        if _is_address(match[0]) and not labelled(text, match.start(), _VERSION, 12):
            yield Span(*match.span(), "ip_address", match[0], "IPv4")
    for match in _IPV6.finditer(text) if text.count(":") >= 2 else ():
        if sum(map(bool, match[0].split(":"))) >= 3 and _is_address(match[0]):
            yield Span(*match.span(), "ip_address", match[0], "IPv6")


def _phone_rule(number: str, has_label: bool) -> str:
    """Why a run of digits is a phone number; empty where nothing says so."""
    import phonenumbers

    plain = number.strip()
    if plain.startswith(("+", "(+")) and _parsed(plain, None, phonenumbers.is_possible_number):
        return "country code"
    if plain.startswith("00") and _parsed("+" + plain[2:], None, phonenumbers.is_valid_number):
        return "country code"
    if has_label:
        return "label"
    for shape, regions in _SHAPES:
        if shape.fullmatch(plain):
            known = (r for r in regions if _parsed(plain, r, phonenumbers.is_valid_number))
            return next((f"grouping and numbering plan of {region}" for region in known), "")
    return ""


def _parsed(number: str, region: str | None, accepts: object) -> bool:
    import phonenumbers

    assert callable(accepts)
    try:
        return bool(accepts(phonenumbers.parse(number, region)))
    except phonenumbers.NumberParseException:
        return False


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)
