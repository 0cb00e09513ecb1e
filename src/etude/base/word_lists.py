"""Word lists, phrases and tables that ship as YAML files beside the modules that use them.

Every scalar is read as text: `no`, `on` and `1` are words. In a word list a value is either one text, whose words are
separated by spaces, or a list, whose members are phrases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def read_table(module: str, name: str) -> dict[str, Any]:
    """The mapping in the file `name` beside a module: `read_table(__file__, "months.yaml")`."""
    with Path(module).with_name(name).open(encoding="utf-8") as file:
        table: dict[str, Any] = yaml.load(file, Loader=_Loader)
    return table


def read_words(module: str, name: str) -> dict[str, frozenset[str]]:
    """List name -> words or phrases, from the file `name` beside a module."""
    return {key: as_set(value) for key, value in read_table(module, name).items()}


def as_set(value: str | Iterable[str]) -> frozenset[str]:
    """The words of one text, or the phrases of a list."""
    return frozenset(value.split() if isinstance(value, str) else value)


def any_of(patterns: Iterable[str], flags: re.RegexFlag = re.IGNORECASE) -> re.Pattern[str]:
    """One pattern that matches what any of the patterns matches, the earlier ones first."""
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), flags)
