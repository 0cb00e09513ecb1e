"""Personal data and secrets covered in what a finding shows: their place is told, not they."""

from __future__ import annotations

from etude.privacy import find

COVER = "•"
MARGIN = 2000
"""Characters around a passage that are looked at too: a value may begin or end outside."""


def covered(text: str, begin: int = 0, end: int | None = None) -> str:
    """The characters from `begin` to `end`, as many as before, with COVER in the place of what `etude.privacy.find`
    finds; kinds for review stay."""
    end = len(text) if end is None else end
    low = max(begin - MARGIN, 0)
    around = text[low : end + MARGIN]
    chars = list(around)
    for span in find(around, review=False):
        chars[span.start : span.end] = COVER * (span.end - span.start)
    return "".join(chars[begin - low : end - low])
