"""Texts in another language than the set's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from etude.base.word_lists import read_words
from etude.base.wording import most_frequent
from etude.checks.language.identification import (
    LANGUAGES,
    OWN,
    num_words,
    own_language,
    with_guesses,
)
from etude.checks.material import Material, rows_that
from etude.checks.record import FindingKind, finds
from etude.types import Finding

MOST_NAMED = 4
"""Languages that are named."""
SHORT_WORDS = 8
"""Words below which a text may be a name, a title or a list of them."""
ENDS = (".", "!", "?", "…", ".)", "。", "！", "？")
QUOTES = ('"', "“", "„", "«", "‘", "'")
_ASKING = read_words(__file__, "asking.yaml")["words"] | {name.casefold() for name in LANGUAGES.values()}
"""Words of an input that ask for another language."""


@finds(FindingKind("language", "warning", "inputs, and free answers, in another language than the others"))
def wrong_language(material: Material) -> Iterator[Finding]:
    """Inputs, and free answers, in a language that nearly none of the others are in."""
    yield from _of_part(material, "input", material.inputs, material.input_languages)
    if material.free:
        yield from _of_part(material, "answer", material.outputs, material.output_languages)


def is_unasked(material: Material, row: int) -> bool:
    """Whether the input of a row asks for no other language."""
    return _ASKING.isdisjoint(material.plain_inputs[row].split())


def _of_part(
    material: Material, part: str, texts: Sequence[str], languages: Sequence[str | None]
) -> Iterator[Finding]:
    own, others = _own(texts, languages)
    found = {row: name for row, name in others.items() if is_unasked(material, row)}
    if own is None or not found:
        return
    named = most_frequent(Counter(found.values()), MOST_NAMED)
    show = material.shown_input if part == "input" else material.shown_output
    yield material.finding(
        "language",
        "warning",
        list(found),
        f"{rows_that('have', len(found), len(texts))} an {part} in another language than the set's own, {own}: "
        f"{named}.",
        "Translate or delete them, unless requests in that language are expected.",
        evidence=(show(row) for row in found),
    )


def _own(texts: Sequence[str], languages: Sequence[str | None]) -> tuple[str | None, Mapping[int, str]]:
    """The set's own language, and the rows in others; none if these are too many to be exceptions."""
    own = own_language(languages, texts)
    others = {
        row: language
        for row, language in enumerate(languages)
        if own and language and language != own and _is_sentence(texts[row], language)
    }
    num_own = list(with_guesses(texts, languages)).count(own) if others else 0
    return own, others if len(others) <= (1 - OWN) * (len(others) + num_own) else {}


def _is_sentence(text: str, language: str) -> bool:
    """Whether a text is long, or a short one may be a sentence: no name, title, list or quotation."""
    if num_words(text) >= SHORT_WORDS:
        return True
    words = text.split()
    named = 2 * sum(word[:1].isupper() for word in words) >= len(words) and language != "German"
    quoted = text.lstrip().startswith(QUOTES)
    listed = 3 * text.count(",") >= len(words)
    return text.rstrip().endswith(ENDS) and not (named or quoted or listed)
