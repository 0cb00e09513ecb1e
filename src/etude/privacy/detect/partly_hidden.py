"""Cards, IBANs and national numbers of which stars or crosses hide a part: `4532****7890`.

Found where more than four digits can be read: the last four alone, as receipts print them, name nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from etude.privacy.spans import AFTER, BEFORE, Span

_MARK = "[*•●xX]"
_ONE_MARK = re.compile(_MARK)
_HINT = re.compile(rf"{_MARK}{{2}}")
_FORMS = (
    ("card", re.compile(rf"{BEFORE}(?<![*•●])[3-6](?:[ -]?(?:[0-9]|{_MARK})){{11,24}}{AFTER}(?![*•●])")),
    (
        "iban",
        re.compile(
            rf"{BEFORE}(?<![*•●])[A-Z]{{2}}[0-9]{{2}}(?: ?(?:[A-Z0-9]|{_MARK})){{11,30}}{AFTER}(?![*•●])"
        ),
    ),
    (
        "national_id",
        re.compile(
            rf"{BEFORE}(?<![*•●])(?:[0-9]|{_MARK}){{3}}-(?:[0-9]|{_MARK}){{2}}-(?:[0-9]|{_MARK}){{4}}{AFTER}(?![*•●])"
        ),
    ),
    (
        "national_id",
        re.compile(
            rf"{BEFORE}(?<![*•●])(?:(?:[0-9]|{_MARK}){{4}}[ -]){{2}}(?:[0-9]|{_MARK}){{4}}{AFTER}(?![*•●])"
        ),
    ),
)
"""Kind and form, each with marks where digits would stand."""
READABLE = 5
"""Digits that have to be left."""


def hidden_numbers(text: str) -> Iterator[Span]:
    """Numbers of these kinds with at least two marks and READABLE digits."""
    if not _HINT.search(text):
        return
    for kind, form in _FORMS:
        for match in form.finditer(text):
            marks = set(_ONE_MARK.findall(match[0]))  # two kinds of them are a formula, 4383520*x**6
            if _HINT.search(match[0]) and len(marks) == 1 and sum(map(str.isdigit, match[0])) >= READABLE:
                yield Span(*match.span(), kind, match[0], "partly hidden")
