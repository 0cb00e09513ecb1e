"""Numbers that are calculated with, scored or summed up: nobody's card and nobody's phone."""

from __future__ import annotations

import re

from etude.privacy.spans import labelled

_WORDS = "plus|minus|times|multiplied by|divided by|mod(?:ulo)?"
_CALCULATED = re.compile(
    rf"[ \t]?(?:[*×÷^%][ \t]?\(?[0-9]|=[ \t]?-?[0-9]|[+/−-][ \t]?[0-9][0-9 .]{{0,18}}[ \t]?[=?]|(?:{_WORDS})\b)",
    re.I,
)
_CALCULATING = re.compile(
    rf"(?:[0-9)][ \t]?[*×÷^=][ \t]?|\b(?:sqrt|log|abs)\(|\b(?:{_WORDS}|multiply|divide|subtract"
    r"|(?:comput|calculat|evaluat)\w+|square root of)[ \t])$",
    re.I,
)
_RESULT = re.compile(
    r"\b(?:scor(?:e|es|ed|ing)|points|innings|wickets|(?:sum|average|mean|median|total)(?: of|s?:)|adds? up)(?!\w)",
    re.I,
)


def is_operand(text: str, start: int, end: int) -> bool:
    """Whether a number is part of a calculation."""
    return labelled(text, start, _CALCULATING, 24) or bool(_CALCULATED.match(text, end))


def is_counted(text: str, start: int, end: int) -> bool:
    """The same, or whether words near a number say that it is a result: digits in groups there are no phone number."""
    near = max(start - 40, 0), end + 30
    return is_operand(text, start, end) or bool(_RESULT.search(text, *near))
