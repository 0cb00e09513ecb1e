"""Kinds of personal data, spans of text, and which of two overlapping spans has priority."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

BLOCKING = (
    *("private_key", "api_key", "password", "email", "iban", "card"),
    *("national_id", "phone", "ip_address", "id_number"),
)
"""Kinds whose rules are rarely wrong; `etude check` reports them as warnings or errors."""
GRAVE = ("private_key", "api_key", "password", "card", "iban", "national_id")
"""Kinds that do immediate harm if they leak. In `etude check` they are errors; before a run, the
user is asked.
"""
REVIEW = ("birth_date", "address", "name", "health")
"""Kinds whose rules are often wrong, so a person must check each finding."""
KINDS = (*BLOCKING, *REVIEW)
"""All kinds. If two spans overlap, the kind that comes first here has priority."""
FORMAT_KINDS = frozenset(
    ("email", "phone", "card", "iban", "national_id", "ip_address", "private_key", "api_key")
)
"""Kinds that are recognised by their format alone. In labels, only these are searched for:
passcode_forgotten is not a password.
"""

UNSPACED_LETTERS = (
    "\u0e00-\u0e4f\u0e5a-\u0eff\u1000-\u103f\u1100-\u11ff\u1780-\u17df\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Letters of scripts without a space between a word and a number, for use in a character class:
Han, kana, Hangul, Thai, Lao, Burmese, Khmer.
"""
NO_LETTER_BEFORE = rf"(?<![^\W{UNSPACED_LETTERS}])"
NO_LETTER_AFTER = rf"(?![^\W{UNSPACED_LETTERS}])"
"""Patterns for the edges of a value: no letter or digit before or after the span could belong to
it.
"""
_LIST_SEPARATOR = re.compile(r"[ ,;/&]{0,3}(?:and|or|und|oder|et|ou|y|e)?[ ,;/&]{1,3}")
# Letters that match ASCII ones in a pattern that ignores case
_AS_ASCII = str.maketrans("\u0130\u0131\u017f\u212a", "iisk")


@dataclass(frozen=True, slots=True)
class Span:
    """Personal data or a secret in a text."""

    start: int
    end: int
    """Position after the last character."""
    kind: str
    """One of KINDS."""
    text: str
    rule: str
    """Why it was found, such as `Luhn`, `label` or `country code`."""


def to_spans(
    matches: Iterable[re.Match[str]], kind: str, rule: str, group: int | str = 0
) -> list[Span]:
    """Return a span for each match, or for a group of it."""
    return [Span(*match.span(group), kind, match[group], rule) for match in matches]


def remove_overlaps(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the spans in order, without overlaps.

    If two spans overlap, the one whose kind is first in KINDS stays; with equal kinds the longer
    one, then the earlier one. An address that ends in another value, such as a phone number, is cut
    before it.
    """
    separate: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        while separate and span.start < separate[-1].end and _rank(span) < _rank(separate[-1]):
            # the rest of an address must have a number
            address = separate.pop()
            head = address.text[: span.start - address.start].rstrip(" \t\n,;:.(-")
            if address.kind == "address" and any(map(str.isdigit, head)):
                separate.append(replace(address, end=address.start + len(head), text=head))
        if not separate or span.start >= separate[-1].end:
            separate.append(span)
    return tuple(separate)


def has_label(text: str, start: int, label: re.Pattern[str], reach: int = 40) -> bool:
    """Whether the `reach` characters before `start` match `label`, a pattern that ends in `$`."""
    return bool(label.search(text[max(start - reach, 0) : start]))


def is_list_separator(text: str, end: int, start: int) -> bool:
    """Whether only a comma, "and" or the like is between two values, so that a label of the first
    applies to both.
    """
    return 0 <= start - end <= 10 and bool(_LIST_SEPARATOR.fullmatch(text, end, start))


def lower_to_ascii(text: str) -> str:
    """Lower a text, and replace the letters that match ASCII ones in a pattern that ignores case.

    Such a pattern cannot match a word that is not in the result.
    """
    return text.lower() if text.isascii() else text.translate(_AS_ASCII).lower()


def _rank(span: Span) -> tuple[int, int]:
    return KINDS.index(span.kind), span.start - span.end
