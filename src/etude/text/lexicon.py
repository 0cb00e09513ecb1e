"""Words that the checks and detectors know, in lower case, as `normalise` returns them: tables of
YAML files.
"""

from collections.abc import Mapping
from functools import cache

from etude.base.word_lists import parse_words, read_table, read_words

_TABLE = read_table(__file__, "lexicon.yaml")
SMALL_WORDS = parse_words(_TABLE["small_words"])
LINKING_WORDS = parse_words(_TABLE["linking_words"])
EMPTY_ANSWERS = parse_words(_TABLE["empty_answers"])
POINTERS = parse_words(_TABLE["pointers"])


@cache
def month_numbers() -> Mapping[str, int]:
    """Map the names of months in the main languages of Europe, full or abbreviated, to their
    numbers.
    """
    table = read_words(__file__, "months.yaml")
    return {name: number for number in range(1, 13) for name in table[str(number)]}


@cache
def month_pattern() -> str:
    """Return a pattern of all names of months, the longest first."""
    return "(?:" + "|".join(sorted(month_numbers(), key=len, reverse=True)) + ")"
