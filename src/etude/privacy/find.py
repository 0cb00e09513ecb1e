"""Find personal data and secrets in texts: run every detector, the cheapest test first."""

import re
from collections.abc import Iterable, Iterator

from etude.privacy.detect import account_numbers, contact, details, national, secrets
from etude.privacy.detect.phones import find_phones
from etude.privacy.names import addresses, people
from etude.privacy.plain import to_plain_text
from etude.privacy.spans import FORMAT_KINDS, Span, remove_overlaps

_DIGIT = re.compile("[0-9]")
_DIGITS = re.compile(r"[0-9](?:[^0-9\n]{0,3}[0-9]){3}")
# Letters and digits mixed, as in a passport number
_LETTERS_AND_DIGITS = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{0,8}[0-9][A-Za-z]{1,8}[0-9]")
_HEXADECIMAL = re.compile(
    r"(?<![^\s,])(?:0x)?(?=[0-9A-F]{0,4}[A-F])(?=[A-F]{0,4}[0-9])[0-9A-F]{4,5}(?![^\s,])"
)
MAX_HEXADECIMAL = 2
"""A number with this many hexadecimal ones near it is hexadecimal itself."""


def find(text: str, *, review: bool = True) -> tuple[Span, ...]:
    """Find personal data and secrets; the spans are in order and do not overlap.

    If spans of two kinds overlap, the kind that is first in KINDS is returned. Without `review`,
    only the kinds of BLOCKING are searched for, which takes a sixth of the time. Their spans are
    the same, because BLOCKING comes before REVIEW.
    """
    # The detectors search a simplified text; their spans are moved back to the original one.
    source = to_plain_text(text)
    spans = [*_find_blocking(source.plain), *(_find_review_kinds(source.plain) if review else ())]
    return tuple(source.to_original(remove_overlaps(spans)))


def find_by_format(text: str) -> tuple[Span, ...]:
    """Find the kinds that are recognised by their format alone, for labels and the names of
    fields.
    """
    return tuple(span for span in find(text, review=False) if span.kind in FORMAT_KINDS)


def find_for_review(text: str, blocking: Iterable[Span]) -> tuple[Span, ...]:
    """Return the same as `find`, if the spans of BLOCKING are already known; these take most of the
    time.
    """
    source = to_plain_text(text)
    return remove_overlaps([*blocking, *source.to_original(_find_review_kinds(source.plain))])


def _find_blocking(text: str) -> Iterator[Span]:
    yield from contact.find_emails(text)
    yield from secrets.find_secrets(text)
    # Most texts have no digits, or too few for a number; the slower detectors are skipped for them.
    has_digit = bool(_DIGIT.search(text))
    if has_digit and _DIGITS.search(text):
        yield from _skip_tables(text, account_numbers.find_cards(text))
        yield from account_numbers.find_ibans(text)
        yield from _skip_tables(text, national.find_national_ids(text))
        yield from _skip_tables(text, _skip_addresses(text, find_phones(text)))
        yield from contact.find_ip_addresses(text)
        yield from account_numbers.find_id_numbers(text)
    else:
        if ":" in text:
            yield from contact.find_ip_addresses(text)
        if has_digit and _LETTERS_AND_DIGITS.search(text):
            yield from account_numbers.find_id_numbers(text)


def _find_review_kinds(text: str) -> Iterator[Span]:
    if _DIGITS.search(text):
        yield from details.find_birth_dates(text)
    yield from addresses.find_addresses(text)
    yield from details.find_health_details(text)
    yield from people.find_names(text)


def _skip_tables(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Skip numbers among hexadecimal ones, as in tables of Unicode and memory dumps."""
    for span in spans:
        context = text[max(span.start - 40, 0) : span.start] + text[span.end : span.end + 40]
        if "label" in span.rule or len(_HEXADECIMAL.findall(context)) < MAX_HEXADECIMAL:
            yield span


def _skip_addresses(text: str, phones: Iterable[Span]) -> Iterator[Span]:
    address_spans: list[Span] | None = None
    for phone in phones:
        if phone.rule != "country code":
            address_spans = (
                addresses.find_addresses(text) if address_spans is None else address_spans
            )
            if any(
                address.start <= phone.start and phone.end < address.end
                for address in address_spans
            ):
                continue
        yield phone
