"""Phrases that attack, threaten or advise, from YAML files beside this module.

A file maps a language or a subject to an entry:

    hints: words, as `normalise` leaves them, of which a text with such a phrase holds at least one; without them, an
        entry for languages without spaces is looked for in texts with other letters than ASCII
    patterns: regular expressions in any case, which must take linear time
    any other key: a list of alternatives, which the patterns of the entry name as <key>

An entry `parts` holds such lists for all entries of the file. What is said in other words goes unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from etude.base.word_lists import any_of, as_set, read_table
from etude.checks.material import Mark, Material, marks_of, rows_that
from etude.checks.record import FREE, FindingKind, family, finds
from etude.checks.rows.quotations import without_quotations
from etude.types import Column, Finding, Severity

LONGEST = 200_000
"""Characters of a text that are looked at."""


TONE = "Read them; a model learns the tone of its examples."
Found = Mapping[int, list[Mark]]
"""Row -> where its text holds a phrase."""


@dataclass(frozen=True)
class Phrases:
    """The phrases of one entry."""

    hints: frozenset[str]
    pattern: re.Pattern[str]
    said: str = ""

    def may_be_in(self, text: str, words: Set[str]) -> bool:
        """Whether a text of these normalised words may hold one: a quick question."""
        return not self.hints.isdisjoint(words) if self.hints else not text.isascii()

    def marks(self, text: str) -> list[Mark]:
        """Where they stand in a text, whatever its hints."""
        return marks_of(self.pattern.finditer(text[:LONGEST]))


def read_phrases(name: str) -> Mapping[str, Phrases]:
    """The entries of a file."""
    table = read_table(__file__, name)
    shared = table.pop("parts", {})
    return {key: _phrases({**shared, **entry}) for key, entry in table.items()}


def _phrases(entry: Mapping[str, Any]) -> Phrases:
    patterns: Sequence[str] = entry["patterns"]
    for key, part in entry.items():
        if isinstance(part, list):
            patterns = [pattern.replace(f"<{key}>", f"(?:{'|'.join(part)})") for pattern in patterns]
    return Phrases(as_set(entry.get("hints", "")), any_of(patterns), entry.get("said", ""))


def first_mark(phrases: Iterable[Phrases], text: str) -> Mark | None:
    """Where the first of the phrases that a text holds stands."""
    return next((found.span() for one in phrases if (found := one.pattern.search(text))), None)


_INJECTION = read_phrases("injections.yaml")["any language"]
_THREATS = read_phrases("threats.yaml")
_ADVICE = read_phrases("advice.yaml")


def is_injection(text: str) -> bool:
    """Whether a text tries to take over the instructions."""
    return bool(_INJECTION.pattern.search(text))


@finds(
    FindingKind("injection", "warning", "inputs that try to take over the instructions", safety=True),
    quick=True,
)
def injections(material: Material) -> Iterator[Finding]:
    """Inputs that try to take over the instructions."""
    found = {row: marks for row, text in enumerate(material.inputs) if (marks := _INJECTION.marks(text))}
    message = f"{_rows(material, found, 'hold')} an instruction to ignore the instructions."
    remedy = "Keep them only where the answer shows how such a request is refused."
    yield from finding(material, "injection", "warning", "input", found, message, remedy)


def threat(text: str, plain: str) -> Mark | None:
    """Where a text threatens in words that it does not quote; `plain` is its normalised form."""
    words = set(plain.split())
    likely = [one for one in _THREATS.values() if one.may_be_in(text, words)]
    return first_mark(likely, without_quotations(text[:LONGEST])) if likely else None


@finds(FindingKind("threat", "warning, note", "inputs, and free answers, that threaten", safety=True))
def threats(material: Material) -> Iterator[Finding]:
    """Inputs and free answers that threaten."""
    found = _threatening(material.inputs, material.plain_inputs)
    message = f"{_rows(material, found)} an input with a threat in it."
    yield from finding(
        material, "threat", "note", "input", found, message, "Keep them only where the answer is calm."
    )
    if material.free:
        found = _threatening(material.outputs, material.plain_outputs)
        message = f"{_rows(material, found)} an answer with a threat in it."
        yield from finding(material, "threat", "warning", "output", found, message, TONE)


def _threatening(texts: Sequence[str], plain: Sequence[str]) -> Found:
    found = enumerate(map(threat, texts, plain))
    return {row: [mark] for row, mark in found if mark}


@finds(
    *family(
        "advice", {name: f"answers with {one.said}" for name, one in _ADVICE.items()}, "note", safety=True
    ),
    tasks=FREE,
)
def advice(material: Material) -> Iterator[Finding]:
    """Free answers that tell their reader what to do about health, law or money, or speak of a treatment with its dose.

    Words on the topic alone do not count ("my card payment", "the court met").
    """
    for name, one in _ADVICE.items():
        found = {row: marks for row, text in enumerate(material.outputs) if (marks := one.marks(text))}
        message = f"{_rows(material, found)} an answer with {one.said}."
        remedy = "Have them read by someone who may give such advice: a tuned model gives it to everybody."
        yield from finding(material, f"advice_{name}", "note", "output", found, message, remedy)


def _rows(material: Material, found: Found, verb: str = "have") -> str:
    return rows_that(verb, len(found), len(material.rows))


def finding(
    material: Material, kind: str, severity: Severity, part: Column, found: Found, message: str, remedy: str
) -> Iterator[Finding]:
    """The finding of rows with phrases in one of their texts; none if there are no such rows."""
    if found:
        show = material.shown_input if part == "input" else material.shown_output
        evidence = (show(row, marks) for row, marks in found.items())
        yield material.finding(kind, severity, list(found), message, remedy, evidence=evidence)
