"""Find the names of people whose e-mail address is in the same row: robert.lang@ belongs to Robert
Lang.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import pairwise

from etude.base.word_lists import read_words
from etude.privacy.spans import Span

RULE = "in an e-mail address"
_ORDINARY = frozenset().union(
    *(
        read_words(__file__, "not_names.yaml")[key]
        for key in ("common", "titles", "other", "fields")
    )
)
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_GAP = re.compile(
    r"(?:,? |\s)(?:[^\W\d_a-z]\.? )?|, ?"
)  # between two names: a space, a comma, an initial
_SEPARATOR = re.compile(r"[._+-]+")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "o", "ł": "l"})
MIN_PART = 3  # letters of a part of an address that is a name by itself


def find_names_of(addresses: Iterable[str], text: str) -> Iterator[Span]:
    """Yield the names of the owners of e-mail addresses: first and last name, and either alone with
    a capital letter.

    Ordinary words, as in sales.team@, are not names. The span of a single name may be inside that
    of a whole name.
    """
    users = [address.partition("@")[0] for address in addresses]
    joined = {_fold("".join(filter(str.isalpha, user))) for user in users}
    parts = {
        _fold(part)
        for user in users
        for part in _SEPARATOR.split(user)
        if len(part) >= MIN_PART and part.isalpha()
    }
    if not joined:
        return
    words = list(_WORD.finditer(text))
    end = 0
    for left, right in pairwise(words):
        first = _fold(left[0])
        last = _fold(right[0])
        keys = {first + last, last + first, first[:1] + last, first + last[:1]}
        is_name = (
            left[0][0].isupper() == right[0][0].isupper()
            and not {left[0].title(), right[0].title()} & _ORDINARY
        )
        if (
            left.start() >= end
            and is_name
            and keys & joined
            and _GAP.fullmatch(text, left.end(), right.start())
        ):
            end = right.end()
            yield Span(left.start(), end, "name", text[left.start() : end], RULE)
    for word in words:
        if _fold(word[0]) in parts and word[0][0].isupper() and word[0].title() not in _ORDINARY:
            yield Span(*word.span(), "name", word[0], RULE)


def _fold(text: str) -> str:
    """Fold a name as addresses write it: small letters without accents or hyphens."""
    decomposed = unicodedata.normalize("NFD", text.casefold().translate(_UMLAUTS))
    return "".join(filter(str.isalpha, decomposed))
