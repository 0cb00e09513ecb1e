"""Rules for single values, the same for task files and for settings from Python.

A rule accepts plain values as in YAML and JSON. It does not know the file and line; `yaml_document`
adds them.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from etude.base.issues import suggest_instead
from etude.errors import Issue, quote_setting


@dataclass(frozen=True, slots=True)
class Rule:
    """The values that are accepted for a key."""

    description: str  # `a whole number from 1 to 512`
    # Converts a value to the right type. Raises TypeError, ValueError or OverflowError if it is not
    # accepted.
    parse: Callable[[Any], Any]
    suggest: Callable[[str, Any], str]  # from a key and a refused value to what to write instead

    def check(self, location: str, key: str, value: Any) -> Issue | None:
        """Return the error of `key: value`, whose message continues a sentence on the key; None if
        it is valid.
        """
        try:
            self.parse(value)
        except (TypeError, ValueError, OverflowError):
            return Issue(
                location,
                f"must be {self.description}",
                quote_setting(value),
                self.suggest(key, value),
            )
        return None


def number(
    low: float,
    high: float = math.inf,
    *,
    whole: bool = False,
    above: bool = False,
    share: bool = False,
) -> Rule:
    """Accept numbers from `low` to `high`; `above` excludes `low` itself. With `share`, the remedy
    for a value in per cent is the share. A number may be a text, because YAML reads 1e-4 as one.
    """
    first, last = (f"{bound:.0f}" if whole else f"{bound:g}" for bound in (low, high))
    if last == "inf":
        bounds = f"above {first}" if above else f"of {first} or more"
    else:
        bounds = f"{'above' if above else 'from'} {first} to {last}"
    description = f"{'a whole number' if whole else 'a number'} {bounds}"

    def parse(value: Any) -> float:
        # Python counts True as 1.
        if isinstance(value, bool) or not math.isfinite(float(value)):
            raise ValueError(value)
        if whole and isinstance(value, float) and not value.is_integer():
            raise ValueError(value)
        parsed = int(value) if whole else float(value)
        if not low <= parsed <= high or (above and parsed == low):
            raise ValueError(value)
        return parsed

    def suggest(key: str, value: Any) -> str:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", str(value))
        # A number of 1 or less is in per cent only with the sign.
        if (
            share
            and match
            and (match[2] or float(match[1]) > 1)
            and low <= float(match[1]) / 100 <= high
        ):
            return f"write {key}: {float(match[1]) / 100:g}"
        return f"write {description} for {key}"

    return Rule(description, parse, suggest)


def one_of(*known: str) -> Rule:
    """Accept only the `known` words."""

    def parse(value: Any) -> str:
        if value not in known:
            raise ValueError(value)
        return str(value)

    return Rule(
        f"one of {', '.join(known)}", parse, lambda key, value: suggest_instead(str(value), known)
    )


def names(example: str) -> Rule:
    """Accept lists of texts, such as the example."""

    def parse(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            raise TypeError(value)
        return tuple(value)

    return Rule("a list of names", parse, lambda key, value: f"write {key}: {example}")


def or_word(word: str, rule: Rule) -> Rule:
    """Accept the values of a rule, and a word that means the default and is parsed to None."""

    def parse(value: Any) -> Any:
        return None if value is None or value == word else rule.parse(value)

    return Rule(f"{word}, or {rule.description}", parse, rule.suggest)


def parse_switch(value: Any) -> bool:
    """Return a truth value. Raises TypeError for anything else."""
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


SWITCH = Rule(
    "true or false", parse_switch, lambda key, value: f"write {key}: true or {key}: false"
)
