"""Personal data and secrets in texts: every detector in turn, cheapest question first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import tee
from typing import TYPE_CHECKING

from etude.privacy.contact import emails, ip_addresses
from etude.privacy.details import birth_dates, health_details
from etude.privacy.hidden import hidden_numbers
from etude.privacy.national import national_ids
from etude.privacy.numbers import cards, ibans, id_numbers
from etude.privacy.people import names
from etude.privacy.phones import phones
from etude.privacy.places import addresses
from etude.privacy.secrets import secrets
from etude.privacy.spans import Span, without_overlaps

if TYPE_CHECKING:
    from etude.privacy.model import NameModel

_DIGITS = re.compile(r"[0-9](?:(?:[^0-9\n]{0,3}|[*•●]{4,20})[0-9]){3}")


def find(text: str, model: NameModel | None = None) -> tuple[Span, ...]:
    """What the text holds, in order of place, no two spans overlapping.

    `model` is that of `load_model`, which finds more names. Where two kinds overlap, the first in KINDS stays.
    """
    return next(find_all([text], model))


def find_all(texts: Iterable[str], model: NameModel | None = None) -> Iterator[tuple[Span, ...]]:
    """`find` for each text, in their order; the model reads many at once."""
    if model is None:
        for text in texts:
            yield without_overlaps([*_all(text), *names(text)])
        return
    from etude.privacy.model import merged_names

    read, again = tee(texts)
    for text, entities in zip(read, model.entities(again), strict=True):
        by_rules = names(text, model.given)
        yield without_overlaps([*_all(text), *merged_names(text, by_rules, entities)])


def _all(text: str) -> Iterator[Span]:
    """Everything but names."""
    places = addresses(text)
    yield from places
    yield from emails(text)
    yield from secrets(text)
    if _DIGITS.search(text):
        yield from cards(text)
        yield from ibans(text)
        yield from national_ids(text)
        yield from hidden_numbers(text)
        yield from (phone for phone in phones(text) if not _is_of_address(phone, places))
        yield from ip_addresses(text)
        yield from id_numbers(text)
        yield from birth_dates(text)
    elif ":" in text:
        yield from ip_addresses(text)
    yield from health_details(text)


def _is_of_address(phone: Span, places: Iterable[Span]) -> bool:
    """Whether digits that look like a phone number stand in an address that goes on after them."""
    return phone.rule != "country code" and any(
        place.start <= phone.start and phone.end < place.end for place in places
    )
