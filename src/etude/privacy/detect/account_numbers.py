"""Find payment cards, IBANs, and numbers with a label: passports, accounts, licences, files.

python-stdnum checks the checksums. A number with a wrong checksum is found after a label, because
it may have a typing error. Sixteen digits in groups of four, as on a card, are found, too.
"""

import re
from collections.abc import Callable, Iterator
from itertools import chain

from etude.base.word_lists import read_table
from etude.privacy.detect.value_labels import LINKS, build_label_pattern, is_operand, may_have_label
from etude.privacy.spans import NO_LETTER_AFTER, NO_LETTER_BEFORE, Span, has_label

_WORDS = read_table(__file__, "id_numbers.yaml")
_CARD = re.compile(
    NO_LETTER_BEFORE + r"(?<![.+-])(?:[0-9]{12,19}"
    r"|[0-9]{4}(?P<gap>[ .-]|  | - )(?:[0-9]{4}(?P=gap)){2}[0-9]{4}(?:(?P=gap)[0-9]{3})?"
    r"|3[0-9]{3}(?P<amex>[ .-])[0-9]{6}(?P=amex)[0-9]{4,5})(?![.-][0-9])" + NO_LETTER_AFTER
)
# Sixteen digits in groups of four with an issuer's first digit: a card, even with a wrong checksum
_IN_FOURS = re.compile(r"[3-6][0-9]{3}[^0-9]{1,3}(?:[0-9]{4}[^0-9]{1,3}){2}[0-9]{4}")
# First digits of payment cards (ISO/IEC 7812)
_ISSUERS = re.compile(r"(?:4|5[0-8]|6|2[2-7]|3[0-9]|1800|9[0-9])")
# ISBN-13 (ISO 2108); one in ten also has a correct Luhn checksum
_BOOK = re.compile(r"97[89][0-9]{10}")
# The only cards with 12 digits
_MAESTRO = re.compile(r"(?:5[0678]|6)[0-9]{11}")
_CARD_LABEL = re.compile(
    r"\b(?:card|credit|debit|cc|visa|master ?card|amex|american express|maestro)\b[^0-9\n"
    r"]{0,40}\n"
    r"?[^\w\n"
    r"]{0,4}$",
    re.I,
)
_IBAN = re.compile(
    rf"(?:{NO_LETTER_BEFORE}(?<!-)|(?<=\bIBAN-)|(?<=\bIBAN_)|(?<=\bIBAN))[A-Za-z]{{2}}[0-9]{{2}}"
    r"(?:[ .-]?[A-Za-z0-9]){11,30}" + NO_LETTER_AFTER
)
_GAP = re.compile("[ .-]")
_IBAN_WORD = re.compile(r"\bIBANs?\b")
_IBAN_LABEL = re.compile(
    r"\b(?:iban|account)\b[^\w\n"
    r"]{0,4}(?:(?:number|no|is|code)\W{1,3}){0,2}$|\biban\b[^0-9\n"
    r"]{0,40}\n"
    r"?[^\w\n"
    r"]{0,4}$",
    re.I,
)
_BANK = re.compile(r"\b(?:iban|bank\w*|accounts?|transfer\w*)\b", re.I)
_LABELLED_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){8,30}" + NO_LETTER_AFTER)

# Words and characters between a label and its number
_LINK = (
    r"(?:s\b|\(s\))?(?:[ \t]{0,2}(?:\b(?:numbers?|num|nos?|nr|id|ids|code|is|was|of|like|card)\b"
    r"|\bfor verification purposes\b|e\.g\.|[#:=.,*'\"“‘()-])){0,8}[ \t]{0,2}['\"“‘*#(]{0,2}"
    r"(?:(?:DL|PID|ID|ACC|ACCNUM|MRN|ATIN)[ :#]{1,2})?"
)
_ID_VALUE = (
    r"(?P<value>[0-9]{3,5}(?: [0-9]{3,5}){1,4}(?![ ]?[0-9])|(?:(?<![A-Za-z])[A-Za-z]|[0-9])"
    r"(?:[A-Za-z0-9]|[-_/](?=[A-Za-z0-9])){3,29})(?![-_]|[.,/:][0-9])" + NO_LETTER_AFTER
)
_ID = re.compile(rf"(?<![A-Za-z?&=#_-])(?:{'|'.join(_WORDS['labels'])})" + _LINK + _ID_VALUE, re.I)
# Before the ID of a thing
_IMPERSONAL = re.compile(rf"\b(?:{'|'.join(_WORDS['things'])})[ _-]$", re.I)
_ID_HINT = re.compile(
    r"(?i)passport|licen[cs]e|\bDL|acc|routing|\bsort|ifsc|check|saving|\b[iptemv]?[idirn][dnr]?|insur|"
    r"polic|record|file|health|member|number|voter|ident|tax|social|ssn|aadha|\bpan|plate|registration"
)
_LABELLED_NUMBER = re.compile(
    rf"(?<![A-Za-z?&=#_-]){build_label_pattern('numbers')}\.?(?:[ "
    rf"\t]{{0,2}}(?:{LINKS})){{0,4}}[ \t]{{0,2}}{_ID_VALUE}",
    re.I,
)
_PLAIN_NUMBER = re.compile(
    r"(?:19|20)[0-9]{2}|[0-9]{1,3}(?:[A-Za-z]{1,6})?|[0-9]{1,4}(?:st|nd|rd|th|am|pm|k|m)", re.I
)


def find_cards(text: str) -> Iterator[Span]:
    """Find card numbers: 12 to 19 digits with a correct Luhn checksum or after a label, or 16 in
    groups of four.
    """
    for match in _CARD.finditer(text):
        rule = _check_card(
            re.sub("[^0-9]", "", match[0]), has_label(text, match.start(), _CARD_LABEL, 60)
        )
        rule = rule or ("written in fours" if _IN_FOURS.fullmatch(match[0]) else "")
        if rule and (rule == "label" or not is_operand(text, *match.span())):
            yield Span(*match.span(), "card", match[0], rule)


def find_ibans(text: str) -> Iterator[Span]:
    """Find IBANs by their checksum or, after a label, by their country's format or by the label
    alone.
    """
    mentions_iban = _IBAN_WORD.search(text)
    for match in _IBAN.finditer(text):
        iban = _find_longest(match[0], _is_valid_iban)
        rule = "mod 97"
        if not iban and has_label(text, match.start(), _BANK, 80):
            iban = _find_longest(match[0], _has_iban_format)
            rule = "form and label"
        if not iban and (mentions_iban or has_label(text, match.start(), _IBAN_LABEL, 60)):
            labelled_match = _LABELLED_IBAN.match(match[0])
            iban = labelled_match[0] if labelled_match else ""
            rule = "label"
        if iban:
            yield Span(match.start(), match.start() + len(iban), "iban", iban, rule)


def find_id_numbers(text: str) -> Iterator[Span]:
    """Find labelled numbers, such as a passport's, with at least five characters, two of them
    digits.
    """
    matches = chain(
        _ID.finditer(text) if _ID_HINT.search(text) else (),
        _LABELLED_NUMBER.finditer(text) if may_have_label(text, "numbers") else (),
    )
    for match in matches:
        value = match["value"]
        if match[0][:2] in ("ID", "id", "Id") and has_label(text, match.start(), _IMPERSONAL):
            continue
        digits = sum(map(str.isdigit, value))
        if digits >= 2 and len(value) >= 5 and not _PLAIN_NUMBER.fullmatch(value):
            yield Span(*match.span("value"), "id_number", value, "label")


def _check_card(digits: str, has_label: bool) -> str:
    import stdnum.luhn
    import stdnum.za.idnr

    if has_label:
        return "label"
    issuer = _MAESTRO.fullmatch(digits) if len(digits) == 12 else _ISSUERS.match(digits)
    is_other_number = _BOOK.fullmatch(digits) or (
        len(digits) == 13 and stdnum.za.idnr.is_valid(digits)
    )
    if issuer and not is_other_number and stdnum.luhn.is_valid(digits) and len(set(digits)) > 1:
        return "Luhn"
    return ""


def _find_longest(candidate: str, accepts: Callable[[str], bool]) -> str:
    """Return the longest accepted beginning of the candidate that ends with a group; "" if there is
    none.
    """
    ends = [len(candidate), *(gap.start() for gap in reversed(list(_GAP.finditer(candidate))))]
    return next((candidate[:end] for end in ends if accepts(candidate[:end])), "")


def _is_valid_iban(text: str) -> bool:
    import stdnum.iban

    return bool(stdnum.iban.is_valid(_GAP.sub("", text), check_country=False))


def _has_iban_format(text: str) -> bool:
    """Whether only the check digits of an IBAN are wrong, because its length and letters match its
    country.
    """
    import stdnum.iban

    plain = _GAP.sub("", text)
    return plain.isupper() and _is_valid_iban(
        plain[:2] + stdnum.iban.calc_check_digits(plain) + plain[4:]
    )
