"""Numbers with a unit, and times of day, by what they say: 10 km is 10 kilometres, 5 pm is 17:00.

A unit is the same where it is shortened, as every language shortens its words: by letters of the word in their order,
the first of them kept. Common symbols stand for their own words alone: `mi` for miles, not for minutes. Nothing is
converted: 90 minutes are not an hour and a half.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from etude.checks.records.numbers_dates import NUMBER, NUMBER_OF, readings
from etude.text.normal_forms import fold

_UNIT = r"(°\s?[cf]?|[^\W\d_]+)"
_AMOUNT = re.compile(rf"\W{{0,3}}({NUMBER})[\s-]{{0,2}}{_UNIT}\.?(?:\s?(?:/|per|pro|par)\s?[^\W\d_]+)?")
"""What is an amount and no more; of `km/h` the first unit counts."""
_COUNT = re.compile(rf"({NUMBER})|(?<!\w)({'|'.join(NUMBER_OF)})(?!\w)")
_ITS_UNIT = re.compile(
    rf"(?:\s?(?:[-–,x×]|to|and|or|bis|und|oder|à|et|ou|y|o|a|e)\s?{NUMBER}){{0,4}}[\s-]{{0,2}}{_UNIT}"
)
"""The unit behind a number, also behind further numbers: `10 to 12 km`."""
_ALIASES = {"lb": "pounds", "lbs": "pounds", "oz": "ounces"}
"""Units that are not shortened by their letters."""
_DEGREES = ("degree", "degré", "grad", "grau")
_SYMBOLS: Mapping[str, tuple[str, ...]] = {
    "m": (
        "met",
        "mèt",
        "min",
        "mo",
        "mes",
        "mês",
        "maand",
        "mån",
        "millio",
        "milló",
        "milio",
        "miljo",
        "mio",
        "mln",
    ),
    **{"mm": ("millim",), "cm": ("centim", "zentim"), "km": ("kilom",)},
    "mi": ("mile", "milla", "milha", "migl", "meil", "mijl"),
    **{"mg": ("millig",), "g": ("gr", "gm"), "kg": ("kilo",)},
    **{"ml": ("millil",), "cl": ("centil", "zentil"), "l": ("lit", "ltr")},
    **{"min": ("minu",), "ms": ("millis",), "tsp": ("teasp",), "tbsp": ("tablesp",)},
    **{"°": ("°", *_DEGREES), "°c": _DEGREES, "°f": _DEGREES},
}
"""Symbols, and how the words begin that they stand for; `m` may be metres, minutes, months and millions."""
_MULTIPLE = re.compile(r"(?:deci|centi|milli|micro|nano|deka|hecto|kilo|mega|giga|tera).")
MOST_SHORT = 4
"""Letters up to which a unit may be a shortened word."""
_HALF = r"([ap])\.?\s?m\b\.?"
_MINUTES = r"[:.h]\s?([0-5]\d)(?::[0-5]\d)?"
_HOUR = r"(?<![\d:.,])(\d{1,2})"
_TIME = re.compile(
    rf"{_HOUR}(?:{_MINUTES})?\s?(?:{_HALF}|(?:uhr|o[’'` ]?clock|h)\b)|{_HOUR}[:h]([0-5]\d)(?::[0-5]\d)?(?![\d:])"
)
_AT = re.compile(
    r"(?<!\w)(?:at|by|around|before|after|from|until|till|um|gegen|ab|bis|à|vers|las|alle|om) "
    rf"(\d{{1,2}}|{'|'.join(NUMBER_OF)})(?![\w%]|[:.,]\d)"
)
"""An hour without a sign of it, behind a word that stands before times."""
_NAMED = {"noon": "12:00", "midday": "12:00", "midnight": "0:00"}
_NAME = re.compile(rf"(?<!\w)(?:{'|'.join(_NAMED)})(?!\w)")


class Amount(NamedTuple):
    """A number and its unit, as they are written."""

    numbers: frozenset[str]
    """The number in each of its readings."""
    unit: str


def amount_of(text: str) -> Amount | None:
    """The amount that a text is; None where it is none, or something else too."""
    found = _AMOUNT.fullmatch(fold(text.strip()))
    return Amount(frozenset(readings(found[1])), found[2]) if found else None


def amounts_in(text: str) -> tuple[Amount, ...]:
    """The numbers of a text that a word stands behind, which may be a unit."""
    folded = fold(text)
    units = ((match, _ITS_UNIT.match(folded, match.end())) for match in _COUNT.finditer(folded))
    return tuple(
        Amount(frozenset(readings(match[1]) if match[1] else (NUMBER_OF[match[2]],)), unit[1])
        for match, unit in units
        if unit
    )


def is_same(one: Amount, other: Amount) -> bool:
    """Whether two amounts may be one: a number in common, and units of which one is the other, shortened."""
    return not one.numbers.isdisjoint(other.numbers) and _is_same_unit(_spelt(one.unit), _spelt(other.unit))


def time_of(text: str) -> frozenset[str]:
    """What a text says that is a time of day and no more, as `17:00`: 5:00 may be in the afternoon."""
    folded = fold(text.strip())
    found = _TIME.fullmatch(folded)
    named = _NAMED.get(folded)
    return frozenset(_times(found) if found else [named] if named else [])


def times_in(text: str) -> frozenset[str]:
    """The times of day that stand in a text, in all of their readings."""
    folded = fold(text)
    found = {time for match in _TIME.finditer(folded) for time in _times(match)}
    found.update(
        time for match in _AT.finditer(folded) for time in _of_hour(NUMBER_OF.get(match[1], match[1]), 0, "")
    )
    return frozenset(found.union(_NAMED[match[0]] for match in _NAME.finditer(folded)))


def _times(found: re.Match[str]) -> Iterator[str]:
    return _of_hour(found[1] or found[4], int(found[2] or found[5] or 0), found[3] or "")


def _of_hour(written: str, minute: int, half: str) -> Iterator[str]:
    """The times that an hour can mean; 05 and 17 are those of a clock of 24 hours."""
    hour = int(written)
    certain = hour > 12 or written.startswith("0")
    hours = {"a": [hour % 12], "p": [hour % 12 + 12], "": [hour] if certain else [hour % 12, hour % 12 + 12]}[
        half
    ]
    yield from (f"{each % 24}:{minute:02}" for each in hours if each <= 24)


def _spelt(unit: str) -> str:
    """A unit as it is compared: metres as meters."""
    unit = re.sub(r"\s", "", unit)
    return re.sub(r"(?<=[^\W\d_]{2}t)re(s?)$", r"er\1", _ALIASES.get(unit, unit))


def _is_same_unit(one: str, other: str) -> bool:
    short, whole = sorted((one, other), key=len)
    if short in _SYMBOLS:
        written = whole if whole in _SYMBOLS else whole.removesuffix("s")
        return written == short or whole.startswith(_SYMBOLS[short])
    if whole.startswith(short) and len(whole) - len(short) <= 2:  # of several
        return True
    if len(short) > MOST_SHORT or short[0] != whole[0] or (len(short) == 1 and _MULTIPLE.match(whole)):
        return False
    letters = iter(whole)
    return all(letter in letters for letter in short)
