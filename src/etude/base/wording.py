"""Numbers and commands in words, in one way everywhere: times, sizes, values of metrics, differences, rows.

Every metric runs from 0 to 1 and is written in per cent, macro-F1 and chrF too; a difference of two is written in
points, with the minus of ASCII, which every terminal shows. Tables keep the tenth of a point, so that columns stand
in line; sentences drop it where it is 0.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from etude.types import Estimate

Part = TypeVar("Part")


def time_in_words(seconds: float, digits: int = 2) -> str:
    """A time in the unit that reads best: `0.8 ms`, `0.55 s`, `6.9 min`, `2.1 h`."""
    if seconds < 0.00005:
        return "< 0.1 ms" if seconds else "0 s"
    for limit, divisor, unit in ((0.0995, 0.001, "ms"), (99.5, 1, "s"), (5970, 60, "min")):
        if seconds < limit:
            return f"{seconds / divisor:.{digits}g} {unit}"
    return f"{seconds / 3600:.{digits}g} h"


def rough_time(seconds: float) -> str:
    """A time that was foreseen, not measured: `under a minute`, `about 3 min`."""
    return "under a minute" if seconds < 60 else f"about {time_in_words(seconds)}"


def size_in_words(num_bytes: int) -> str:
    """A size in memory or on a disk: `78 MB`, `1.9 GB`."""
    for limit, divisor, unit in ((1e6, 1e3, "kB"), (1e9, 1e6, "MB")):
        if num_bytes < limit:
            return f"{num_bytes / divisor:,.0f} {unit}"
    return f"{num_bytes / 1e9:,.1f} GB"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: "1 row", "1,200 rows"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def first_of(parts: Sequence[Part], most: int, between: str = ", ", told: Callable[[Part], str] = str) -> str:
    """The first parts as `told`, and how many more there are: "a, b and 1,200 more", "a; b; and 3 more"."""
    others = len(parts) - most
    more = f"{between.strip(', ')} and {others:,} more" if others > 0 else ""
    return between.join(map(told, parts[:most])) + more


def most_frequent(counts: Mapping[str, int], most: int) -> str:
    """The most frequent names with their numbers, equals by the alphabet: "German in 12, French in 3"."""
    ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{name} in {number:,}" for name, number in ranked[:most])


def command(verb: str, path: Path) -> str:
    """`etude VERB PATH`, as a shell takes it: `etude init 'my rows.csv'`."""
    return shlex.join(("etude", verb, str(path)))


def points(difference: float, signed: bool = False) -> str:
    """A difference in points, for a sentence: "24", "2.4", "+0.5"."""
    number = f"{100 * difference:+.1f}" if signed else f"{100 * difference:.1f}"
    number = number.removesuffix(".0")
    return "0" if number in ("-0", "+0") else number


def share(value: float) -> str:
    """A value in per cent, for a sentence: "95%", "91.2%"."""
    return f"{100 * value:.1f}".removesuffix(".0") + "%"


def percent(value: float) -> str:
    """A value in per cent, for a table: "95.0%"."""
    return f"{_hundredfold(value)}%"


def bounds(estimate: Estimate) -> str:
    """The bounds of a value, for a table: "78.1 to 86.4"."""
    return f"{_hundredfold(estimate.low)} to {_hundredfold(estimate.high)}"


def _hundredfold(value: float) -> str:
    return f"{100 * value:,.1f}" if abs(value) < 1e4 else f"{100 * value:.0e}"


def signed(difference: float) -> str:
    """A difference in points, for a table: "+0.5", "-12.0", "0.0"."""
    number = f"{100 * difference:+.1f}"
    return "0.0" if number in ("-0.0", "+0.0") else number


def signed_bounds(difference: Estimate) -> str:
    """The bounds of a difference, for a table: "-1.5 to +3.0"."""
    return f"{signed(difference.low)} to {signed(difference.high)}"


def two_digits(rows: int) -> int:
    """A number of rows to two digits, rounded up: 4,873 is 4,900."""
    unit = int(10 ** max(0, len(str(rows)) - 2))
    return math.ceil(rows / unit) * unit


def is_many(rows: int, there_are: int) -> bool:
    """Whether a number of rows to decide is too far from those there are to be told in digits.

    That is over 50 times those there are, or over 20,000 and more than ten times: it rests on a difference
    that a few rows have shown, whose error then outweighs all of its digits.
    """
    return rows > min(50 * there_are, max(20_000, 10 * there_are))


def rows_in_words(rows: int, there_are: int) -> str:
    """A number of rows to decide, for a table: "3,900", or "many more"."""
    return "many more" if is_many(rows, there_are) else f"{two_digits(rows):,}"


def p_value(p: float) -> str:
    """A p as "p = 0.034" or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def loss(value: float) -> str:
    """A loss in nats: `0.731`, and below 0.01 with three significant digits, `0.000674`."""
    digits = 2 - math.floor(math.log10(value)) if 0 < value < 0.01 else 3
    return f"{value:.{digits}f}"


def change_of_loss(before: float, after: float) -> str:
    """`from 0.731 to 0.689`, with as many digits as show the difference, where there is one."""
    shown = (loss(before), loss(after))
    if shown[0] == shown[1] and before != after:
        digits = 1 - math.floor(math.log10(abs(after - before)))
        shown = (f"{before:.{digits}f}", f"{after:.{digits}f}")
    return f"from {shown[0]} to {shown[1]}"


def setting(value: object) -> str:
    """A setting as a task file writes it, digit for digit: `0.002`, `true`, `[q_proj, v_proj]`; `all` of an empty
    list, `auto` of none."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(setting, value))}]" if value else "all"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "auto"}[value]
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def defaults(settings: Mapping[str, object]) -> str:
    """Settings that nobody chose or set, in one line of YAML: `defaults: {dropout: 0, schedule: linear}`."""
    told = (f"{name}: {setting(value)}" for name, value in settings.items())
    return f"defaults: {{{', '.join(told)}}}"


def decimal(value: float) -> str:
    """A number with at least three significant digits and no exponent."""
    digits = 2 - math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    text = f"{value:,.{max(0, digits)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
