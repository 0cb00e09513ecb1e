"""Answers that are in another language than their input, in a set of several languages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from etude.checks.language.identification import LEAST_TOLD, MOST_TEXT, language_of, own_language
from etude.checks.language.wrong_language import is_unasked
from etude.checks.material import Material, rows_that
from etude.checks.record import FREE, FindingKind, finds
from etude.checks.rows.quotations import QUOTED
from etude.types import Finding

SAME = 0.9
"""Share of the rows of two known languages in which both are one, from which the others stand out."""
_SENTENCE = re.compile(r"[\n.!?:;。！？：]+")


@finds(
    FindingKind(
        "answer_language", "warning", "answers in another language than their input, in a set of several"
    ),
    tasks=FREE,
)
def answered_otherwise(material: Material) -> Iterator[Finding]:
    """Free answers in another language than their input, where nearly all others are in their input's.

    Nothing is said of a set that is in one language (`language` does), of one in which answers are translations, nor
    of rows that ask for another language or hold sentences in both.
    """
    languages = {
        row: pair
        for row in range(len(material.rows))
        if (pair := _languages(material, row)) and (pair[0] == pair[1] or is_unasked(material, row))
    }
    differ = {row: pair for row, pair in languages.items() if pair[0] != pair[1]}
    if (
        len(languages) < LEAST_TOLD
        or not _are_several(material, languages)
        or len(differ) > (1 - SAME) * len(languages)
    ):
        return
    found = {row: pair for row, pair in differ.items() if _is_other(material, row, *pair)}
    if found:
        named = Counter(f"{given} to {asked} input" for asked, given in found.values()).most_common(4)
        yield material.finding(
            "answer_language",
            "warning",
            list(found),
            f"{rows_that('have', len(found), len(material.rows))} an answer in another language than the input, where "
            f"of the {len(languages):,} rows whose two languages are identified nearly all have one for both: "
            f"{', '.join(f'{pair} in {number:,}' for pair, number in named)}.",
            "Write the answer in the language of the input, unless another one was asked for.",
            evidence=material.both(found),
        )


def _languages(material: Material, row: int) -> tuple[str, str] | None:
    """Of the last turn and of the answer; None if one is not identified."""
    given = _told(material.outputs[row])
    asked = given and _told(material.rows[row].input[-1].content)
    return (asked, given) if asked and given else None


def _told(text: str) -> str | None:
    """The language of a text without what it quotes."""
    return language_of(QUOTED.sub(" ", text[: 4 * MOST_TEXT]))


def _are_several(material: Material, languages: Mapping[int, tuple[str, str]]) -> bool:
    """Whether the answers are in several languages: those of all rows, as `language` asks, or of these."""
    all_told = [language for language in material.output_languages if language]
    parted = len(all_told) >= LEAST_TOLD and own_language(all_told) is None
    return parted or own_language([given for _, given in languages.values()]) is None


def _is_other(material: Material, row: int, asked: str, given: str) -> bool:
    """Whether neither text holds a sentence in the other's language."""
    texts = (material.rows[row].input[-1].content, given), (material.outputs[row], asked)
    return not any(_told(sentence) == other for text, other in texts for sentence in _SENTENCE.split(text))
