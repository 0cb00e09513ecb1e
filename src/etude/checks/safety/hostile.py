"""Insults in answers and threats in either part, each shown with its words marked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from etude.checks.material import Mark, Material, marks_of, rows_that
from etude.checks.record import FREE, FindingKind, finds
from etude.checks.rows.quotations import without_quotations
from etude.checks.safety.hostile_words import (
    INSULTS,
    OF_ONE_LANGUAGE,
    THREAT,
    THREAT_WORDS,
    UNSPACED_INSULTS,
    UNSPACED_THREAT,
)
from etude.types import Evidence, Finding, Severity

LONGEST = 20_000
"""Characters of a text in which threats are looked for."""
TONE = "Read them; a model learns the tone of its examples."
_ALWAYS = frozenset().union(*INSULTS.values())
_AT_TIMES = frozenset().union(*OF_ONE_LANGUAGE.values())


@finds(FindingKind("insult", "warning", "answers with an insult or a vulgar word", safety=True), tasks=FREE)
def insults(material: Material) -> Iterator[Finding]:
    """Answers that insult."""
    plain = material.plain_outputs
    found = {
        row: marks for row, text in enumerate(plain) if (marks := _insults(material, row, text)) is not None
    }
    if found:
        yield material.finding(
            "insult",
            "warning",
            list(found),
            f"{rows_that('have', len(found), len(plain))} an answer with an insult or a vulgar word in it.",
            TONE,
            evidence=(material.shown_output(row, marks) for row, marks in found.items()),
        )


def _insults(material: Material, row: int, plain: str) -> list[Mark] | None:
    """Where a normalised answer insults, None where nowhere. What is an ordinary word elsewhere counts in its own
    language alone, and what is quoted is said by somebody else. No place is given of a word that the answer writes in
    another way than its normalised form."""
    words = plain.split()
    insulting = _ALWAYS.intersection(words)
    if not _AT_TIMES.isdisjoint(words):
        language = material.language_of_answer(row) or ""
        insulting |= OF_ONE_LANGUAGE.get(language, frozenset()).intersection(words)
    if not insulting and (plain.isascii() or not UNSPACED_INSULTS.search(plain)):
        return None
    written = rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(insulting)))})(?!\w)|{UNSPACED_INSULTS.pattern}"
    insult = re.compile(written if insulting else UNSPACED_INSULTS.pattern, re.IGNORECASE)
    text = material.outputs[row]
    said = marks_of(insult.finditer(without_quotations(text)))
    return said if said or not insult.search(text) else None


@finds(FindingKind("threat", "warning, note", "inputs, and free answers, that threaten", safety=True))
def threats(material: Material) -> Iterator[Finding]:
    """Inputs and free answers that threaten."""
    found = _threatening(material.inputs, material.plain_inputs)
    shown = (material.shown_input(row, [mark]) for row, mark in found.items())
    yield from _told(material, "an input", found, shown, "note", "Keep them only where the answer is calm.")
    if material.free:
        found = _threatening(material.outputs, material.plain_outputs)
        shown = (material.shown_output(row, [mark]) for row, mark in found.items())
        yield from _told(material, "an answer", found, shown, "warning", TONE)


def threat(text: str, plain: str) -> Mark | None:
    """Where a text threatens in words that it does not quote; `plain` is its normalised form."""
    spaced = not THREAT_WORDS.isdisjoint(plain.split())
    if not spaced and text.isascii():
        return None
    beginning = without_quotations(text[:LONGEST])
    found = THREAT.search(beginning) if spaced else None
    if not found and not beginning.isascii():
        found = UNSPACED_THREAT.search(beginning)
    return found.span() if found else None


def _threatening(texts: Sequence[str], plain: Sequence[str]) -> Mapping[int, Mark]:
    """Row -> where its text threatens."""
    found = enumerate(map(threat, texts, plain))
    return {row: mark for row, mark in found if mark}


def _told(
    material: Material,
    part: str,
    found: Mapping[int, Mark],
    shown: Iterable[Evidence],
    severity: Severity,
    remedy: str,
) -> Iterator[Finding]:
    if found:
        told = f"{rows_that('have', len(found), len(material.rows))} {part} with a threat in it."
        yield material.finding("threat", severity, list(found), told, remedy, evidence=shown)
