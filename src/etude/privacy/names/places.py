"""Postal addresses: a street with its number, a flat, a box, a postcode, and the lines that follow.

Street words of English and of a dozen European languages. A street without such a word counts where "lives at",
"address" and the like stand before it. Towns alone are not addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from etude.base.word_lists import read_table
from etude.privacy.names.people import with_capitals
from etude.privacy.spans import Span

_WORDS = {key: "|".join(words) for key, words in read_table(__file__, "places.yaml").items()}
_CAP = rf"(?:[^\W\d_a-zß-öø-ÿ][\w'’.-]{{0,30}}|{_WORDS['particles']})"
_NAME = rf"{_CAP}(?: {_CAP}){{0,4}}"
_NUMBER = r"(?:[0-9]{1,5}(?:[-/][0-9]{1,4})?[A-Za-z]?)"
_SUFFIX = rf"(?:{_WORDS['after_name']})\b\.?"
_FIRST = rf"(?:{_WORDS['before_name']})"
_JOINED = rf"(?:{_WORDS['joined']})"
_AFTER = rf"(?:{_WORDS['apart']})"
_FLAT = (
    r"(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Floor|Box|Lot|Bldg|Building)\b\.? {0,2}#?[0-9]{1,5}[A-Za-z]?"
)
_BOX = r"(?:P\.? ?O\.? ?Box|Post(?:al)? Box|Postfach|Apartado|PSC|CMR|Unit) {0,2}[0-9]{1,6}(?:,? Box [0-9]{1,6})?"
_POSTCODE = (
    r"(?:[A-Z]{2} {1,2}[0-9]{5}(?:-[0-9]{4})?|[A-Z]{1,2}[0-9][A-Z0-9]? {1,2}[0-9][ABD-HJLNP-UW-Z]{2}"
    r"|[A-Z][0-9][A-Z] [0-9][A-Z][0-9])(?![\w])"
)
_TOWN = r"[^\W\d_a-zß-öø-ÿ][\w'’()-]{1,30}(?: [\w'’()-]{1,30}){0,3}"
_MORE = (
    rf"(?:[ \t]{{0,2}}[,\n][\n ,>?*|\t]{{0,6}}|[ ]{{1,2}})(?:{_FLAT}|{_BOX}|{_POSTCODE}"
    rf"|[A-Z]{{2}}(?: [0-9]{{4,5}})?(?![\w])|nan [0-9]{{5}}"
    rf"|(?:[0-9]{{3,6}} )?[^\W\d_a-zß-öø-ÿ][\w'’.-]{{1,30}}(?: [^\W\d_a-zß-öø-ÿ][\w'’.-]{{1,30}}){{0,2}},?["
    rf" ][A-Z]{{2}}(?: [0-9]{{4,5}})?(?![\w])"
    rf"|{_TOWN} [0-9]{{4,6}}(?![\w])|{_TOWN}(?=[\n ,>?*|\t]{{1,8}}(?:{_TOWN} )?[0-9]{{4,6}}(?![\w]))"
    rf"|{_NUMBER} (?:{_NAME} )?{_SUFFIX}|[0-9]{{4,6}}(?![\w]))"
)
"""A further part of an address, after a comma, a line break or a space."""
_TAIL = re.compile(rf"(?:{_MORE}){{1,5}}")

_FORMS = (
    ("street", rf"(?<![\w.#-]){_NUMBER},? (?:{_NUMBER} )?{_NAME} {_SUFFIX}(?![\w])"),
    ("street", rf"(?<![\w.-]){_FIRST} {_NAME},? {_NUMBER}(?![\w%])"),
    (
        "street",
        rf"(?<![\w.-])(?:{_NUMBER} )?(?:{_CAP} ){{0,2}}[^\W\d_a-zß-öø-ÿ]?[\w'’-]{{2,30}}{_JOINED}"
        rf" {_NUMBER}(?![\w%])",
    ),
    ("street", rf"(?<![\w.-])(?:{_NUMBER} )?{_NAME} {_AFTER}\.? {_NUMBER}\.?(?![\w%])"),
    ("flat", rf"(?<![\w.-])(?:{_NUMBER} (?:{_NAME} )?)?{_FLAT}(?![\w])"),
    ("box", rf"(?<![\w.-]){_BOX}(?![\w])"),
    ("postcode", rf"(?<![\w.-]){_POSTCODE}"),
)
_STREET = tuple((rule, re.compile(form)) for rule, form in _FORMS)
_CUED = re.compile(
    r"(?:\b(?:live[sd]?|living|located|reside[sd]?|residing|moved?|moving|deliver(?:ed)?|sen[dt]"
    r"|ship(?:ped)?|meet|stop|is|office|store)"
    r" (?:it )?(?:at|on|in|to|near|the \w{1,10} side of)|\b(?i:address|street|residence)(?: is|:"
    r"| of [\w ]{1,30} is)?|\bside of|\bstation is on) "
    rf"(?P<value>(?:{_NUMBER} )?{_NAME} {_NUMBER}(?![\w%:]))"
)
_ZIP = re.compile(
    r"(?i:\b(?:zip|postal|post) ?code)\W{0,3}(?:is|:)?\W{0,3}(?P<value>[A-Z0-9]{2,4}[ -]?[A-Z0-9]{2,5})(?![\w])"
)
_LABELLED = re.compile(
    r"(?i:\b(?:home |postal |mailing |billing |shipping )?address):[ \t]{0,8}(?P<value>[^\n]{6,120})"
)
_HINT = re.compile("[0-9]")


def addresses(text: str) -> list[Span]:
    """Addresses, each with the parts that follow it at once; what overlaps is one address."""
    if not _HINT.search(text):
        return []
    cased = with_capitals(text)
    merged: list[tuple[int, int, str]] = []
    for start, end, rule in sorted(_parts(cased)):
        if merged and start <= merged[-1][1] + 1:
            start, last, rule = merged.pop()
            end = max(end, last)
        merged.append((start, end, rule))
    return [Span(start, end, "address", text[start:end], rule) for start, end, rule in merged]


def _parts(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and rule of everything that looks like a part of an address, with what follows it."""
    for rule, pattern in _STREET:
        for match in pattern.finditer(text):
            yield match.start(), _with_tail(text, match.end()), rule
    for pattern in (_CUED, _ZIP, _LABELLED):
        for match in pattern.finditer(text):
            if any(map(str.isdigit, match["value"])):
                yield match.start("value"), _with_tail(text, match.end("value")), "label"


def _with_tail(text: str, end: int) -> int:
    tail = _TAIL.match(text, end)
    return tail.end() if tail else end
