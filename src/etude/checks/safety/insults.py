"""Insults in answers: plain words in many languages. What is put in other words goes unseen."""

from __future__ import annotations

import re
from collections.abc import Iterator

from etude.base.word_lists import as_set, read_table
from etude.checks.material import Mark, Material, marks_of, rows_that
from etude.checks.record import FREE, FindingKind, finds
from etude.checks.rows.quotations import without_quotations
from etude.checks.safety.phrases import TONE, finding
from etude.types import Finding

_TABLE = read_table(__file__, "insults.yaml")
ALWAYS = frozenset().union(*map(as_set, _TABLE["always"].values()))
"""Words that insult in a text of any language."""
OF_ONE_LANGUAGE = {language: as_set(words) for language, words in _TABLE["of_one_language"].items()}
"""Language -> words that insult in it alone."""
_AT_TIMES = frozenset().union(*OF_ONE_LANGUAGE.values())
_UNSPACED = "|".join(_TABLE["unspaced"].split())
_IS_UNSPACED = re.compile(_UNSPACED)


@finds(FindingKind("insult", "warning", "answers with an insult or a vulgar word", safety=True), tasks=FREE)
def insults(material: Material) -> Iterator[Finding]:
    """Answers that insult."""
    plain = enumerate(material.plain_outputs)
    found = {row: marks for row, text in plain if (marks := _insults(material, row, text)) is not None}
    rows = rows_that("have", len(found), len(material.rows))
    message = f"{rows} an answer with an insult or a vulgar word in it."
    yield from finding(material, "insult", "warning", "output", found, message, TONE)


def _insults(material: Material, row: int, plain: str) -> list[Mark] | None:
    """Where an answer insults in words that it does not quote; None if nowhere. An insult whose letters the answer
    writes in another way than its normalised form, `plain`, has no place."""
    words = plain.split()
    insulting = ALWAYS.intersection(words)
    if not _AT_TIMES.isdisjoint(words):
        language = material.language_of_answer(row) or ""
        insulting |= OF_ONE_LANGUAGE.get(language, frozenset()).intersection(words)
    if not insulting and (plain.isascii() or not _IS_UNSPACED.search(plain)):
        return None
    written = rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(insulting)))})(?!\w)|" if insulting else ""
    insult = re.compile(written + _UNSPACED, re.IGNORECASE)
    text = material.outputs[row]
    said = marks_of(insult.finditer(without_quotations(text)))
    return said if said or not insult.search(text) else None
