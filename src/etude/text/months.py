"""Names of months in the main languages of Europe: one table for the whole project."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from etude.base.word_lists import read_words


@cache
def month_numbers() -> Mapping[str, int]:
    """Name of a month in small letters, whole or shortened -> its number."""
    table = read_words(__file__, "months.yaml")
    return {name: number for number in range(1, 13) for name in table[str(number)]}


@cache
def month_pattern() -> str:
    """A pattern of all names, the longest first."""
    return "(?:" + "|".join(sorted(month_numbers(), key=len, reverse=True)) + ")"
