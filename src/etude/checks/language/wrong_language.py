"""Texts in another language or script than the set's own, and what is looked for in English texts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from etude.base.wording import most_frequent
from etude.checks.language.identification import FUNCTION_WORDS, LEAST_TOLD, OWN, is_far, own_language
from etude.checks.language.stray import KNOWN, Strays
from etude.checks.material import Material, rows_that
from etude.checks.record import FindingKind, finds
from etude.checks.safety.hostile_words import COVERED
from etude.checks.style.features import GREETED
from etude.text.lexicon import words
from etude.types import Finding

LEAST_FOREIGN = 5
"""Texts in other languages than English, from which it is said what was not looked for."""
FOREIGN_SHARE = 0.05
"""The same as a share of the texts whose language is told."""
LONG_WORDS = 12
"""Words from which the language of nearly every text in a known one is told."""
UNKNOWN = 0.1
"""Share of such texts that are told, below which a set is taken to be in a language that is not known."""
MOST_NAMED = 4
"""Languages that are named."""
_ASKING = frozenset(name.casefold() for name in FUNCTION_WORDS) | words(
    "russian ukrainian greek hebrew arabic hindi bengali tamil thai korean japanese chinese mandarin latin "
    "language translate translated translation deutsch français español italiano português nederlands svenska "
    "dansk polski türkçe suomi română übersetze übersetzen übersetzung traduire traduis traduisez traduction traduce "
    "traducir traducción traduci traduzione traduza tradução vertaal vertaling översätt englisch französisch spanisch "
    "italienisch portugiesisch niederländisch polnisch türkisch russisch anglais allemand espagnol italien portugais "
    "néerlandais polonais russe inglés francés alemán portugués inglese francese tedesco spagnolo portoghese inglês "
    "francês alemão espanhol engels frans duits spaans italiaans engelska tyska franska spanska engelsk tysk fransk "
    "angielski angielsku niemiecku francusku ingilizce almanca fransızca englanniksi saksaksi engleză germană franceză"
)
"""Words of an input that ask for another language."""


@finds(
    FindingKind(
        "language", "warning", "inputs, and free answers, in another language or script than the others"
    )
)
def wrong_language(material: Material) -> Iterator[Finding]:
    """Inputs, and free answers, in a language or script that nearly none of the others are in."""
    yield from _of_part(material, "input", material.inputs, material.plain_inputs, material.input_languages)
    if material.free:
        yield from _of_part(
            material, "answer", material.outputs, material.plain_outputs, material.output_languages
        )


@finds(
    FindingKind("english_only", "note", "what was not looked for in texts of other languages", safety=True)
)
def english_only(material: Material) -> Iterator[Finding]:
    """Says of texts that are not in English what was not looked for in them."""
    texts, plain, told, part = (
        (material.outputs, material.plain_outputs, material.output_languages, "answer")
        if material.free
        else (material.inputs, material.plain_inputs, material.input_languages, "input")
    )
    of_all = material.answers_language if material.free else material.inputs_language
    counts = Counter(language for language in told if language)
    least = max(LEAST_FOREIGN, FOREIGN_SHARE * counts.total())
    others = counts.total() - counts.pop("English", 0)
    unseen = " and were not looked for there"
    if others >= least:
        named = most_frequent(counts, MOST_NAMED)
        own, _ = _own(texts, plain, told)
        about = f"At least {rows_that('have', others, len(told))} an {part} in another language than English ({named})."
        about = f"The {part}s are in {own}." if own not in (None, "English") else about
    elif of_all not in (None, "English"):  # short texts, told together
        about, counts, others = f"The {part}s are in {of_all}.", Counter({of_all: len(told)}), len(told)
    elif _is_unknown(material, told):
        about, unseen = (
            f"The language of the {part}s cannot be told.",
            " alone: in another language they go unseen",
        )
    else:
        return
    what = "Advice on health, law and money, polite and rude words, " if material.free else ""
    what += "greetings, " if material.free and (not others or not GREETED.issuperset(counts)) else ""
    what += "insults and threats, " if not others or not COVERED.issuperset(counts) else ""
    what = f"{what}names, dates of birth and details of health"
    yield material.finding(
        "english_only",
        "note",
        [],
        f"{about} {what[:1].upper()}{what[1:]} are known by English words{unseen}.",
        "Have them read for these by somebody who knows the language.",
        numbers={"other_languages": others, "rows": 0, "of": len(told)},
    )


def is_unasked(material: Material, row: int) -> bool:
    """Whether the input of a row asks for no other language."""
    return _ASKING.isdisjoint(material.plain_inputs[row].split())


def _is_unknown(material: Material, told: Sequence[str | None]) -> bool:
    """Whether the language of nearly no longer text is told, and of nearly no input."""
    if len(told) < LEAST_TOLD or sum(map(bool, material.input_languages)) >= UNKNOWN * len(told):
        return False
    texts = material.plain_outputs if material.free else material.plain_inputs
    long = [row for row, text in enumerate(texts) if len(text.split()) >= LONG_WORDS]
    return len(long) >= LEAST_TOLD and sum(told[row] is not None for row in long) < UNKNOWN * len(long)


def _of_part(
    material: Material, part: str, texts: Sequence[str], plain: Sequence[str], told: Sequence[str | None]
) -> Iterator[Finding]:
    own, others = _own(texts, plain, told)
    found = {row: name for row, name in others.items() if is_unasked(material, row)}
    if own is None or not found:
        return
    named = most_frequent(Counter(found.values()), MOST_NAMED)
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


def _own(
    texts: Sequence[str], plain: Sequence[str], told: Sequence[str | None]
) -> tuple[str | None, Mapping[int, str]]:
    """The set's own language, and the rows in others; none where these are so many that they are no exception.

    Short texts are not told by themselves, so that nearly all that are told may be in one of two languages; a short
    one that holds a word of the own language counts as in it.
    """
    own = own_language(told)
    others = dict(_others(texts, plain, told, own)) if own else {}
    if own is None or not others:
        return own, {}
    known = KNOWN.get(own, frozenset())
    num_own = sum(
        language == own or (language is None and not known.isdisjoint(text.split()))
        for language, text in zip(told, plain, strict=True)
    )
    return (None, {}) if len(others) > (1 - OWN) * (len(others) + num_own) else (own, others)


def _others(
    texts: Sequence[str], plain: Sequence[str], told: Sequence[str | None], own: str
) -> Iterator[tuple[int, str]]:
    """(row, language) of the texts that are surely not in the set's own."""
    strays = Strays(own, (text for text, language in zip(plain, told, strict=True) if language == own))
    for row, (language, text) in enumerate(zip(told, plain, strict=True)):
        if language and language != own and is_far(text, language, own):
            yield row, language
        elif language != own and (stray := strays.language_of(texts[row], text)):
            yield row, stray
