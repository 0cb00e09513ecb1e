"""Insults in answers and threats in either part, of which only the places are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from etude.checks.lexicon import INSULTS
from etude.checks.material import Material, rows_that
from etude.types import Finding, Severity

LONGEST = 20_000
"""Characters of a text in which threats are looked for."""
THREAT = re.compile(
    r"\b(?:i|we)(?:['’]ll| will|(?:['’]m| am|['’]re| are) (?:going to|gonna)| wanna| want to) (?:\w{1,20} )?"
    r"(?:kill|hurt|shoot|stab|strangle|beat up|murder|rape|slap|punch) (?:you|him|her|them|your|his|their)\b"
    r"|\b(?:go )?kill yourself\b"
    r"|\byou(?:['’]re| are) (?:going to|gonna) (?:die|pay for this)\b|\byou deserve to die\b",
    re.IGNORECASE,
)


def insults(material: Material) -> Iterator[Finding]:
    """Answers that insult."""
    if not material.free:
        return
    plain = material.plain_outputs
    rows = [position for position, text in enumerate(plain) if not INSULTS.isdisjoint(text.split())]
    if rows:
        yield material.finding(
            "insult",
            "warning",
            rows,
            f"{rows_that('have', len(rows), len(plain))} an answer with an insult or a vulgar word in it.",
            "Read them; a model learns the tone of its examples.",
        )


def threats(material: Material) -> Iterator[Finding]:
    """Inputs and free answers that threaten, of which only the places are shown."""
    yield from _threats(
        material, "an input", material.inputs, "note", "Keep them only where the answer is calm."
    )
    if material.free:
        remedy = "Read them; a model learns the tone of its examples."
        yield from _threats(material, "an answer", material.outputs, "warning", remedy)


def _threats(
    material: Material, part: str, texts: Sequence[str], severity: Severity, remedy: str
) -> Iterator[Finding]:
    rows = [row for row, text in enumerate(texts) if THREAT.search(text[:LONGEST])]
    if rows:
        told = f"{rows_that('have', len(rows), len(texts))} {part} with a threat in it."
        yield material.finding("threat", severity, rows, told, remedy)
