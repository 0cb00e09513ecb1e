"""Numbers in words, for every sentence and table: times, shares, differences of shares."""

from __future__ import annotations


def time_in_words(seconds: float, digits: int = 3) -> str:
    """A time in the unit that reads best: `0.8 ms`, `0.55 s`, `6.9 min`, `2.1 h`."""
    if seconds < 0.00005:
        return "under 0.1 ms" if seconds else "0 s"
    for limit, divisor, unit in ((0.0995, 0.001, "ms"), (99.5, 1, "s"), (5970, 60, "min")):
        if seconds < limit:
            return f"{seconds / divisor:.{digits}g} {unit}"
    return f"{seconds / 3600:.{digits}g} h"


def points(difference: float, signed: bool = False) -> str:
    """A difference of two shares in points: "24", "2.4", "+0.5"."""
    number = f"{100 * difference:+.1f}" if signed else f"{100 * difference:.1f}"
    number = number.removesuffix(".0")
    return "0" if number in ("-0", "+0") else number


def share(value: float) -> str:
    """A share in per cent: "95%", "91.2%"."""
    return f"{100 * value:.1f}".removesuffix(".0") + "%"
