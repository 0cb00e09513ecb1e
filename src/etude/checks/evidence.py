"""Personal data and secrets are covered in what a finding shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial

from etude.privacy import Span, find, find_by_form
from etude.text.normal_forms import normalise

COVER = "•"
_WITHIN_WORD = re.compile(r"(?<=[^\W_])[^\W_]")
MARGIN = 2000
"""Characters around a passage that are searched too: a value may begin or end outside."""


def covered(text: str, begin: int = 0, end: int | None = None) -> str:
    """The characters from `begin` to `end`, with COVER for each character that `etude.privacy.find` finds; kinds for
    review stay."""
    return _covered(text, begin, len(text) if end is None else end, partial(find, review=False))


def covered_label(label: str) -> str:
    """A label, the name of a field, or a sentence that holds one: only data with a telling form is covered."""
    return _covered(label, 0, len(label), find_by_form)


def covered_words(words: str, text: str) -> str:
    """Words of the normalised form of a text, with those covered that `covered` covers in the text itself."""
    personal = {word for span in find(text, review=False) for word in normalise(span.text).split()}
    return " ".join(COVER * len(word) if word in personal else word for word in words.split())


def hidden(text: str, marks: Iterable[tuple[int, int]]) -> str:
    """The text with COVER for every character in the marks."""
    for low, high in marks:
        text = text[:low] + COVER * len(text[low:high]) + text[high:]
    return text


def shortened(text: str, marks: Iterable[tuple[int, int]]) -> str:
    """The text with COVER for every letter and digit in the marks that does not begin a word: `A••• S••••`."""
    for low, high in marks:
        part = _WITHIN_WORD.sub(COVER, text[low:high])
        text = text[:low] + part + text[high:]
    return text


def initials(span: Span) -> str:
    """Enough of a contact to recognise it: the first letter and the domain of an e-mail address, three characters of a
    phone number."""
    name, at, host = span.text.partition("@")
    return name[: 1 if at else 3] + 3 * COVER + at + host


def _covered(text: str, begin: int, end: int, found: Callable[[str], Iterable[Span]]) -> str:
    low = max(begin - MARGIN, 0)
    around = text[low : end + MARGIN]
    chars = list(around)
    for span in found(around):
        chars[span.start : span.end] = COVER * (span.end - span.start)
    return "".join(chars[begin - low : end - low])
