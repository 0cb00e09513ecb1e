"""Personal data and secrets in texts: every detector in turn, cheapest question first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from etude.privacy.contact import emails, ip_addresses, phones
from etude.privacy.national import national_ids
from etude.privacy.numbers import cards, ibans, id_numbers
from etude.privacy.secrets import secrets
from etude.privacy.spans import Span, without_overlaps

_DIGITS = re.compile(r"[0-9](?:[^0-9\n]{0,3}[0-9]){3}")


def find(text: str) -> tuple[Span, ...]:
    """What the text holds, in order of place, no two spans overlapping."""
    return without_overlaps(_all(text))


def find_all(texts: Iterable[str]) -> Iterator[tuple[Span, ...]]:
    """`find` for each text, in their order."""
    return map(find, texts)


def _all(text: str) -> Iterator[Span]:
    yield from emails(text)
    yield from secrets(text)
    if _DIGITS.search(text):
        yield from cards(text)
        yield from ibans(text)
        yield from national_ids(text)
        yield from phones(text)
        yield from ip_addresses(text)
        yield from id_numbers(text)
    elif ":" in text:
        yield from ip_addresses(text)
