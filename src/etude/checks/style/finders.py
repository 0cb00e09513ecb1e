"""Functions that find where a text shows a form of style: a word, a mark at the end, a first letter."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from etude.checks.material import Mark
from etude.checks.rows.endings import SENTENCE_ENDS, without_emoji

Find = Callable[[str], Mark | None]
"""Where a text shows a form, the first place; None where it does not."""
LEAST_WORDS = 6
"""Words from which a line may be a sentence."""
MOST_CLOSING = 200
"""Characters at the end of a text in which its closing words stand."""
_WORD = re.compile(r"[^\W\d_]+")


def pattern(expression: str, flags: int = re.IGNORECASE) -> Find:
    """The first match of a regular expression, which must take linear time."""
    compiled = re.compile(expression, flags)

    def find(text: str) -> Mark | None:
        match = compiled.search(text)
        return match.span() if match else None

    return find


def any_of(words: frozenset[str]) -> Find:
    """The first of these words, in any case."""

    def find(text: str) -> Mark | None:
        if words.isdisjoint(_words(text)):
            return None
        return next((word.span() for word in _WORD.finditer(text) if word[0].casefold() in words), None)

    return find


@lru_cache(maxsize=1)
def _words(text: str) -> frozenset[str]:
    """The words of a text, which several features ask for in turn."""
    return frozenset(_WORD.findall(text.casefold()))


def last_mark(accepted: str) -> Find:
    """The last character, emoji, closing quotes and brackets apart, where it is one of these."""

    def find(text: str) -> Mark | None:
        end = len(without_emoji(text).rstrip(" \t\r\n\"'”’»)]*"))
        return (end - 1, end) if end and text[end - 1] in accepted else None

    return find


def sentence_end(marked: bool) -> Find:
    """The last word where the last line may be a sentence, with a mark behind it or without one; an emoji in the place
    of a mark is neither."""
    has_mark = last_mark(SENTENCE_ENDS)

    def find(text: str) -> Mark | None:
        whole = without_emoji(text).rstrip()
        if whole != text.rstrip() and not has_mark(whole):
            return None
        words = whole[whole.rfind("\n") + 1 :].split()
        if len(words) < LEAST_WORDS or not words[0][0].isalpha() or bool(has_mark(whole)) != marked:
            return None
        return len(whole) - len(words[-1]), len(whole)

    return find


def first_letter(has_case: Callable[[str], bool]) -> Find:
    """The first character, where it is a letter of this case: `str.isupper`, `str.islower`."""

    def find(text: str) -> Mark | None:
        begin = len(text) - len(text.lstrip())
        return (begin, begin + 1) if has_case(text[begin : begin + 1]) else None

    return find


def near_the_end(find: Find) -> Find:
    """The same in the last characters alone."""

    def find_there(text: str) -> Mark | None:
        begin = max(len(text) - MOST_CLOSING, 0)
        place = find(text[begin:])
        return (place[0] + begin, place[1] + begin) if place else None

    return find_there


def either(*finds: Find) -> Find:
    """What the first of these finds that finds anything."""

    def find_one(text: str) -> Mark | None:
        return next((place for find in finds if (place := find(text))), None)

    return find_one


def with_words(hints: frozenset[str], find: Find) -> Find:
    """The same in texts with one of these words alone, so that others are passed over soon."""

    def find_there(text: str) -> Mark | None:
        return None if hints.isdisjoint(_words(text)) else find(text)

    return find_there
