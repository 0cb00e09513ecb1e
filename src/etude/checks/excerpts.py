"""Excerpts of rows, in which personal data and secrets are redacted."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

from etude.checks.safety.sensitive import find_repeated
from etude.privacy import Span, find, find_by_format
from etude.types import Column, Example, Excerpt

CharSpan = tuple[int, int]  # begin and end of characters in a text
MAX_TEXT = 400  # characters of an excerpt, around the first span
MAX_SPANS = 20  # spans of one text
# Characters around an excerpt that are also searched, because a value may begin or end outside it.
MARGIN = 2000
COVER = "•"
_WITHIN_WORD = re.compile(r"(?<=[^\W_])[^\W_]")


def redact(text: str, begin: int = 0, end: int | None = None) -> str:
    """Return the characters from `begin` to `end`, with COVER for each character of personal data
    and secrets.

    Kinds for review are not redacted.
    """
    return _redact(text, begin, len(text) if end is None else end, partial(find, review=False))


def redact_label(label: str) -> str:
    """Redact a label, a field name, or a sentence that contains one: only data that is recognised
    by its format.
    """
    return _redact(label, 0, len(label), find_by_format)


def _redact(text: str, begin: int, end: int, detect: Callable[[str], Iterable[Span]]) -> str:
    first = max(begin - MARGIN, 0)
    searched = text[first : end + MARGIN]
    chars = list(searched)
    for span in detect(searched):
        chars[span.start : span.end] = COVER * (span.end - span.start)
    return "".join(chars[begin - first : end - first])


def abbreviate_contact(span: Span) -> str:
    """Shorten contact data so that it is still recognisable: the first letter and the domain of an
    e-mail address, or three characters of a phone number.
    """
    name, separator, host = span.text.partition("@")
    return name[: 1 if separator else 3] + 3 * COVER + separator + host


def build_excerpt(
    row: Example,
    column: Column,
    spans: Sequence[CharSpan] = (),
    doubtful: Sequence[CharSpan] = (),
    max_chars: int = MAX_TEXT,
) -> Excerpt:
    """Cut a text of a row to `max_chars` characters around the first of `spans`; spans outside are
    dropped.

    Personal data and secrets are redacted, including values whose label is only in the other text
    of the row. In `doubtful` spans only the first letter of each word remains: `A••• S••••`.
    """
    text, other = (row.text, row.output) if column == "input" else (row.output, row.text)
    begin = max(min(spans[0][0] - max_chars // 4, len(text) - max_chars), 0) if spans else 0
    end = min(begin + max_chars, len(text))
    passage = redact(text, begin, end)
    for span in find_repeated(find(other, review=False), text):
        low = max(span.start - begin, 0)
        high = max(span.end - begin, 0)
        passage = passage[:low] + COVER * len(passage[low:high]) + passage[high:]
    for start, stop in doubtful:
        low = max(start - begin, 0)
        high = max(stop - begin, 0)
        passage = passage[:low] + _WITHIN_WORD.sub(COVER, passage[low:high]) + passage[high:]
    shift = (
        1 if begin else 0
    ) - begin  # a text that is cut at its beginning starts with an ellipsis
    moved = tuple(
        (low + shift, min(high, end) + shift) for low, high in spans if begin <= low < end
    )
    passage = ("…" if begin else "") + passage + ("…" if end < len(text) else "")
    return Excerpt(row.id, row.location, column, passage, moved)


def list_spans(matches: Iterable[re.Match[str]]) -> list[CharSpan]:
    """List the spans of the first MAX_SPANS matches."""
    return [match.span() for match in islice(matches, MAX_SPANS)]
