"""Personal data and secrets in texts: every detector in turn, cheapest question first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from etude.privacy.detect.account_numbers import cards, ibans, id_numbers
from etude.privacy.detect.contact import emails, ip_addresses
from etude.privacy.detect.details import birth_dates, health_details
from etude.privacy.detect.national import national_ids
from etude.privacy.detect.phones import phones
from etude.privacy.detect.secrets import secrets
from etude.privacy.names.people import names
from etude.privacy.names.places import addresses
from etude.privacy.plain import plain_text
from etude.privacy.spans import BY_FORM, Span, without_overlaps

_DIGIT = re.compile("[0-9]")
_DIGITS = re.compile(r"[0-9](?:[^0-9\n]{0,3}[0-9]){3}")
_MIXED = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{0,8}[0-9][A-Za-z]{1,8}[0-9]")
"""Letters and digits mixed, as in the number of a passport."""
_HEXADECIMAL = re.compile(
    r"(?<![^\s,])(?:0x)?(?=[0-9A-F]{0,4}[A-F])(?=[A-F]{0,4}[0-9])[0-9A-F]{4,5}(?![^\s,])"
)
MOST_HEXADECIMAL = 2
"""Hexadecimal numbers beside one from which it is one itself."""


def find(text: str, *, review: bool = True) -> tuple[Span, ...]:
    """What the text holds, in order of place, no two spans overlapping.

    Where two kinds overlap, the first in KINDS stays. Without `review` only the kinds of BLOCKING are looked for, in a
    sixth of the time: the same spans, as each of these stands before all of REVIEW.
    """
    read = plain_text(text)
    found = [*_blocking(read.plain), *(_for_review(read.plain) if review else ())]
    return tuple(read.placed(without_overlaps(found)))


def find_by_form(text: str) -> tuple[Span, ...]:
    """What of `find` the form gives away: all that counts in a label or the name of a field."""
    return tuple(span for span in find(text, review=False) if span.kind in BY_FORM)


def find_for_review(text: str, blocking: Iterable[Span]) -> tuple[Span, ...]:
    """`find` for a text of which the spans of BLOCKING are known, which is most of its work."""
    read = plain_text(text)
    return without_overlaps([*blocking, *read.placed(_for_review(read.plain))])


def _blocking(text: str) -> Iterator[Span]:
    yield from emails(text)
    yield from secrets(text)
    has_digit = bool(_DIGIT.search(text))
    if has_digit and _DIGITS.search(text):
        yield from _outside_tables(text, cards(text))
        yield from ibans(text)
        yield from _outside_tables(text, national_ids(text))
        yield from _outside_tables(text, _outside_addresses(text, phones(text)))
        yield from ip_addresses(text)
        yield from id_numbers(text)
    else:
        if ":" in text:
            yield from ip_addresses(text)
        if has_digit and _MIXED.search(text):
            yield from id_numbers(text)


def _for_review(text: str) -> Iterator[Span]:
    if _DIGITS.search(text):
        yield from birth_dates(text)
    yield from addresses(text)
    yield from health_details(text)
    yield from names(text)


def _outside_tables(text: str, found: Iterable[Span]) -> Iterator[Span]:
    """The numbers without those among hexadecimal ones, as in tables of Unicode and dumps of memory."""
    for span in found:
        around = text[max(span.start - 40, 0) : span.start] + text[span.end : span.end + 40]
        if "label" in span.rule or len(_HEXADECIMAL.findall(around)) < MOST_HEXADECIMAL:
            yield span


def _outside_addresses(text: str, found: Iterable[Span]) -> Iterator[Span]:
    """The phone numbers, without digits of an address that goes on after them."""
    places: list[Span] | None = None
    for phone in found:
        if phone.rule != "country code":
            places = addresses(text) if places is None else places
            if any(place.start <= phone.start and phone.end < place.end for place in places):
                continue
        yield phone
