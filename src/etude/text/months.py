"""Names of months in the main languages of Europe: one table for the whole project."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from etude.base.word_lists import read_words

_SHORTENED = 4
"""Letters up to which a name is usually shortened."""


@cache
def month_numbers() -> Mapping[str, int]:
    """Name of a month in small letters, whole or shortened -> its number."""
    table = read_words(__file__, "months.yaml")
    return {name: number for number in range(1, 13) for name in table[str(number)]}


@cache
def full_months() -> frozenset[str]:
    """The names that are not shortened."""
    whole = read_words(__file__, "months.yaml")["short_and_whole"]
    return whole.union(name for name in month_numbers() if len(name) > _SHORTENED)


@cache
def month_pattern() -> str:
    """A pattern of all names, the longest first."""
    return "(?:" + "|".join(sorted(month_numbers(), key=len, reverse=True)) + ")"
