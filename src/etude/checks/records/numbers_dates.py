"""Numbers and dates by what they say, in their usual writings: 12750 is 12,750 and 12.750,00 €.

What can be read in two ways says both: 12.750 is a number with thousands or with decimals, 5/4/2024 a day in May or
in April. Signs are not read, and of a day with a time only the day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from etude.text.lexicon import words
from etude.text.normal_forms import fold

Date = tuple[int, int, int]
"""Year, month, day; 0 for a part that is not said."""
Value = str | Date
"""A number is its digits, without zeros at the ends."""

_MONTHS = (
    "january jan januar jänner janvier janv enero ene gennaio gen janeiro januari stycznia ocak tammikuuta ianuarie "
    "января",
    "february feb februar février févr febrero febbraio fevereiro fev februari lutego şubat helmikuuta februarie "
    "февраля",
    "march mar märz mrz mars marzo março maart mrt marts marca mart maaliskuuta martie марта",
    "april apr avril avr abril abr aprile kwietnia nisan huhtikuuta aprilie апреля",
    "may mai mayo maggio mag maio mei maj maja mayıs toukokuuta мая",
    "june jun juni juin junio giugno giu junho czerwca haziran kesäkuuta iunie июня",
    "july jul juli juillet juil julio luglio lug julho lipca temmuz heinäkuuta iulie июля",
    "august aug août agosto ago augustus augusti sierpnia ağustos elokuuta августа",
    "september sep sept septembre septiembre settembre set setembro września eylül syyskuuta septembrie сентября",
    "october oct oktober okt octobre octubre ottobre ott outubro out października ekim lokakuuta octombrie октября",
    "november nov novembre noviembre novembro listopada kasım marraskuuta noiembrie ноября",
    "december dec dezember dez décembre déc diciembre dic dicembre dezembro desember grudnia aralık joulukuuta "
    "decembrie декабря",
)
"""The months in the languages of `FUNCTION_WORDS` and Russian, as they stand in a date."""
_MONTH_OF: Mapping[str, int] = {
    name: number for number, names in enumerate(_MONTHS, 1) for name in words(names)
}
FULL_MONTHS = frozenset(name for name in _MONTH_OF if len(name) > 4) | words(
    "mai mars märz juni juli juin maio mayo marca maja maj"
)
"""Names of months that are not shortened."""
NUMBER_OF: Mapping[str, str] = {
    name: str(number)
    for number, names in enumerate(
        (
            "two zwei deux dos due twee dois duas",
            "three drei trois tres tre drie três",
            "four vier quatre cuatro quattro quatro",
            "five fünf cinq cinco cinque vijf",
            "six sechs seis sei zes",
            "seven sieben sept siete sette zeven sete",
            "eight acht huit ocho otto oito",
            "nine neun neuf nueve nove negen",
            "ten zehn dix diez dieci tien dez",
            "eleven elf onze once undici",
            "twelve zwölf douze doce dodici twaalf doze",
        ),
        2,
    )
    for name in words(names)
}
_MONTH = "(" + "|".join(sorted(_MONTH_OF, key=len, reverse=True)) + r")\b\.?"
_DAY = r"\b(\d{1,2})(?:st|nd|rd|th|er|o|\.)?"
_YEAR = r"(\d{4})\b"
_OF = r"(?:of |de |del |d[’'])?"
_NUMERIC = re.compile(r"\b(\d{1,4})(?:([/.-]) ?(\d{1,2})\2 ?|[年년] ?(\d{1,2})[月월] ?)(\d{4}|\d{1,2})(?!\d)")
_DAY_FIRST = re.compile(rf"{_DAY}[ -]{_OF}{_MONTH}(?:,?[ -]{_OF}{_YEAR})?")
_MONTH_FIRST = re.compile(rf"\b{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? {_YEAR})?")
_MONTH_ALONE = re.compile(rf"\b{_MONTH},? {_OF}{_YEAR}|\b{_YEAR}-(0[1-9]|1[0-2])(?!\d|-\d)")
NUMBER = r"\d+(?:[.,'’]\d+| \d{3}(?!\d))*"
_NUMBER = re.compile(NUMBER)
_SCALE = re.compile(
    r" ?(?:(%|per ?cent|prozent|pour ?cent|por ?cento?|procent)|(k|thousand|tausend)\b|(mill?i[oó]n\w*|mio|mln)\b)"
)
_AROUND = re.compile(
    r"(?:[^\w\d]|usd|eur|gbp|chf|jpy|cny|inr|aud|cad|sek|nok|dkk|pln|try|brl|kr|zł|fr|rs|euros?|dollars?|pounds)*"
)
"""What may stand around a number that is the whole of a value."""
_TIME = re.compile(r"[t ]\d{1,2}:\d\d\S{0,12}\Z")


def value_of(text: str) -> frozenset[Value]:
    """What a text says that is a number or a date and no more; empty where it is neither."""
    folded = _TIME.sub("", fold(text.strip()))
    for pattern in (_NUMERIC, _DAY_FIRST, _MONTH_FIRST, _MONTH_ALONE):
        if (found := pattern.fullmatch(folded.rstrip("日일."))) is not None:
            return frozenset(_dates(pattern, found))
    number = _NUMBER.search(folded)
    if number is None or not _AROUND.fullmatch(folded[: number.start()] + " " + folded[number.end() :]):
        return frozenset()
    return frozenset(readings(number[0]))


def values_in(text: str) -> frozenset[Value]:
    """The numbers and dates that stand in a text; of a whole date also its month."""
    folded = fold(text)
    found: set[Value] = {NUMBER_OF[word] for word in NUMBER_OF.keys() & set(folded.split())}
    for match in _NUMBER.finditer(folded):
        read = set(readings(match[0]))
        found |= read.union(_scaled(read, folded, match.end()))
    for pattern in (_NUMERIC, _DAY_FIRST, _MONTH_FIRST, _MONTH_ALONE):
        for match in pattern.finditer(folded):
            dates = list(_dates(pattern, match))
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


def _dates(pattern: re.Pattern[str], found: re.Match[str]) -> Iterator[Date]:
    """The days, or months, that a match of one of the patterns can say."""
    if pattern is _NUMERIC:
        yield from _numeric(found[1], found[3] or found[4], found[5])
    elif pattern is _MONTH_ALONE:
        yield (int(found[2]), _MONTH_OF[found[1]], 0) if found[1] else (int(found[3]), int(found[4]), 0)
    else:
        day, month = (found[1], found[2]) if pattern is _DAY_FIRST else (found[2], found[1])
        yield int(found[3] or 0), _MONTH_OF[month], int(day)


def _numeric(first: str, second: str, third: str) -> Iterator[Date]:
    """The days that three numbers can say: the year first, or last with the day or the month before the other."""
    parts: Sequence[tuple[str, str, str]] = ((third, second, first), (third, first, second))
    for year, month, day in ((first, second, third),) if len(first) == 4 else parts:
        if (
            len(year) in (2, 4)
            and len(month) <= 2
            and len(day) <= 2
            and 1 <= int(month) <= 12
            and int(day) <= 31
        ):
            for century in (1900, 2000) if len(year) == 2 else (0,):
                yield century + int(year), int(month), int(day)
