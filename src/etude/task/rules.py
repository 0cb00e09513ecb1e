"""What a single value may be, for task files and for settings from Python alike.

A rule takes plain values as YAML and JSON know them. It knows no file and no line: readers.py names those.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from etude.base.remedies import instead
from etude.errors import Issue, quote_setting


@dataclass(frozen=True, slots=True)
class Rule:
    """What one value may be."""

    wanted: str
    """In words: `a whole number from 1 to 512`."""
    take: Callable[[Any], Any]
    """From a value to the same in the type that is wanted. Raises TypeError, ValueError or OverflowError for one
    that may not be."""
    remedy: Callable[[str, Any], str]
    """From a key and a value that it may not have to what to write in its place."""

    def fault(self, where: str, key: str, value: Any) -> Issue | None:
        """What is wrong with `key: value`, as the end of a sentence on the key; None where nothing is."""
        try:
            self.take(value)
        except (TypeError, ValueError, OverflowError):
            return Issue(where, f"must be {self.wanted}", quote_setting(value), self.remedy(key, value))
        return None


def number(
    low: float,
    high: float = math.inf,
    *,
    whole: bool = False,
    above: bool = False,
    below: bool = False,
    share: bool = False,
) -> Rule:
    """Numbers from `low` to `high`; `above` leaves `low` itself out, `below` leaves `high` out. A `share` that is given
    in per cent is answered with the number meant. A number may stand in a text, as YAML takes 1e-4 for one."""
    least, most = (f"{bound:.0f}" if whole else f"{bound:g}" for bound in (low, high))
    wanted = f"{'a whole number' if whole else 'a number'} {_span(least, most, above, below)}"

    def take(value: Any) -> float:
        found = _whole(value) if whole else _number(value)
        if not low <= found <= high or (above and found == low) or (below and found == high):
            raise ValueError(value)
        return found

    def remedy(key: str, value: Any) -> str:
        meant = _of_per_cent(value) if share else math.nan
        return f"write {key}: {meant:g}" if low <= meant <= high else f"write {key}: and {wanted}"

    return Rule(wanted, take, remedy)


def one_of(*known: str) -> Rule:
    """One of some words."""

    def take(value: Any) -> str:
        if value not in known:
            raise ValueError(value)
        return str(value)

    return Rule(f"one of {', '.join(known)}", take, lambda key, value: instead(str(value), known))


def pattern(wanted: str, regex: re.Pattern[str], example: str) -> Rule:
    """A text of a form, such as the example."""

    def take(value: Any) -> str:
        if not regex.fullmatch(value):
            raise ValueError(value)
        return str(value)

    return Rule(wanted, take, lambda key, value: f"write {key}: {example}, or another number")


def names(example: str) -> Rule:
    """A list of texts, such as the example."""

    def take(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise TypeError(value)
        return tuple(value)

    return Rule("a list of names", take, lambda key, value: f"write {key}: {example}")


def or_word(word: str, rule: Rule) -> Rule:
    """What a rule takes, or a word that says the same as leaving the key out, which comes out as None."""

    def take(value: Any) -> Any:
        return None if value is None or value == word else rule.take(value)

    return Rule(f"{word}, or {rule.wanted}", take, rule.remedy)


def pair(each: Rule, example: str) -> Rule:
    """A list of two values, each by a rule."""

    def take(value: Any) -> tuple[Any, Any]:
        first, second = value
        return each.take(first), each.take(second)

    return Rule(f"a list of two, each {each.wanted}", take, lambda key, value: f"write {key}: {example}")


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


SWITCH = Rule("true or false", _switch, lambda key, value: f"write {key}: true or {key}: false")


def _span(low: str, high: str, above: bool, below: bool) -> str:
    if high == "inf":
        return f"above {low}" if above else f"of {low} or more"
    return f"{'above' if above else 'from'} {low} to {'below ' if below else ''}{high}"


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError(value)
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    return int(value)


def _of_per_cent(value: Any) -> float:
    """The share that `95` or `0.5%` means; nan for what is no such number, and for 1 or less without a sign."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", str(value))
    return float(match[1]) / 100 if match and (match[2] or float(match[1]) > 1) else math.nan
