"""Words around a value that show its kind.

The labels are for passwords, numbers of customers and documents, and phone numbers, in many
languages. They were written from general knowledge; each detector's patterns have more in English.
Also words and signs of sums.
"""

import re
from functools import cache
from itertools import chain

from etude.base.word_lists import read_table
from etude.privacy.spans import has_label

_TABLE = read_table(__file__, "value_labels.yaml")
LINKS = (
    r"(?:ist|lautet|est|es|son|è|é|is|är|er|on|jest|je|to|это|numbers?|no|nr|n[°º])(?![^\W\d_])|はい?|が|是|为|為|은|는|이|가"
    r"|[#:：=.°º*'\"“‘()（-]"
)
"""Words and signs between a label and its value."""
_OPERATIONS = "plus|minus|times|multiplied by|divided by|mod(?:ulo)?"
_OPERATOR_AFTER = re.compile(
    rf"[ \t]?(?:[*×÷^%][ \t]?\(?[0-9]|=[ \t]?-?[0-9]|[+/−-][ \t]?[0-9][0-9 .]{{0,18}}[ "
    rf"\t]?[=?]|(?:{_OPERATIONS})\b)",
    re.I,
)
_OPERATOR_BEFORE = re.compile(
    r"(?:[0-9)][ \t]?[*×÷^=][ "
    rf"\t]?|\b(?:sqrt|log|abs)\(|\b(?:{_OPERATIONS}|multiply|divide|subtract"
    r"|(?:comput|calculat|evaluat)\w+|square root of)[ \t])$",
    re.I,
)
_RESULT_WORD = re.compile(
    r"\b(?:scor(?:e|es|ed|ing)|points|innings|wickets|(?:sum|average|mean|median|total)(?: "
    r"of|s?:)|adds? up)(?!\w)",
    re.I,
)


def build_label_pattern(kind: str) -> str:
    """Return a pattern for all labels of `passwords`, `numbers` or `phones`."""
    words = "|".join(chain.from_iterable(_TABLE[kind].values()))
    return f"(?:{words.replace(' ', '[ -]?')})"


def may_have_label(text: str, kind: str) -> bool:
    """Whether a text may have a label of a kind. It searches for a part of each label, faster than
    the pattern.
    """
    lowered = text.lower()
    ascii_stems, other_stems = _load_stems(kind)
    return any(map(lowered.__contains__, ascii_stems)) or (
        not text.isascii() and any(map(lowered.__contains__, other_stems))
    )


@cache
def _load_stems(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    words = [stem.replace("_", " ") for stem in _TABLE[f"{kind}_stems"].split()]
    return tuple(filter(str.isascii, words)), tuple(word for word in words if not word.isascii())


def is_operand(text: str, start: int, end: int) -> bool:
    """Whether a number is part of a calculation."""
    return has_label(text, start, _OPERATOR_BEFORE, 24) or bool(_OPERATOR_AFTER.match(text, end))


def is_result(text: str, start: int, end: int) -> bool:
    """Whether a number is part of a calculation, or a score or sum by the words near it."""
    nearby = max(start - 40, 0), end + 30
    return is_operand(text, start, end) or bool(_RESULT_WORD.search(text, *nearby))
