"""Phone numbers: by country code, by a label beside them, or by how their digits are grouped."""

from __future__ import annotations

import re
from collections.abc import Iterator

from etude.base.word_lists import read_table
from etude.privacy.detect.calculations import is_counted
from etude.privacy.detect.phone_forms import by_country_code, by_form, by_plan, canonical, parts
from etude.privacy.detect.value_labels import label_pattern
from etude.privacy.spans import UNSPACED, Span, labelled, listed

_GAP = r"(?:[ \t.()\[\]-]{1,4}|[)\]]?[ \t]?/[ \t]?)?"
_EXTENSION = (
    r"(?:[ \t,;]{0,2}-?[ \t]?"
    r"(?:x|e?xt(?:ensi(?:on|ón|o))?n?\.?|#|anexo|int(?:erno)?\.?|poste|durchwahl|dw|ramal|доб\.?)[ .:#]{0,3}[0-9]{1,7}"
    r"|;ext=[0-9]{1,7}"
    r"| ?\((?:x|ext(?:ensio)?n?\.?|#|poste|durchwahl)[ .:#]{0,3}[0-9]{1,7}\))"
)
"""What libphonenumber takes for an extension, and words of French, German and Portuguese."""
_PHONE = re.compile(
    rf"(?<![^\W_{UNSPACED}]|[+＋$€£¥-])(?<![$€£¥] )(?<![0-9][.:/])(?<![^\s,;]/)(?<!\.\.)"
    rf"(?P<body>(?:[(\[] ?(?=[+＋]?[0-9 -]{{1,6}}[)\]]))?(?:[+＋] ?[(\[]?)?[0-9](?:{_GAP}[0-9]){{5,14}})"
    rf"(?P<extension>{_EXTENSION})?(?![^\W_{UNSPACED}]|[.:/=-][0-9])",
    re.I,
)
_WORDS = {key: "|".join(words) for key, words in read_table(__file__, "phones.yaml").items()}
_NOUN = _WORDS["nouns"]
_WHOSE = "(?:home|work|office|mobile|cell|private)"
_FIELD = rf"(?:(?:[_ -]?(?:number|num|no|nr))?(?:_{_WHOSE})?(?!_?[^\W_])|(?<=[☎☏✆📞📱📲]))"
"""The end of a label, which may be a field's name: `phone_no`, `phoneNumber`; `call_duration` is no label."""
_LABEL = re.compile(
    rf"(?:(?<![^\W_])|(?=[☎☏✆📞📱📲]))(?:{_NOUN}|{_WORDS['verbs']}){_FIELD}[^0-9\n]{{0,40}}\n?[ (]{{0,2}}$",
    re.I,
)
_UNSPACED_LABEL = re.compile(f"{label_pattern('phones')}[^0-9\\n]{{0,12}}$")
_LABEL_AFTER = re.compile(
    rf"[ \t]{{0,2}}[(\[/,-]?[ \t]?\b(?:{_NOUN}|office|home|work|direct"
    rf"|(?:is|was) (?:the |a )?(?:[a-z]{{2,10}} )?(?:{_NOUN}|numbers? to (?:reach|call|ring|text|dial)))\b",
    re.I,
)
_COLUMN = re.compile(
    rf"\b(?:{_NOUN}|contact|sms)(?: (?:numbers?|num|no|nr))?(?: (?:{_WHOSE}|[0-9]))?$"
    rf"|{label_pattern('phones')}$",
    re.I,
)
"""The name of a column of phone numbers, its words apart by spaces."""
_NUMBER_LABEL = re.compile(
    r"\bnumbers?(?: (?:is|was|are|to|at|below|as|for [^0-9\n]{1,30} is|of [^0-9\n]{1,30} is))?[ :#-]{0,3}$"
    r"|(?<![^\W_])(?-i:[TMPCF]):[ ]?$",
    re.I,
)
"""A number of some kind: enough where the digits stand in groups or a plan knows them."""
_NEAR_LABEL = re.compile(rf"\b(?:{_NOUN})\b\.?(?: (?:number|no|nr|is)\b\.?){{0,2}}[ :#(]{{0,3}}$", re.I)
"""A label right before the number, as numbers of five or six digits need it."""
_OTHER_LABEL = re.compile(
    rf"\b(?:{_WORDS['others']})s?(?:[ :#.]{{1,3}}(?:number|no|nr|id|code|card|is|was|of)\b){{0,3}}[ :#.(]{{0,3}}$"
    r"|(?:[<>=]|\bthan) ?$",
    re.I,
)
"""A label of some other number, or a comparison with one."""
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}([-./ ])[01]?[0-9]\1[0-3]?[0-9](?![0-9])"
    r"|[0-3]?[0-9]([-./ ])[0-3]?[0-9]\2(?:19|20)[0-9]{2}(?![0-9])|[0-3]?[0-9]([-./])[0-3]?[0-9]\3[0-9]{2}$"
)
_IP = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(?:\.(?!$)|$)){4}")
_PLUS = re.compile(r"[+＋][ (\[]")
_OPERAND = re.compile(r"(?:[0-9)\]]|\b[a-z]|\*\*[0-9]) ?$")
_COUNTED = frozenset(("0123456789", "1234567890", "2147483647", "2147483648", "4294967295"))
"""The digits in order, and the largest whole numbers of 32 bits."""
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
_DIGITS = re.compile(r"[0-9]+")
_NUMBER_BEFORE = re.compile(r"[0-9][ \t]$")
_NUMBER_AFTER = re.compile(r"[ \t]{1,2}[0-9]")
_COMMA_BEFORE, _COMMA_AFTER = re.compile(r"[0-9],$"), re.compile(r",[0-9]")


def phones(text: str) -> Iterator[Span]:
    """Phone numbers of 7 to 15 digits, after a label of 6; an extension belongs to the number."""
    end, rule = -1, ""
    for match in _PHONE.finditer(text):
        if _DATE.match(match["body"].lstrip("+")) or _IP.fullmatch(match["body"]) or _is_sum(text, match):
            continue
        is_listed = rule and listed(text, end, match.start()) and not _NUMBER_AFTER.match(text, match.end())
        rule = _rule(text, match) or ("in a list" if is_listed else "")
        end = match.end()
        if rule:
            yield Span(*match.span(), "phone", match[0], rule)
        else:
            yield from _inner(match)


def names_phones(column: str) -> bool:
    """Whether the name of a column says that phone numbers stand in it: that of `call duration` does not."""
    return bool(_COLUMN.search(column))


def _rule(text: str, match: re.Match[str]) -> str:
    """Why a run of digits is a phone number; empty where nothing says so."""
    body = canonical(match["body"])
    if by_country_code(body):
        return "country code"
    groups = _DIGITS.findall(body)
    if sum(map(len, groups)) == 6:
        return "label" if len(groups) > 1 and labelled(text, match.start(), _NEAR_LABEL, 60) else ""
    if len(groups) > 2 and _YEAR.fullmatch(groups[0]):
        return ""  # of a work cited: year, volume, pages
    if len(groups) == 1 and _has_comma(text, match):
        return ""
    if labelled(text, match.start(), _UNSPACED_LABEL, 24):
        return "label"
    if labelled(text, match.start(), _LABEL, 80) or _LABEL_AFTER.match(text, match.end()):
        return "label"
    if labelled(text, match.start(), _OTHER_LABEL, 60) or is_counted(text, *match.span()):
        return ""
    if match["extension"] and len(groups) == 1 and 10 <= len(body) <= 11:
        return "extension"
    if labelled(text, match.start(), _NUMBER_LABEL, 80) and (len(groups) > 1 or by_plan(body, named=True)):
        return "label"
    beside = labelled(text, match.start(), _NUMBER_BEFORE, 2) or _NUMBER_AFTER.match(text, match.end())
    return "" if " " in body and beside else by_form(body) or by_plan(body)


def _has_comma(text: str, match: re.Match[str]) -> bool:
    return labelled(text, match.start(), _COMMA_BEFORE, 2) or bool(_COMMA_AFTER.match(text, match.end()))


def _is_sum(text: str, match: re.Match[str]) -> bool:
    """Whether a number is added to what stands before it, or is one of those that computers count to."""
    added = _PLUS.match(match["body"]) and labelled(text, match.start(), _OPERAND, 4)
    return bool(added) or match["body"] in _COUNTED


def _inner(match: re.Match[str]) -> Iterator[Span]:
    """A phone number beside another number, such as a postcode, with nothing but a space between."""
    end = 0
    for start, part in parts(match["body"]):
        body = canonical(part)
        rule = "country code" if by_country_code(body) else by_form(body) or by_plan(body)
        if rule and start >= end and part != match["body"]:
            end = start + len(part)
            yield Span(match.start() + start, match.start() + end, "phone", part, rule)
