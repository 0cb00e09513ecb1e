"""Insults in answers and threats in either part, of which only the places are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from etude.checks.hostile_words import (
    INSULTS,
    OF_ONE_LANGUAGE,
    THREAT,
    THREAT_WORDS,
    UNSPACED_INSULTS,
    UNSPACED_THREAT,
)
from etude.checks.material import Material, rows_that
from etude.types import Finding, Severity

LONGEST = 20_000
"""Characters of a text in which threats are looked for."""
_ALWAYS = frozenset().union(*INSULTS.values())
_AT_TIMES = frozenset().union(*OF_ONE_LANGUAGE.values())


def insults(material: Material) -> Iterator[Finding]:
    """Answers that insult."""
    if not material.free:
        return
    plain = material.plain_outputs
    rows = [row for row, text in enumerate(plain) if _insults(material, row, text)]
    if rows:
        yield material.finding(
            "insult",
            "warning",
            rows,
            f"{rows_that('have', len(rows), len(plain))} an answer with an insult or a vulgar word in it.",
            "Read them; a model learns the tone of its examples.",
        )


def _insults(material: Material, row: int, plain: str) -> bool:
    """Whether a normalised answer insults; what is an ordinary word elsewhere counts in its own language alone."""
    found = plain.split()
    if not _ALWAYS.isdisjoint(found) or (not plain.isascii() and UNSPACED_INSULTS.search(plain)):
        return True
    if _AT_TIMES.isdisjoint(found):
        return False
    language = material.output_languages[row] or material.answers_language
    return not OF_ONE_LANGUAGE.get(language or "", frozenset()).isdisjoint(found)


def threats(material: Material) -> Iterator[Finding]:
    """Inputs and free answers that threaten, of which only the places are shown."""
    rows = [*map(is_threat, material.inputs, material.plain_inputs)]
    yield from _threats(material, "an input", rows, "note", "Keep them only where the answer is calm.")
    if material.free:
        rows = [*map(is_threat, material.outputs, material.plain_outputs)]
        remedy = "Read them; a model learns the tone of its examples."
        yield from _threats(material, "an answer", rows, "warning", remedy)


def is_threat(text: str, plain: str) -> bool:
    """Whether a text threatens; `plain` is its normalised form."""
    beginning = text[:LONGEST]
    if not THREAT_WORDS.isdisjoint(plain.split()) and THREAT.search(beginning):
        return True
    return not beginning.isascii() and UNSPACED_THREAT.search(beginning) is not None


def _threats(
    material: Material, part: str, found: Sequence[bool], severity: Severity, remedy: str
) -> Iterator[Finding]:
    rows = [row for row, is_one in enumerate(found) if is_one]
    if rows:
        told = f"{rows_that('have', len(rows), len(found))} {part} with a threat in it."
        yield material.finding("threat", severity, rows, told, remedy)
