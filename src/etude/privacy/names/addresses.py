"""Find postal addresses: a street with a number, a flat, a box or a postcode, and the lines that
follow.

Streets are recognised by words of English and a dozen European languages. Without such a word, a
street is recognised after "lives at", "address" and the like. A town alone is not an address.
"""

import re

from etude.base.word_lists import read_table
from etude.privacy.names.people import to_title_case
from etude.privacy.spans import Span

_WORDS = {key: "|".join(words) for key, words in read_table(__file__, "addresses.yaml").items()}
_CAP = rf"(?:[^\W\d_a-zß-öø-ÿ][\w'’.-]{{0,30}}|{_WORDS['particles']})"
_NAME = rf"{_CAP}(?: {_CAP}){{0,4}}"
_NUMBER = r"(?:[0-9]{1,5}(?:[-/][0-9]{1,4})?[A-Za-z]?)"
_SUFFIX = rf"(?:{_WORDS['after_name']})\b\.?"
_STREET_BEFORE = rf"(?:{_WORDS['before_name']})"
_STREET_JOINED = rf"(?:{_WORDS['joined']})"
_STREET_APART = rf"(?:{_WORDS['apart']})"
_FLAT = (
    r"(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Floor|Box|Lot|Bldg|Building)\b\.? "
    r"{0,2}#?[0-9]{1,5}[A-Za-z]?"
)
_BOX = (
    r"(?:P\.? ?O\.? ?Box|Post(?:al)? Box|Postfach|Apartado|PSC|CMR|Unit) {0,2}[0-9]{1,6}(?:,? "
    r"Box [0-9]{1,6})?"
)
_POSTCODE = (
    r"(?:[A-Z]{2} {1,2}[0-9]{5}(?:-[0-9]{4})?|[A-Z]{1,2}[0-9][A-Z0-9]? "
    r"{1,2}[0-9][ABD-HJLNP-UW-Z]{2}"
    r"|[A-Z][0-9][A-Z] [0-9][A-Z][0-9])(?![\w])"
)
_TOWN = r"[^\W\d_a-zß-öø-ÿ][\w'’()-]{1,30}(?: [\w'’()-]{1,30}){0,3}"
# Another part of an address, after a comma, a line break or a space
_NEXT_PART = (
    rf"(?:[ \t]{{0,2}}[,\n][\n ,>?*|\t]{{0,6}}|[ ]{{1,2}})(?:{_FLAT}|{_BOX}|{_POSTCODE}"
    rf"|[A-Z]{{2}}(?: [0-9]{{4,5}})?(?![\w])|nan [0-9]{{5}}"
    rf"|(?:[0-9]{{3,6}} )?[^\W\d_a-zß-öø-ÿ][\w'’.-]{{1,30}}(?: "
    rf"[^\W\d_a-zß-öø-ÿ][\w'’.-]{{1,30}}){{0,2}},?["
    rf" ][A-Z]{{2}}(?: [0-9]{{4,5}})?(?![\w])"
    rf"|{_TOWN} [0-9]{{4,6}}(?![\w])|{_TOWN}(?=[\n"
    rf" ,>?*|\t]{{1,8}}(?:{_TOWN} )?[0-9]{{4,6}}(?![\w]))"
    rf"|{_NUMBER} (?:{_NAME} )?{_SUFFIX}|[0-9]{{4,6}}(?![\w]))"
)
_TAIL = re.compile(rf"(?:{_NEXT_PART}){{1,5}}")

_STREET_FORMS = (
    ("street", rf"(?<![\w.#-]){_NUMBER},? (?:{_NUMBER} )?{_NAME} {_SUFFIX}(?![\w])"),
    ("street", rf"(?<![\w.-]){_STREET_BEFORE} {_NAME},? {_NUMBER}(?![\w%])"),
    (
        "street",
        rf"(?<![\w.-])(?:{_NUMBER} )?(?:{_CAP} "
        rf"){{0,2}}[^\W\d_a-zß-öø-ÿ]?[\w'’-]{{2,30}}{_STREET_JOINED}"
        rf" {_NUMBER}(?![\w%])",
    ),
    ("street", rf"(?<![\w.-])(?:{_NUMBER} )?{_NAME} {_STREET_APART}\.? {_NUMBER}\.?(?![\w%])"),
    ("flat", rf"(?<![\w.-])(?:{_NUMBER} (?:{_NAME} )?)?{_FLAT}(?![\w])"),
    ("box", rf"(?<![\w.-]){_BOX}(?![\w])"),
    ("postcode", rf"(?<![\w.-]){_POSTCODE}"),
)
_STREET = tuple((rule, re.compile(form)) for rule, form in _STREET_FORMS)
_AFTER_CUE = re.compile(
    r"(?:\b(?:live[sd]?|living|located|reside[sd]?|residing|moved?|moving|deliver(?:ed)?|sen[dt]"
    r"|ship(?:ped)?|meet|stop|is|office|store)"
    r" (?:it )?(?:at|on|in|to|near|the \w{1,10} side of)|\b(?i:address|street|residence)(?: is|:"
    r"| of [\w ]{1,30} is)?|\bside of|\bstation is on) "
    rf"(?P<value>(?:{_NUMBER} )?{_NAME} {_NUMBER}(?![\w%:]))"
)
_ZIP = re.compile(
    r"(?i:\b(?:zip|postal|post) ?code)\W{0,3}(?:is|:)?\W{0,3}(?P<value>[A-Z0-9]{2,4}[ "
    r"-]?[A-Z0-9]{2,5})(?![\w])"
)
_LABELLED = re.compile(
    r"(?i:\b(?:home |postal |mailing |billing |shipping )?address):[ \t]{0,8}(?P<value>[^\n"
    r"]{6,120})"
)
_DIGIT = re.compile("[0-9]")


def find_addresses(text: str) -> list[Span]:
    """Find addresses with the parts that follow directly; overlapping addresses are merged."""
    if not _DIGIT.search(text):
        return []
    cased = to_title_case(text)
    # Start, end and rule of each part of an address, with what follows it.
    parts = [
        (match.start(), _extend_end(cased, match.end()), rule)
        for rule, pattern in _STREET
        for match in pattern.finditer(cased)
    ]
    for pattern in (_AFTER_CUE, _ZIP, _LABELLED):
        for match in pattern.finditer(cased):
            if any(map(str.isdigit, match["value"])):
                parts.append(
                    (match.start("value"), _extend_end(cased, match.end("value")), "label")
                )
    merged: list[tuple[int, int, str]] = []
    for start, end, rule in sorted(parts):
        if merged and start <= merged[-1][1] + 1:
            start, last, rule = merged.pop()
            end = max(end, last)
        merged.append((start, end, rule))
    return [Span(start, end, "address", text[start:end], rule) for start, end, rule in merged]


def _extend_end(text: str, end: int) -> int:
    tail = _TAIL.match(text, end)
    return tail.end() if tail else end
