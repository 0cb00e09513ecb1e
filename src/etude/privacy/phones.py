"""Phone numbers: by country code, by a label before them, or by how their digits are grouped.

Some region's plan allows almost any nine digits, so that a plan says little of a number without a country
code. Its writing says more: an area code in brackets, a trunk zero before groups, three groups or more that
end in four digits or in pairs, as no date, price or list is written. Plans decide on what is left: runs
without any gap, and groups of three.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from etude.privacy.spans import Span, labelled, listed

_GAP = r"(?:[ .\-()\u00a0\u2010-\u2013]{1,3}|\)? ?/ ?)?"
_PHONE = re.compile(
    r"(?<![\w+$€£¥-])(?<![$€£¥] )(?<![0-9][.:,/])(?<![^\s,;]/)(?<!\.\.)"
    rf"(?P<body>(?:\((?=\+?[0-9]{{1,5}}\)))?(?:\+ ?\(?)?[0-9](?:{_GAP}[0-9]){{5,14}})"
    r"(?P<extension>[ ,;]{0,2}(?:x|ext\.?|extension|#)[ .:]{0,2}[0-9]{1,6})?(?![\w]|[.,:/-][0-9])",
    re.I,
)
_NOUN = (
    r"(?:tele)?phones?|\btel|\bcell(?:phone|ular)?|\bmob(?:ile)?|\bfax|\bwhats ?app|\bhotline|\bhelpline|\blandline"
    r"|\btoll[- ]free|\bpager|\btty|\bph|\bhandset|\bcallback|\btelefon\w*|\bt[ée]l[ée]phone|\btel[eé]fono"
    r"|\bhandy|\brufnummer|\bportable|\bm[oó]vil|\bmobil|\bcelular|\bgsm|\bpuhelin"
    r"|\b(?:my|his|her|their|our|your|contact)(?: (?:new|old|home|work|office|other|own))? numbers?"
)
_LABEL = re.compile(
    rf"\b(?:{_NOUN}|call(?:s|ed|ing)?|text(?:s|ed|ing)?|sms|dial(?:l?ed|l?ing)?|ring|rang|reach(?:ed|able)?"
    r"|contact(?:s|ed|ing)?|messages? (?:to|from|me|us)|voicemail|registered)\b"
    r"[^0-9\n]{0,40}\n?[ (]{0,2}$",
    re.I,
)
_LABEL_AFTER = re.compile(
    rf"[ \t]{{0,2}}[(\[/,-]?[ \t]?\b(?:{_NOUN}|office|home|work|direct"
    rf"|(?:is|was) (?:the |a )?(?:[a-z]{{2,10}} )?(?:{_NOUN}))\b",
    re.I,
)
_NUMBER_LABEL = re.compile(
    r"\bnumbers?(?: (?:is|was|are|to|at|below|as|for [^0-9\n]{1,30} is|of [^0-9\n]{1,30} is))?[ :#-]{0,3}$",
    re.I,
)
"""A number of some kind: enough where the digits stand in groups."""
_NEAR_LABEL = re.compile(rf"\b(?:{_NOUN})\b\.?(?: (?:number|no|nr|is)\b\.?){{0,2}}[ :#(]{{0,3}}$", re.I)
"""A label right before the number, as numbers of five or six digits need it."""
_OTHER_LABEL = re.compile(
    r"\b(?:order|invoice|ticket|case|claim|reference|ref|serial|model|part|item|product|sku|isbn|issn|tracking|parcel"
    r"|account|acct?|passport|licen[cs]e|policy|member|membership|customer|patient|record|id|ssn|tax|routing|card"
    r"|version|patent|doi|pmid)s?(?:[ :#.]{1,3}(?:number|no|nr|id|code|card|is|was|of)\b){0,3}[ :#.(]{0,3}$",
    re.I,
)
"""A label of some other number."""
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}([-./ ])[01]?[0-9]\1[0-3]?[0-9](?![0-9])"
    r"|[0-3]?[0-9]([-./ ])[0-3]?[0-9]\2(?:19|20)[0-9]{2}(?![0-9])|[0-3]?[0-9]([-./])[0-3]?[0-9]\3[0-9]{2}$"
)
_IP = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(?:\.(?!$)|$)){4}")
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
_BRACKETED = re.compile(
    r"(?:[0-9]{1,3}[ -]?)?\((?!(?:19|20)[0-9]{2}\))[0-9]{2,5}\)[ /-]{0,2}[0-9]+(?:[ .-][0-9]+){0,4}"
)
_TRUNK = re.compile(r"\(?0[0-9]{1,5}\)?[ ./\-\u2010-\u2013]")
_ZIP = re.compile(r"[0-9]{5}-[0-9]{4}")
_DIGITS = re.compile(r"[0-9]+")
_NUMBER_BEFORE = re.compile(r"[0-9][ \t]$")
_NUMBER_AFTER = re.compile(r"[ \t]{1,2}[0-9]")
_PART = re.compile(r"(?<![^ ])(?:\([0-9]{2,5}\) |0[0-9]{2,4} )?[^ ()]{7,}(?![^ ])")
_SEPARATOR = re.compile(r"[^0-9()]+")
_SHORT = ((2, 2, 2, 2), (3, 2, 2), (3, 2, 3))
"""Digits in the groups of a number of seven or eight that is no thousands, price or date."""
_PLANS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"0[0-9]{9,10}"), ("GB", "DE", "FR", "IT", "AU", "NL", "JP", "CH", "ZA")),
    (re.compile(r"[2-9][0-9]{2}([ -])[0-9]{3}\1[0-9]{2}[1-9]"), ("ES", "PL", "PT", "CZ")),
    (re.compile(r"[3-9][0-9]{3} [0-9]{4}"), ("SG", "HK", "DK", "NO")),
    (re.compile(r"[6-9][0-9]{4}[ -][0-9]{5}"), ("IN",)),
)
"""Writings that other numbers have too, and the regions whose plan then has to know the number."""


def phones(text: str) -> Iterator[Span]:
    """Phone numbers of 7 to 15 digits, after a label of 6; an extension belongs to the number."""
    end, rule = -1, ""
    for match in _PHONE.finditer(text):
        if _DATE.match(match["body"]) or _IP.fullmatch(match["body"]):
            continue
        rule = _rule(text, match) or (rule and "in a list" if listed(text, end, match.start()) else "")
        end = match.end()
        if rule:
            yield Span(*match.span(), "phone", match[0], rule)
        else:
            yield from _inner(match)


def _rule(text: str, match: re.Match[str]) -> str:
    """Why a run of digits is a phone number; empty where nothing says so."""
    body = match["body"]
    if _has_country_code(body):
        return "country code"
    groups = _DIGITS.findall(body)
    if sum(map(len, groups)) == 6:
        return "label" if len(groups) > 1 and labelled(text, match.start(), _NEAR_LABEL, 60) else ""
    if len(groups) > 2 and _YEAR.fullmatch(groups[0]):
        return ""  # of a work cited: year, volume, pages
    if labelled(text, match.start(), _LABEL, 80) or _LABEL_AFTER.match(text, match.end()):
        return "label"
    if labelled(text, match.start(), _OTHER_LABEL, 60):
        return ""
    if len(groups) > 1 and labelled(text, match.start(), _NUMBER_LABEL, 80):
        return "label"
    beside = labelled(text, match.start(), _NUMBER_BEFORE, 2) or _NUMBER_AFTER.match(text, match.end())
    return "" if " " in body and beside else _grouping(body, groups) or _plan(body)


def _inner(match: re.Match[str]) -> Iterator[Span]:
    """A phone number beside another number, such as a postcode, with nothing but a space between."""
    for part in _PART.finditer(match["body"]):
        rule = _grouping(part[0], _DIGITS.findall(part[0])) or _plan(part[0])
        if rule and part[0] != match["body"]:
            start = match.start() + part.start()
            yield Span(start, start + len(part[0]), "phone", part[0], rule)


def _has_country_code(body: str) -> bool:
    import phonenumbers

    plain = body.lstrip("(")
    if plain.startswith("+"):
        return _parsed(plain, None, phonenumbers.is_possible_number)
    for prefix in ("00", "011"):
        if plain.startswith(prefix):
            certain = phonenumbers.is_valid_number if plain.isdigit() else phonenumbers.is_possible_number
            return _parsed("+" + plain[len(prefix) :], None, certain)
    return False


def _grouping(body: str, groups: list[str]) -> str:
    """The way of writing that only phone numbers have; empty where it is none."""
    count = sum(map(len, groups))
    gaps = _SEPARATOR.findall(body)
    if _BRACKETED.fullmatch(body) and 8 <= count <= 13:
        return "area code in brackets"
    if "(" in body or ")" in body or len(set(gaps[1:])) > 1:
        return ""
    if _TRUNK.match(body) and 9 <= count <= 11 and not _ZIP.fullmatch(body):
        return "trunk prefix"
    if " " in body and _YEAR.fullmatch(groups[-1]):
        return ""
    return "grouping" if _like_phone(tuple(map(len, groups)), len(set(gaps)) == 1) else ""


def _like_phone(lengths: tuple[int, ...], even: bool) -> bool:
    """Whether groups of these lengths, with `even` gaps or not, end as a phone number does: in four digits or pairs."""
    local = lengths[1:] if lengths[0] == 1 else lengths
    if local in _SHORT:
        return even
    if not 9 <= sum(local) <= 11 or not 3 <= len(local) <= 5 or not all(2 <= n <= 4 for n in local):
        return False
    return local != (3, 2, 4) and (local[-1] == 4 or local[-2:] == (2, 2))


def _plan(body: str) -> str:
    import phonenumbers

    for writing, regions in _PLANS:
        if writing.fullmatch(body):
            known = (r for r in regions if _parsed(body, r, phonenumbers.is_valid_number))
            return next((f"numbering plan of {region}" for region in known), "")
    return ""


def _parsed(number: str, region: str | None, accepts: object) -> bool:
    import phonenumbers

    assert callable(accepts)
    try:
        return bool(accepts(phonenumbers.parse(number, region)))
    except phonenumbers.NumberParseException:
        return False
