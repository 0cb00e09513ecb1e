"""The values of numbers and dates in their usual formats: 12750 is 12,750 and 12.750,00 €.

A format with two readings gives both: 12.750 has thousands or decimals, and 5/4/2024 is in May or
in April. Signs are not read; of a date with a time, only the date is read.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache

from etude.base.word_lists import read_words
from etude.text import lexicon, normal_forms

Date = tuple[int, int, int]  # year, month, day; 0 for one that is missing
Value = str | Date  # a number is its digits, without zeros at the ends

_DAY = r"\b(?P<day>\d{1,2})(?:st|nd|rd|th|er|o|\.)?"
_YEAR = r"(?P<year>\d{4})\b"
_OF = r"(?:of |de |del |d[’'])?"
_NUMBER = re.compile(r"\d+(?:[.,'’]\d+| \d{3}(?!\d))*")
_SCALE = re.compile(
    r" ?(?:(%|per ?cent|prozent|pour ?cent|por "
    r"?cento?|procent)|(k|thousand|tausend)\b|(mill?i[oó]n\w*|mio|mln)\b)"
)
# What may surround the number in a text that is otherwise only that number.
_AROUND = re.compile(
    r"(?:[^\w\d]|usd|eur|gbp|chf|jpy|cny|inr|aud|cad|sek|nok|dkk|pln|try|brl|kr|zł|fr|rs|euros?|dollars?|pounds)*"
)
_TIME = re.compile(r"[t ]\d{1,2}:\d\d\S{0,12}\Z")


@cache
def _date_patterns() -> tuple[re.Pattern[str], ...]:
    month = rf"(?P<name>{lexicon.month_pattern()})\b\.?"
    patterns = (
        r"\b(?P<first>\d{1,4})"
        r"(?:([/.-]) ?(?P<second>\d{1,2})\2 ?|[年년] ?(?P<month>\d{1,2})[月월] ?)"
        r"(?P<third>\d{4}|\d{1,2})(?!\d)",
        rf"{_DAY}[ -]{_OF}{month}(?:,?[ -]{_OF}{_YEAR})?",
        rf"\b{month} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? {_YEAR})?",
        rf"\b{month},? {_OF}{_YEAR}",
        rf"\b{_YEAR}-(?P<month>0[1-9]|1[0-2])(?!\d|-\d)",
    )
    return tuple(map(re.compile, patterns))


@cache
def _number_words() -> Mapping[str, str]:
    table = read_words(__file__, "number_words.yaml")
    return {word: digits for digits, words in table.items() for word in words}


def parse_value(text: str) -> frozenset[Value]:
    """Parse a text that is only a number or a date, and return all its readings; empty if it is
    neither.
    """
    folded = _TIME.sub("", normal_forms.fold(text.strip()))
    for pattern in _date_patterns():
        if (match := pattern.fullmatch(folded.rstrip("日일."))) is not None:
            return frozenset(_read_date(match))
    number = _NUMBER.search(folded)
    if number is None or not _AROUND.fullmatch(
        folded[: number.start()] + " " + folded[number.end() :]
    ):
        return frozenset()
    return frozenset(parse_number(number[0]))


def find_values(text: str) -> frozenset[Value]:
    """Find the numbers and dates in a text; a whole date also gives its month."""
    folded = normal_forms.fold(text)
    words = _number_words().keys() & set(folded.split())
    values: set[Value] = {_number_words()[word] for word in words}
    for match in _NUMBER.finditer(folded):
        readings = set(parse_number(match[0]))
        values |= readings.union(_scale_numbers(readings, folded, match.end()))
    for pattern in _date_patterns():
        for match in pattern.finditer(folded):
            dates = list(_read_date(match))
            values.update(dates)
            values.update((year, month, 0) for year, month, _ in dates if year)
    return frozenset(values)


def contains_value(value: frozenset[Value], values: frozenset[Value]) -> bool:
    """Whether the values of a text contain a reading of `value`; a date may lack its year."""
    if not value.isdisjoint(values):
        return True
    return any((0, *date[1:]) in values for date in value if isinstance(date, tuple) and date[2])


def parse_number(digits: str) -> Iterator[str]:
    """Yield the numbers that a run of digits and separators can mean; for a list of numbers, yield
    each.
    """
    plain = re.sub(r"['’ ]", "", digits)
    marks = [mark for mark in plain if mark in ".,"]
    if not marks:
        yield _join_digits(plain, "")
        return
    whole, _, decimals = plain.rpartition(marks[-1])
    groups = re.split("[.,]", plain)
    is_grouped = (
        len(decimals) == 3
        and len(groups[0]) <= 3
        and all(2 <= len(group) <= 3 for group in groups[1:])
    )
    if len(set(marks)) == 1 and is_grouped:
        yield _join_digits("".join(groups), "")
    if len(marks) == 1 or (marks[-1] not in marks[:-1] and len(set(marks)) == 2):
        yield _join_digits(re.sub("[.,]", "", whole), decimals)
    elif not is_grouped:
        yield from (_join_digits(group, "") for group in groups)


def _join_digits(whole: str, decimals: str) -> str:
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")


def _scale_numbers(numbers: set[str], text: str, end: int) -> Iterator[str]:
    """Yield the numbers scaled by the word or sign after them: 5% is 0.05, 12k is 12,000."""
    scale = _SCALE.match(text, end)
    if scale is None:
        return
    places = -2 if scale[1] else 3 if scale[2] else 6
    for number in numbers:
        whole, _, decimals = number.partition(".")
        if places > 0:
            decimals = decimals.ljust(places, "0")
            yield _join_digits(whole + decimals[:places], decimals[places:])
        else:
            whole = whole.rjust(3, "0")
            yield _join_digits(whole[:places], whole[places:] + decimals)


def _read_date(match: re.Match[str]) -> Iterator[Date]:
    """Yield the days, or months, that a match of one of the patterns can mean."""
    groups = {
        "month": "",
        "day": "",
        "year": "",
        **{name: text or "" for name, text in match.groupdict().items()},
    }
    if "first" not in groups:
        number = (
            lexicon.month_numbers()[groups["name"]] if "name" in groups else int(groups["month"])
        )
        yield int(groups["year"] or 0), number, int(groups["day"] or 0)
        return
    first = groups["first"]
    second = groups["second"] or groups["month"]
    third = groups["third"]
    # The year comes first, or last with the day or the month before the other.
    orders = (
        [(first, second, third)]
        if len(first) == 4
        else [(third, second, first), (third, first, second)]
    )
    for year, month, day in orders:
        if (
            len(year) in (2, 4)
            and max(len(month), len(day)) < 3
            and 1 <= int(month) <= 12
            and int(day) <= 31
        ):
            for century in (1900, 2000) if len(year) == 2 else (0,):
                yield century + int(year), int(month), int(day)
