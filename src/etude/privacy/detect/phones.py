"""Find phone numbers by country code, by a label next to them, or by their format."""

import re
from collections.abc import Iterator

from etude.base.word_lists import read_table
from etude.privacy.detect import phone_formats, value_labels
from etude.privacy.spans import UNSPACED_LETTERS, Span, has_label, is_list_separator

_GAP = r"(?:[ \t.()\[\]-]{1,4}|[)\]]?[ \t]?/[ \t]?)?"
# The extensions that libphonenumber knows, and words of French, German and Portuguese
_EXTENSION = (
    r"(?:[ \t,;]{0,2}-?[ \t]?"
    r"(?:x|e?xt(?:ensi(?:on|ón|o))?n?\.?|#|anexo|int(?:erno)?\.?|poste|durchwahl|dw|ramal|доб\.?)[ "
    r".:#]{0,3}[0-9]{1,7}"
    r"|;ext=[0-9]{1,7}"
    r"| ?\((?:x|ext(?:ensio)?n?\.?|#|poste|durchwahl)[ .:#]{0,3}[0-9]{1,7}\))"
)
_PHONE = re.compile(
    rf"(?<![^\W_{UNSPACED_LETTERS}]|[+＋$€£¥-])(?<![$€£¥] )(?<![0-9][.:/])(?<![^\s,;]/)(?<!\.\.)"
    rf"(?P<body>(?:[(\[] ?(?=[+＋]?[0-9 -]{{1,6}}[)\]]))?(?:[+＋] "
    rf"?[(\[]?)?[0-9](?:{_GAP}[0-9]){{5,14}})"
    rf"(?P<extension>{_EXTENSION})?(?![^\W_{UNSPACED_LETTERS}]|[.:/=-][0-9])",
    re.I,
)
_WORDS = {key: "|".join(words) for key, words in read_table(__file__, "phones.yaml").items()}
_NOUN = _WORDS["nouns"]
_OWNER = "(?:home|work|office|mobile|cell|private)"
# The end of a label, which may be the name of a field: `phone_no`, `phoneNumber`, but not
# `call_duration`
_LABEL_END = rf"(?:(?:[_ -]?(?:number|num|no|nr))?(?:_{_OWNER})?(?!_?[^\W_])|(?<=[☎☏✆📞📱📲]))"
_LABEL = re.compile(
    rf"(?:(?<![^\W_])|(?=[☎☏✆📞📱📲]))(?:{_NOUN}|{_WORDS['verbs']}){_LABEL_END}[^0-9\n"
    rf"]{{0,40}}\n"
    rf"?[ (]{{0,2}}$",
    re.I,
)
_UNSPACED_LABEL = re.compile(f"{value_labels.build_label_pattern('phones')}[^0-9\\n]{{0,12}}$")
_LABEL_AFTER = re.compile(
    rf"[ \t]{{0,2}}[(\[/,-]?[ \t]?\b(?:{_NOUN}|office|home|work|direct"
    rf"|(?:is|was) (?:the |a )?(?:[a-z]{{2,10}} )?(?:{_NOUN}|numbers? to "
    r"(?:reach|call|ring|text|dial)))\b",
    re.I,
)
# The name of a column of phone numbers, as words
_COLUMN = re.compile(
    rf"\b(?:{_NOUN}|contact|sms)(?: (?:numbers?|num|no|nr))?(?: (?:{_OWNER}|[0-9]))?$"
    rf"|{value_labels.build_label_pattern('phones')}$",
    re.I,
)
# A label of any kind of number: it is enough for digits in groups or in a numbering plan
_NUMBER_LABEL = re.compile(
    r"\bnumbers?(?: (?:is|was|are|to|at|below|as|for [^0-9\n"
    r"]{1,30} is|of [^0-9\n"
    r"]{1,30} is))?[ :#-]{0,3}$"
    r"|(?<![^\W_])(?-i:[TMPCF]):[ ]?$",
    re.I,
)
# A label directly before the number; numbers with six digits need one
_NEAR_LABEL = re.compile(
    rf"\b(?:{_NOUN})\b\.?(?: (?:number|no|nr|is)\b\.?){{0,2}}[ :#(]{{0,3}}$", re.I
)
# A label of another number, or a comparison
_NO_PHONE_LABEL = re.compile(
    rf"\b(?:{_WORDS['others']})s?(?:[ "
    rf":#.]{{1,3}}(?:number|no|nr|id|code|card|is|was|of)\b){{0,3}}[ :#.(]{{0,3}}$"
    r"|(?:[<>=]|\bthan) ?$",
    re.I,
)
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}([-./ ])[01]?[0-9]\1[0-3]?[0-9](?![0-9])"
    r"|[0-3]?[0-9]([-./ "
    r"])[0-3]?[0-9]\2(?:19|20)[0-9]{2}(?![0-9])|[0-3]?[0-9]([-./])[0-3]?[0-9]\3[0-9]{2}$"
)
_IP = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(?:\.(?!$)|$)){4}")
_PLUS = re.compile(r"[+＋][ (\[]")
_OPERAND = re.compile(r"(?:[0-9)\]]|\b[a-z]|\*\*[0-9]) ?$")
# The digits in order, and the largest 32-bit integers
_COMMON_INTEGERS = frozenset(("0123456789", "1234567890", "2147483647", "2147483648", "4294967295"))
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
_DIGITS = re.compile(r"[0-9]+")
_NUMBER_BEFORE = re.compile(r"[0-9][ \t]$")
_NUMBER_AFTER = re.compile(r"[ \t]{1,2}[0-9]")
_COMMA_BEFORE = re.compile(r"[0-9],$")
_COMMA_AFTER = re.compile(r",[0-9]")


def find_phones(text: str) -> Iterator[Span]:
    """Find phone numbers of 7 to 15 digits, or of 6 after a label, with their extensions."""
    end = -1
    rule = ""
    for match in _PHONE.finditer(text):
        body = match["body"]
        is_added = _PLUS.match(body) and has_label(
            text, match.start(), _OPERAND, 4
        )  # "2 + (555 0199)"
        if (
            is_added
            or body in _COMMON_INTEGERS
            or _DATE.match(body.lstrip("+"))
            or _IP.fullmatch(body)
        ):
            continue
        is_listed = rule and is_list_separator(text, end, match.start())
        is_last = not _NUMBER_AFTER.match(text, match.end())
        rule = _find_rule(text, match) or ("in a list" if is_listed and is_last else "")
        end = match.end()
        if rule:
            yield Span(*match.span(), "phone", match[0], rule)
        else:
            yield from _find_inside(match)


def is_phone_column(column: str) -> bool:
    """Whether the name of a column means phone numbers, unlike `call duration`."""
    return bool(_COLUMN.search(column))


def _find_rule(text: str, match: re.Match[str]) -> str:
    """Return the rule by which digits are a phone number; "" if there is none."""
    body = phone_formats.normalise_number(match["body"])
    if phone_formats.has_country_code(body):
        return "country code"
    groups = _DIGITS.findall(body)
    if sum(map(len, groups)) == 6:
        return (
            "label" if len(groups) > 1 and has_label(text, match.start(), _NEAR_LABEL, 60) else ""
        )
    if len(groups) > 2 and _YEAR.fullmatch(groups[0]):
        return ""  # a citation: year, volume, pages
    start, end = match.span()
    if len(groups) == 1 and (
        has_label(text, start, _COMMA_BEFORE, 2) or _COMMA_AFTER.match(text, end)
    ):
        return ""
    if has_label(text, match.start(), _UNSPACED_LABEL, 24):
        return "label"
    if has_label(text, match.start(), _LABEL, 80) or _LABEL_AFTER.match(text, match.end()):
        return "label"
    if has_label(text, match.start(), _NO_PHONE_LABEL, 60) or value_labels.is_result(
        text, *match.span()
    ):
        return ""
    if match["extension"] and len(groups) == 1 and 10 <= len(body) <= 11:
        return "extension"
    is_number = has_label(text, match.start(), _NUMBER_LABEL, 80)
    if is_number and (len(groups) > 1 or phone_formats.match_plan(body, has_label=True)):
        return "label"
    is_after_number = has_label(text, match.start(), _NUMBER_BEFORE, 2)
    touches_number = is_after_number or _NUMBER_AFTER.match(text, match.end())
    return (
        ""
        if " " in body and touches_number
        else phone_formats.match_format(body) or phone_formats.match_plan(body)
    )


def _find_inside(match: re.Match[str]) -> Iterator[Span]:
    """Find a phone number with only a space between it and another number, such as a postcode."""
    end = 0
    for start, number in phone_formats.split_numbers(match["body"]):
        body = phone_formats.normalise_number(number)
        rule = (
            "country code"
            if phone_formats.has_country_code(body)
            else phone_formats.match_format(body) or phone_formats.match_plan(body)
        )
        if rule and start >= end and number != match["body"]:
            end = start + len(number)
            yield Span(match.start() + start, match.start() + end, "phone", number, rule)
