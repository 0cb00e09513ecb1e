"""What can be found, as values: the kinds, the span, and which of two overlapping spans stays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

BLOCKING = (
    *("private_key", "api_key", "password", "email", "iban", "card"),
    *("national_id", "phone", "ip_address", "id_number"),
)
"""Kinds whose rules are rarely wrong: `etude check` names them."""
GRAVE = ("private_key", "api_key", "password", "card", "iban", "national_id")
"""Those that do harm at once where they leak: errors of `etude check`, and asked about before a run."""
REVIEW = ("birth_date", "address", "name", "health")
"""Kinds whose rules are often wrong: what they find goes to a list that somebody reads."""
KINDS = (*BLOCKING, *REVIEW)
"""All kinds; of two overlapping spans the one whose kind stands first here stays."""
BY_FORM = frozenset(("email", "phone", "card", "iban", "national_id", "ip_address", "private_key", "api_key"))
"""Kinds that are looked for in labels and names of fields: one such as passcode_forgotten is nobody's password."""

UNSPACED = (
    "\u0e00-\u0e4f\u0e5a-\u0eff\u1000-\u103f\u1100-\u11ff\u1780-\u17df\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Letters of scripts that put no space between a word and a number, as a part of a class: Han, kana, Hangul, Thai,
Lao, Burmese, Khmer."""
BEFORE = rf"(?<![^\W{UNSPACED}])"
"""No letter or digit that could go on stands before."""
AFTER = rf"(?![^\W{UNSPACED}])"
"""The same after."""
_JOINT = re.compile(r"[ ,;/&]{0,3}(?:and|or|und|oder|et|ou|y|e)?[ ,;/&]{1,3}")
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}


_AS_ASCII = str.maketrans("\u0130\u0131\u017f\u212a", "iisk")
"""Letters that a pattern takes for ASCII ones where case does not count."""


@dataclass(frozen=True, slots=True)
class Span:
    """One place in a text that holds personal data or a secret."""

    start: int
    """First character."""
    end: int
    """The character after the last."""
    kind: str
    """One of KINDS."""
    text: str
    """What stands there."""
    rule: str
    """Why it was found: a checksum, a label before it, a form, or a model."""


def spans_of(matches: Iterable[re.Match[str]], kind: str, rule: str, group: int | str = 0) -> list[Span]:
    """One span for each match, or for a group of it."""
    return [Span(*match.span(group), kind, match[group], rule) for match in matches]


def without_overlaps(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The spans in order of place, none overlapping another.

    Where two overlap, the kind that stands first in KINDS stays, then the longer, then the earlier. Of an address
    that ends in another value, such as a phone number, what stands before it stays too.
    """
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        while kept and span.start < kept[-1].end and _before(span, kept[-1]):
            kept += _before_place(kept.pop(), span.start)
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return tuple(kept)


def labelled(text: str, start: int, label: re.Pattern[str], reach: int = 40) -> bool:
    """Whether `label` matches up to the place `start`: a pattern that ends in `$`, over `reach` characters."""
    return bool(label.search(text[max(start - reach, 0) : start]))


def listed(text: str, end: int, start: int) -> bool:
    """Whether only a comma, "and" or the like stands between two values: what names the first names both."""
    return 0 <= start - end <= 10 and bool(_JOINT.fullmatch(text, end, start))


def in_small_ascii(text: str) -> str:
    """The text in small letters, with all that a pattern takes for a letter of ASCII where case does not count: what is
    not in it is matched by no such pattern."""
    return text.lower() if text.isascii() else text.translate(_AS_ASCII).lower()


def overlaps(start: int, end: int, spans: Sequence[Span]) -> bool:
    """Whether any of the spans shares a character with the place."""
    return any(span.start < end and start < span.end for span in spans)


def _before_place(span: Span, end: int) -> list[Span]:
    """What is left of an address that something else cuts short: nothing where no number is left."""
    left = span.text[: end - span.start].rstrip(" \t\n,;:.(-")
    if span.kind != "address" or not any(map(str.isdigit, left)):
        return []
    return [replace(span, end=span.start + len(left), text=left)]


def _before(one: Span, other: Span) -> bool:
    first = (_RANK[one.kind], one.start - one.end)
    return first < (_RANK[other.kind], other.start - other.end)
