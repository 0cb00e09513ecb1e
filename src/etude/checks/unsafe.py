"""Instructions hidden in inputs, and insults in answers, of which only the places are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from etude.checks.lexicon import INSULTS
from etude.checks.material import Mark, Material, rows_that
from etude.types import Finding

INJECTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\s{1,4}(?:all |any |the |your |my |of |these |those ){0,3}"
    r"(?:previous|prior|above|earlier|preceding|former)\s{1,4}(?:instructions?|prompts?|rules|messages|directions)\b"
    r"|\b(?:reveal|print|repeat|show)(?: me)? (?:your|the) (?:hidden |secret |full )?system prompt\b"
    r"|\byou are now (?:DAN|in developer mode|unrestricted|jailbroken)\b",
    re.IGNORECASE,
)
"""Phrases with which an input tries to take over the instructions."""
LONGEST = 200_000
"""Characters of a text that are looked at."""


def injections(material: Material) -> Iterator[Finding]:
    """Inputs that try to take over the instructions."""
    found: dict[int, list[Mark]] = {}
    for position, text in enumerate(material.inputs):
        marks = [match.span() for match in INJECTION.finditer(text[:LONGEST])]
        if marks:
            found[position] = marks
    if found:
        yield material.finding(
            "injection",
            "warning",
            list(found),
            f"{rows_that('hold', len(found), len(material.rows))} an instruction to ignore the instructions.",
            "Keep them only where the answer shows how such a request is refused.",
            evidence=(material.shown_input(position, marks) for position, marks in found.items()),
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
