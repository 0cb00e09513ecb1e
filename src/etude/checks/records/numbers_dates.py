"""Numbers and dates by what they say, in their usual writings: 12750 is 12,750 and 12.750,00 €.

What can be read in two ways says both: 12.750 is a number with thousands or with decimals, 5/4/2024 a day in May or
in April. Signs are not read, and of a day with a time only the day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from etude.base.word_lists import read_words
from etude.text.months import month_numbers, month_pattern
from etude.text.normal_forms import fold

Date = tuple[int, int, int]
"""Year, month, day; 0 for a part that is not said."""
Value = str | Date
"""A number is its digits, without zeros at the ends."""

_DAY = r"\b(?P<day>\d{1,2})(?:st|nd|rd|th|er|o|\.)?"
_YEAR = r"(?P<year>\d{4})\b"
_OF = r"(?:of |de |del |d[’'])?"
_NUMBER = re.compile(r"\d+(?:[.,'’]\d+| \d{3}(?!\d))*")
_SCALE = re.compile(
    r" ?(?:(%|per ?cent|prozent|pour ?cent|por ?cento?|procent)|(k|thousand|tausend)\b|(mill?i[oó]n\w*|mio|mln)\b)"
)
_AROUND = re.compile(
    r"(?:[^\w\d]|usd|eur|gbp|chf|jpy|cny|inr|aud|cad|sek|nok|dkk|pln|try|brl|kr|zł|fr|rs|euros?|dollars?|pounds)*"
)
"""What may stand around a number that is the whole of a value."""
_TIME = re.compile(r"[t ]\d{1,2}:\d\d\S{0,12}\Z")


@cache
def _date_patterns() -> tuple[re.Pattern[str], ...]:
    month = rf"(?P<name>{month_pattern()})\b\.?"
    forms = (
        r"\b(?P<first>\d{1,4})(?:([/.-]) ?(?P<second>\d{1,2})\2 ?|[年년] ?(?P<month>\d{1,2})[月월] ?)"
        r"(?P<third>\d{4}|\d{1,2})(?!\d)",
        rf"{_DAY}[ -]{_OF}{month}(?:,?[ -]{_OF}{_YEAR})?",
        rf"\b{month} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? {_YEAR})?",
        rf"\b{month},? {_OF}{_YEAR}",
        rf"\b{_YEAR}-(?P<month>0[1-9]|1[0-2])(?!\d|-\d)",
    )
    return tuple(map(re.compile, forms))


@cache
def _number_words() -> Mapping[str, str]:
    table = read_words(__file__, "number_words.yaml")
    return {word: digits for digits, named in table.items() for word in named}


def value_of(text: str) -> frozenset[Value]:
    """What a text says that is a number or a date and no more; empty where it is neither."""
    folded = _TIME.sub("", fold(text.strip()))
    for pattern in _date_patterns():
        if (found := pattern.fullmatch(folded.rstrip("日일."))) is not None:
            return frozenset(_dates(found))
    number = _NUMBER.search(folded)
    if number is None or not _AROUND.fullmatch(folded[: number.start()] + " " + folded[number.end() :]):
        return frozenset()
    return frozenset(readings(number[0]))


def values_in(text: str) -> frozenset[Value]:
    """The numbers and dates that stand in a text; of a whole date also its month."""
    folded = fold(text)
    found: set[Value] = {_number_words()[word] for word in _number_words().keys() & set(folded.split())}
    for match in _NUMBER.finditer(folded):
        read = set(readings(match[0]))
        found |= read.union(_scaled(read, folded, match.end()))
    for pattern in _date_patterns():
        for match in pattern.finditer(folded):
            dates = list(_dates(match))
            found.update(dates)
            found.update((year, month, 0) for year, month, _ in dates if year)
    return frozenset(found)


def is_said(value: frozenset[Value], said: frozenset[Value]) -> bool:
    """Whether a text that says all this says a value in one of its readings; a date may stand without its year."""
    return not value.isdisjoint(said) or any(
        (0, *one[1:]) in said for one in value if isinstance(one, tuple) and one[2]
    )


def readings(digits: str) -> Iterator[str]:
    """What a run of digits and marks can say as a number; of a list of numbers each."""
    plain = re.sub(r"['’ ]", "", digits)
    marks = [mark for mark in plain if mark in ".,"]
    if not marks:
        yield _number(plain, "")
        return
    whole, _, rest = plain.rpartition(marks[-1])
    groups = re.split("[.,]", plain)
    of_three = len(rest) == 3 and len(groups[0]) <= 3 and all(2 <= len(one) <= 3 for one in groups[1:])
    if len(set(marks)) == 1 and of_three:
        yield _number("".join(groups), "")
    if len(marks) == 1 or (marks[-1] not in marks[:-1] and len(set(marks)) == 2):
        yield _number(re.sub("[.,]", "", whole), rest)
    elif not of_three:
        yield from (_number(one, "") for one in groups)


def _number(whole: str, decimals: str) -> str:
    """The digits of a number without zeros at its ends."""
    rest = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{rest}" if rest else "")


def _scaled(read: set[str], text: str, end: int) -> Iterator[str]:
    """The numbers that a word or sign behind one makes of it: 5% is 0.05, 12k is 12,000."""
    scale = _SCALE.match(text, end)
    if scale is None:
        return
    places = -2 if scale[1] else 3 if scale[2] else 6
    for reading in read:
        whole, _, rest = reading.partition(".")
        if places > 0:
            rest = rest.ljust(places, "0")
            yield _number(whole + rest[:places], rest[places:])
        else:
            whole = whole.rjust(3, "0")
            yield _number(whole[:places], whole[places:] + rest)


def _dates(found: re.Match[str]) -> Iterator[Date]:
    """The days, or months, that a match of one of the patterns can say."""
    said = {
        "month": "",
        "day": "",
        "year": "",
        **{name: text or "" for name, text in found.groupdict().items()},
    }
    if "first" in said:
        yield from _numeric(said["first"], said["second"] or said["month"], said["third"])
    else:
        month = month_numbers()[said["name"]] if "name" in said else int(said["month"])
        yield int(said["year"] or 0), month, int(said["day"] or 0)


def _numeric(first: str, second: str, third: str) -> Iterator[Date]:
    """The days that three numbers can say: the year first, or last with the day or the month before the other."""
    parts: Sequence[tuple[str, str, str]] = ((third, second, first), (third, first, second))
    for year, month, day in ((first, second, third),) if len(first) == 4 else parts:
        if len(year) in (2, 4) and max(len(month), len(day)) < 3 and 1 <= int(month) <= 12 and int(day) <= 31:
            for century in (1900, 2000) if len(year) == 2 else (0,):
                yield century + int(year), int(month), int(day)
