"""What people write before a password, a customer's or document's number, or a phone number, in many languages.

From general knowledge of the languages; English words with more ways to say them stand beside their patterns.
"""

from __future__ import annotations

from functools import cache
from itertools import chain

from etude.base.word_lists import read_table

_TABLE = read_table(__file__, "value_labels.yaml")
LINKS = (
    r"(?:ist|lautet|est|es|son|è|é|is|är|er|on|jest|je|to|это|numbers?|no|nr|n[°º])(?![^\W\d_])|はい?|が|是|为|為|은|는|이|가"
    r"|[#:：=.°º*'\"“‘()（-]"
)
"""What may stand between such a label and its value."""


def label_pattern(kind: str) -> str:
    """A pattern for all labels of `passwords`, `numbers` or `phones`."""
    words = "|".join(chain.from_iterable(_TABLE[kind].values()))
    return f"(?:{words.replace(' ', '[ -]?')})"


def may_hold(text: str, kind: str) -> bool:
    """Whether a text may hold a label of a kind: some part of each is looked for, which is quicker than the pattern."""
    plain = text.lower()
    ascii_stems, others = _stems(kind)
    return any(map(plain.__contains__, ascii_stems)) or (
        not text.isascii() and any(map(plain.__contains__, others))
    )


@cache
def _stems(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    words = [stem.replace("_", " ") for stem in _TABLE[f"{kind}_stems"].split()]
    return tuple(filter(str.isascii, words)), tuple(word for word in words if not word.isascii())
