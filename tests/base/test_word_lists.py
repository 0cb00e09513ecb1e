"""The YAML files that ship with the package: each is a mapping of texts, without repeats."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import etude
from etude.base.word_lists import merge_patterns, parse_words, read_table, read_words

PACKAGE = Path(etude.__file__).parent
FILES = sorted(file for file in PACKAGE.rglob("*.yaml") if "suites" not in file.parts)
"""Cases and probes of suites/ have a form of their own (test_suites.py)."""


def list_leaves(value: Any) -> Iterator[str | list[str]]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from list_leaves(inner)
    else:
        yield value


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_form(file: Path) -> None:
    table = read_table(str(file), file.name)
    for value in list_leaves(table):
        members = value.split() if isinstance(value, str) else value
        assert members
        assert all(isinstance(one, str) and one == one.strip() and one for one in members)
        if isinstance(value, list):
            assert len(members) == len(set(members))


def test_every_scalar_is_text(tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text(
        "no: yes no on\nphrases: [at last, 'no']\n", encoding="utf-8"
    )
    words = read_words(str(tmp_path / "module.py"), "words.yaml")
    assert words == {"no": {"yes", "no", "on"}, "phrases": {"at last", "no"}}
    assert parse_words("one two") == parse_words(["one", "two"])


def test_any_of_keeps_alternatives_apart() -> None:
    found = merge_patterns(["a|b", r"c\d"])
    assert [found.fullmatch(text) is not None for text in ("a", "B", "C1", "c")] == [
        True,
        True,
        True,
        False,
    ]
