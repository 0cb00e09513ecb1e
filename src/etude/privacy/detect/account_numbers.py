"""Payment cards, IBANs and numbers that a label names: passports, accounts, licences, files.

Checksums are python-stdnum's. A number whose checksum fails is still found where a label stands before
it: a typing error does not make it impersonal. So are sixteen digits in fours, as on a card.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain

from etude.base.word_lists import read_table
from etude.privacy.detect.calculations import is_operand
from etude.privacy.detect.value_labels import LINKS, label_pattern, may_hold
from etude.privacy.spans import AFTER, BEFORE, Span, labelled

_WORDS = read_table(__file__, "id_numbers.yaml")
_CARD = re.compile(
    BEFORE + r"(?<![.+-])(?:[0-9]{12,19}"
    r"|[0-9]{4}(?P<gap>[ .-]|  | - )(?:[0-9]{4}(?P=gap)){2}[0-9]{4}(?:(?P=gap)[0-9]{3})?"
    r"|3[0-9]{3}(?P<amex>[ .-])[0-9]{6}(?P=amex)[0-9]{4,5})(?![.-][0-9])" + AFTER
)
_IN_FOURS = re.compile(r"[3-6][0-9]{3}[^0-9]{1,3}(?:[0-9]{4}[^0-9]{1,3}){2}[0-9]{4}")
"""Sixteen digits written as on a card: enough with an issuer's first digit, whatever the checksum."""
_ISSUERS = re.compile(r"(?:4|5[0-8]|6|2[2-7]|3[0-9]|1800|9[0-9])")
"""First digits that payment cards begin with (ISO/IEC 7812); 12 digits: Maestro's only."""
_BOOK = re.compile(r"97[89][0-9]{10}")
"""ISBN-13 (ISO 2108), whose check digit is right by Luhn's rule as well for one in ten."""
_MAESTRO = re.compile(r"(?:5[0678]|6)[0-9]{11}")
_CARD_LABEL = re.compile(
    r"\b(?:card|credit|debit|cc|visa|master ?card|amex|american express|maestro)\b[^0-9\n]{0,40}\n?[^\w\n]{0,4}$",
    re.I,
)
_IBAN = re.compile(
    rf"(?:{BEFORE}(?<!-)|(?<=\bIBAN-)|(?<=\bIBAN_)|(?<=\bIBAN))[A-Za-z]{{2}}[0-9]{{2}}"
    r"(?:[ .-]?[A-Za-z0-9]){11,30}" + AFTER
)
_GAP = re.compile("[ .-]")
_IBAN_WORD = re.compile(r"\bIBANs?\b")
_IBAN_LABEL = re.compile(
    r"\b(?:iban|account)\b[^\w\n]{0,4}(?:(?:number|no|is|code)\W{1,3}){0,2}$|\biban\b[^0-9\n]{0,40}\n?[^\w\n]{0,4}$",
    re.I,
)
_BANK = re.compile(r"\b(?:iban|bank\w*|accounts?|transfer\w*)\b", re.I)
_LABELLED_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){8,30}" + AFTER)

_LINK = (
    r"(?:s\b|\(s\))?(?:[ \t]{0,2}(?:\b(?:numbers?|num|nos?|nr|id|ids|code|is|was|of|like|card)\b"
    r"|\bfor verification purposes\b|e\.g\.|[#:=.,*'\"“‘()-])){0,8}[ \t]{0,2}['\"“‘*#(]{0,2}"
    r"(?:(?:DL|PID|ID|ACC|ACCNUM|MRN|ATIN)[ :#]{1,2})?"
)
"""What may stand between a label and its number."""
_ID_VALUE = (
    r"(?P<value>[0-9]{3,5}(?: [0-9]{3,5}){1,4}(?![ ]?[0-9])|(?:(?<![A-Za-z])[A-Za-z]|[0-9])"
    r"(?:[A-Za-z0-9]|[-_/](?=[A-Za-z0-9])){3,29})(?![-_]|[.,/:][0-9])" + AFTER
)
_ID = re.compile(rf"(?<![A-Za-z?&=#_-])(?:{'|'.join(_WORDS['labels'])})" + _LINK + _ID_VALUE, re.I)
_THING = re.compile(rf"\b(?:{'|'.join(_WORDS['things'])})[ _-]$", re.I)
"""What stands before an ID that is nobody's."""
_ID_HINT = re.compile(
    r"(?i)passport|licen[cs]e|\bDL|acc|routing|\bsort|ifsc|check|saving|\b[iptemv]?[idirn][dnr]?|insur|"
    r"polic|record|file|health|member|number|voter|ident|tax|social|ssn|aadha|\bpan|plate|registration"
)
_NAMED = re.compile(
    rf"(?<![A-Za-z?&=#_-]){label_pattern('numbers')}\.?(?:[ \t]{{0,2}}(?:{LINKS})){{0,4}}[ \t]{{0,2}}{_ID_VALUE}",
    re.I,
)
_PLAIN_NUMBER = re.compile(
    r"(?:19|20)[0-9]{2}|[0-9]{1,3}(?:[A-Za-z]{1,6})?|[0-9]{1,4}(?:st|nd|rd|th|am|pm|k|m)", re.I
)


def cards(text: str) -> Iterator[Span]:
    """Payment card numbers: 12 to 19 digits with Luhn's checksum, or with a label before them."""
    for match in _CARD.finditer(text):
        rule = _card_rule(re.sub("[^0-9]", "", match[0]), labelled(text, match.start(), _CARD_LABEL, 60))
        rule = rule or ("written in fours" if _IN_FOURS.fullmatch(match[0]) else "")
        if rule and (rule == "label" or not is_operand(text, *match.span())):
            yield Span(*match.span(), "card", match[0], rule)


def ibans(text: str) -> Iterator[Span]:
    """IBANs with their checksum and their country's form; with one of both, or neither, where the text names it."""
    named = _IBAN_WORD.search(text)
    for match in _IBAN.finditer(text):
        whole, rule = _longest(match[0], _is_iban), "mod 97"
        if not whole and labelled(text, match.start(), _BANK, 80):
            whole, rule = _longest(match[0], _has_form), "form and label"
        if not whole and (named or labelled(text, match.start(), _IBAN_LABEL, 60)):
            written = _LABELLED_IBAN.match(match[0])
            whole, rule = written[0] if written else "", "label"
        if whole:
            yield Span(match.start(), match.start() + len(whole), "iban", whole, rule)


def id_numbers(text: str) -> Iterator[Span]:
    """Numbers that a label names, such as a passport's: at least four characters, two of them digits."""
    matches = chain(
        _ID.finditer(text) if _ID_HINT.search(text) else (),
        _NAMED.finditer(text) if may_hold(text, "numbers") else (),
    )
    for match in matches:
        value = match["value"]
        if match[0][:2] in ("ID", "id", "Id") and labelled(text, match.start(), _THING):
            continue
        digits = sum(map(str.isdigit, value))
        if digits >= 2 and len(value) >= 5 and not _PLAIN_NUMBER.fullmatch(value):
            yield Span(*match.span("value"), "id_number", value, "label")


def _card_rule(digits: str, has_label: bool) -> str:
    import stdnum.luhn
    import stdnum.za.idnr

    if has_label:
        return "label"
    issuer = _MAESTRO.fullmatch(digits) if len(digits) == 12 else _ISSUERS.match(digits)
    other = _BOOK.fullmatch(digits) or (len(digits) == 13 and stdnum.za.idnr.is_valid(digits))
    if issuer and not other and stdnum.luhn.is_valid(digits) and len(set(digits)) > 1:
        return "Luhn"
    return ""


def _longest(candidate: str, accepts: Callable[[str], bool]) -> str:
    """The longest run of the candidate's groups, from the first on, that is accepted; empty where none is."""
    ends = [len(candidate), *(gap.start() for gap in reversed(list(_GAP.finditer(candidate))))]
    return next((candidate[:end] for end in ends if accepts(candidate[:end])), "")


def _is_iban(text: str) -> bool:
    import stdnum.iban

    return bool(stdnum.iban.is_valid(_GAP.sub("", text), check_country=False))


def _has_form(text: str) -> bool:
    """Whether an IBAN is right but for its check digits: length, and letters where its country has them."""
    import stdnum.iban

    plain = _GAP.sub("", text)
    return plain.isupper() and _is_iban(plain[:2] + stdnum.iban.calc_check_digits(plain) + plain[4:])
