"""Format numbers and commands in the same way everywhere: times, sizes, values of metrics,
differences, rows.

Every metric is between 0 and 1 and is written in per cent, also macro-F1 and chrF. A difference of
two values is written in points, with the ASCII minus, which every terminal can display. Tables
always have one decimal, so columns line up; sentences omit a decimal that is 0.
"""

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Interval(Protocol):
    """A value with its lower and upper bound and the number of units behind it."""

    @property
    def value(self) -> float:
        """The best estimate."""

    @property
    def low(self) -> float:
        """The lower bound."""

    @property
    def high(self) -> float:
        """The upper bound."""

    @property
    def n(self) -> int:
        """The number of independent units."""


def format_time(seconds: float, digits: int = 2) -> str:
    """Format a time in the most readable unit: `0.8 ms`, `0.55 s`, `6.9 min`, `2.1 h`."""
    if seconds < 0.00005:
        return "< 0.1 ms" if seconds else "0 s"
    # from each limit on, the value rounds to a shorter number in the next unit
    for limit, divisor, unit in ((0.0995, 0.001, "ms"), (99.5, 1, "s"), (5970, 60, "min")):
        if seconds < limit:
            return f"{seconds / divisor:.{digits}g} {unit}"
    return f"{seconds / 3600:.{digits}g} h"


def format_rough_time(seconds: float) -> str:
    """Format an estimated time: `under a minute`, `about 3 min`."""
    return "under a minute" if seconds < 60 else f"about {format_time(seconds)}"


def format_size(num_bytes: int) -> str:
    """Format a size in memory or on disk: `78 MB`, `1.9 GB`."""
    for limit, divisor, unit in ((1e6, 1e3, "kB"), (1e9, 1e6, "MB")):
        if num_bytes < limit:
            return f"{num_bytes / divisor:,.0f} {unit}"
    return f"{num_bytes / 1e9:,.1f} GB"


def format_count(number: int, noun: str, plural: str | None = None) -> str:
    """Format a number with its noun: "1 row", "1,200 rows"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def format_names(names: Sequence[str]) -> str:
    """Join names: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def list_first(
    items: Sequence[Item], limit: int, separator: str = ", ", label: Callable[[Item], str] = str
) -> str:
    """List the labels of the first items and count the others: "a, b and 1,200 more", "a; b; and 3
    more".
    """
    num_others = len(items) - limit
    ending = f"{separator.strip(', ')} and {num_others:,} more" if num_others > 0 else ""
    return separator.join(map(label, items[:limit])) + ending


def list_most_frequent(counts: Mapping[str, int], limit: int) -> str:
    """List the most frequent names with their counts, ties by the alphabet: "German in 12, French
    in 3".
    """
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} in {number:,}" for name, number in ranked[:limit])


def format_command(verb: str, path: Path) -> str:
    """Format `etude VERB PATH` for a shell: `etude init 'my rows.csv'`."""
    return shlex.join(("etude", verb, str(path)))


def format_points(difference: float, signed: bool = False) -> str:
    """Format a difference in points for a sentence: "24", "2.4", "+0.5"."""
    number = f"{100 * difference:+.1f}" if signed else f"{100 * difference:.1f}"
    number = number.removesuffix(".0")
    return "0" if number in ("-0", "+0") else number


def format_gap(difference: Interval, relation: str = "", signed: bool = False) -> str:
    """Format a difference with its interval for a sentence: "40 points more than a (95% interval 31
    to 49, n = 127)".

    In whole points if the interval is wider than 2 points.
    """
    digits = 0 if difference.high - difference.low > 0.02 else 1
    bounds = (difference.value, difference.low, difference.high)
    numbers = [
        f"{100 * bound:{'+' if signed else ''}.{digits}f}".removesuffix(".0") for bound in bounds
    ]
    value, low, high = ("0" if number in ("-0", "+0") else number for number in numbers)
    noun = "point" if value.lstrip("+-") == "1" else "points"
    return f"{value} {noun}{relation} (95% interval {low} to {high}, n = {difference.n:,})"


def format_share(value: float) -> str:
    """Format a value in per cent for a sentence: "95%", "91.2%"."""
    return f"{100 * value:.1f}".removesuffix(".0") + "%"


def format_percent(value: float) -> str:
    """Format a value in per cent for a table: "95.0%"."""
    return f"{_scale_to_percent(value)}%"


def format_html_table(rows: Iterable[Sequence[str]]) -> str:
    """Format rows of cells as a table in HTML; every cell is escaped."""
    lines = (
        "".join(f"<td style='text-align: left'>{escape(cell)}</td>" for cell in row) for row in rows
    )
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def format_interval(interval: Interval) -> str:
    """Format the bounds of a value for a table: "78.1 to 86.4"."""
    return f"{_scale_to_percent(interval.low)} to {_scale_to_percent(interval.high)}"


def _scale_to_percent(value: float) -> str:
    return f"{100 * value:,.1f}" if abs(value) < 1e4 else f"{100 * value:.0e}"


def format_difference(difference: float) -> str:
    """Format a difference in points for a table: "+0.5", "-12.0", "0.0"."""
    number = f"{100 * difference:+.1f}"
    return "0.0" if number in ("-0.0", "+0.0") else number


def format_difference_interval(difference: Interval) -> str:
    """Format the bounds of a difference for a table: "-1.5 to +3.0"."""
    return f"{format_difference(difference.low)} to {format_difference(difference.high)}"


def round_up_rows(rows: int) -> int:
    """Round a number of rows up to two digits: 4,873 is 4,900."""
    unit = int(10 ** max(0, len(str(rows)) - 2))
    return math.ceil(rows / unit) * unit


def is_many(rows: int, num_rows: int) -> bool:
    """Whether the number of `rows` needed to decide is too much larger than `num_rows` to be
    reported as a number.

    True above 50 times `num_rows`, and above both 20,000 and ten times `num_rows`. Such a number is
    computed from a difference measured on few rows, and its error is larger than the number itself.
    """
    return rows > min(50 * num_rows, max(20_000, 10 * num_rows))


def format_rows(rows: int, num_rows: int) -> str:
    """Format the number of rows needed to decide, for a table: "3,900", or "many more"."""
    return "many more" if is_many(rows, num_rows) else f"{round_up_rows(rows):,}"


def format_p_value(p: float) -> str:
    """Format a p-value: "p = 0.034" or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def format_loss(value: float) -> str:
    """Format a loss in nats: `0.731`; below 0.01 with three significant digits, `0.000674`."""
    digits = 2 - math.floor(math.log10(value)) if 0 < value < 0.01 else 3
    return f"{value:.{digits}f}"


def format_loss_change(before: float, after: float) -> str:
    """Format `from 0.731 to 0.689`, with enough digits to show a difference if there is one."""
    texts = (format_loss(before), format_loss(after))
    if texts[0] == texts[1] and before != after:
        digits = 1 - math.floor(math.log10(abs(after - before)))
        texts = (f"{before:.{digits}f}", f"{after:.{digits}f}")
    return f"from {texts[0]} to {texts[1]}"


def format_setting(value: object) -> str:
    """Format a setting as in a task file: `0.002`, `true`, `[q_proj, v_proj]`.

    An empty list is `all` and None is `auto`.
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(format_setting, value))}]" if value else "all"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "auto"}[value]
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def format_defaults(settings: Mapping[str, object]) -> str:
    """Format settings in one line of YAML: `defaults: {dropout: 0, schedule: linear}`."""
    pairs = (f"{name}: {format_setting(value)}" for name, value in settings.items())
    return f"defaults: {{{', '.join(pairs)}}}"


def format_estimate_decimal(interval: Interval) -> str:
    """Format an amount with its interval: `0.31 (95% interval 0.25 to 0.38, n = 400)`."""
    bounds = f"{format_decimal(interval.low)} to {format_decimal(interval.high)}"
    return f"{format_decimal(interval.value)} (95% interval {bounds}, n = {interval.n:,})"


def format_decimal(value: float) -> str:
    """Format a number with at least three significant digits and no exponent."""
    digits = 2 - math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    text = f"{value:,.{max(0, digits)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_part(number: int, total: int) -> str:
    """Format a number of how many: `6`, or `2 of 6`; "" for 0."""
    return f"{number:,} of {total:,}" if 0 < number < total else f"{number:,}" if number else ""
