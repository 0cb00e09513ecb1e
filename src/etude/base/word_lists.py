"""Word lists, phrases and tables in YAML files next to the modules that use them.

Every scalar is read as text: `no`, `on` and `1` are words. In a word list, a value is either a
text, whose words are separated by spaces, or a list of phrases.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

# libyaml, if PyYAML was built with it, is several times faster on the larger lists
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def read_table(module: str, name: str) -> dict[str, Any]:
    """Read the mapping in the file `name` beside a module: `read_table(__file__,
    "months.yaml")`.
    """
    with Path(module).with_name(name).open(encoding="utf-8") as file:
        table: dict[str, Any] = yaml.load(file, Loader=_Loader)
    return table


def read_words(module: str, name: str) -> dict[str, frozenset[str]]:
    """Read list name -> words or phrases from the file `name` beside a module."""
    return {key: parse_words(value) for key, value in read_table(module, name).items()}


def parse_words(value: str | Iterable[str]) -> frozenset[str]:
    """Split one text into words, or collect a list of phrases."""
    return frozenset(value.split() if isinstance(value, str) else value)


def merge_patterns(patterns: Iterable[str], flags: re.RegexFlag = re.IGNORECASE) -> re.Pattern[str]:
    """Compile one pattern that matches what any of the patterns matches; earlier patterns are tried
    first.
    """
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), flags)
