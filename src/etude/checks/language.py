"""Texts in another language or script than the set's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from etude.checks.function_words import FUNCTION_WORDS, is_far, own_language
from etude.checks.lexicon import words
from etude.checks.material import Material, rows_that
from etude.normal import normalise
from etude.types import Finding

_ASKING = frozenset(name.casefold() for name in FUNCTION_WORDS) | words(
    "russian ukrainian greek hebrew arabic hindi bengali tamil thai korean japanese chinese mandarin latin "
    "language translate translated translation deutsch français español italiano português nederlands svenska "
    "dansk polski türkçe suomi română übersetze traduire"
)
"""Words of an input that ask for another language."""


def wrong_language(material: Material) -> Iterator[Finding]:
    """Inputs, and free answers, in a language or script that nearly none of the others are in."""
    yield from _of_part(material, "input", material.plain_inputs, material.input_languages)
    if material.free:
        yield from _of_part(material, "answer", material.plain_outputs, material.output_languages)


def _of_part(
    material: Material, part: str, plain: Sequence[str], told: Sequence[str | None]
) -> Iterator[Finding]:
    own = own_language(told)
    if own is None:
        return
    others = {row: language for row, language in enumerate(told) if language and language != own}
    found = {row: name for row, name in others.items() if _is_foreign(material, row, plain[row], name, own)}
    if not found:
        return
    named = ", ".join(
        f"{language} in {number:,}" for language, number in Counter(found.values()).most_common(4)
    )
    show = material.shown_input if part == "input" else material.shown_output
    yield material.finding(
        "language",
        "warning",
        list(found),
        f"{rows_that('have', len(found), len(plain))} an {part} in another language than the set's own, {own}: "
        f"{named}.",
        "Translate or delete them, unless requests in that language are expected.",
        evidence=(show(row) for row in found),
    )


def _is_foreign(material: Material, row: int, text: str, language: str, own: str) -> bool:
    """Whether a text is surely not in the set's own language, and its input asks for no other one."""
    asked = normalise(material.inputs[row]).split()
    return is_far(text, language, own) and _ASKING.isdisjoint(asked)
