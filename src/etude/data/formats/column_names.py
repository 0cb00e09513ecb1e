"""Whether the name of a column says that its texts are questions or answers, in the main European languages."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from etude.base.word_lists import read_table

Side = Literal["asked", "answered"]

_TABLE = read_table(__file__, "column_names.yaml")
_PLURALS: dict[str, str] = _TABLE["plurals"]


def names_of(*lists: str) -> tuple[str, ...]:
    """The names of lists of `column_names.yaml`, in their order."""
    return tuple(name for key in lists for name in _TABLE[key].split())


_ASKED, _ANSWERED, _GIVEN = names_of("asked", "talks"), names_of("answered"), names_of("given")
_ASKING, _ANSWERING = frozenset(names_of("asking")), frozenset(names_of("answering"))
_LEAST_COMPOUND = 5
"""Letters of a noun that may be the last part of a longer word: Kundenfrage, supportantwoord."""


def plain_name(name: str) -> str:
    """A name in small letters without accents, its words with one space between them: `Réponse_client` is
    `reponse client`, and `customerText` is `customer text`."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold().replace("ø", "o").replace("ł", "l")
    letters = unicodedata.normalize("NFKD", parted)
    return " ".join(re.findall(r"[^\W_]+", "".join(one for one in letters if not unicodedata.combining(one))))


def side_of(name: str) -> tuple[Side, bool] | None:
    """Which side the name of a column of texts says, and whether by a noun for it; None where it says none, or both.

    What is asked or answered goes before who wrote it: `agent question` is asked, `reply to customer` answered.
    """
    words = [_PLURALS.get(word, word) for word in plain_name(name).split()]
    nouns = _has_noun(words, _ASKED), _has_noun(words, _ANSWERED)
    people = not _ASKING.isdisjoint(words), not _ANSWERING.isdisjoint(words)
    for asked, answered in (nouns, people, (_has_noun(words, _GIVEN), False)):
        if asked != answered:
            return "asked" if asked else "answered", True in nouns
        if asked:
            return None
    return None


def _has_noun(words: list[str], nouns: tuple[str, ...]) -> bool:
    return any(_is_noun(word, noun) for word in words for noun in nouns)


def _is_noun(word: str, noun: str) -> bool:
    single = word.removesuffix("s")
    return noun in (word, single) or (len(noun) >= _LEAST_COMPOUND and single.endswith(noun))
