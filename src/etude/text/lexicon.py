"""Words that the checks know, by what they are a sign of. Lower case, as `normalise` leaves them."""

from __future__ import annotations

from collections.abc import Iterator

from etude.base.word_lists import as_set, read_table

_TABLE = read_table(__file__, "lexicon.yaml")
SLIGHT, NO_ENDING = as_set(_TABLE["slight"]), as_set(_TABLE["no_ending"])
NOTHING, POINTERS = as_set(_TABLE["nothing"]), as_set(_TABLE["pointers"])


def _spelled(ending: int) -> Iterator[str]:
    """Words in British (0) or American (1) spelling: roots, their ending, and what may follow it."""
    for endings, parts in _TABLE["spellings"].items():
        for tail in ("", *parts.get("tails", "").split()):
            yield from (root + endings.split()[ending] + tail for root in parts["roots"].split())


_IN_BOTH = as_set(_TABLE["in_both"])
BRITISH = frozenset(_spelled(0)) - frozenset(_spelled(1)) - _IN_BOTH
AMERICAN = frozenset(_spelled(1)) - frozenset(_spelled(0)) - _IN_BOTH
"""The same words in two spellings."""
