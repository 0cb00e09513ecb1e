"""Answers that are in another language than their input, in a set of several languages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from itertools import chain, islice

from etude.checks.language.identification import LEAST_TOLD, MOST_TEXT, language_of, own_language
from etude.checks.language.stray import KNOWN, MOST_READ, USUAL, USUAL_LEAST
from etude.checks.language.wrong_language import is_unasked
from etude.checks.material import Material, rows_that
from etude.checks.record import FREE, FindingKind, finds
from etude.checks.rows.quotations import QUOTED
from etude.text.normal_forms import normalise
from etude.types import Finding

SAME = 0.9
"""Share of the rows whose two languages are told that have one for both, from which the others stand out."""
LEAST_KINDS = 2
"""Different words of a language with which a short text is told to be in it."""
LEAD = 3
"""So many times as many as any other language has: no word of another where they are two."""
LEAST_SHARE = 0.2
"""Share of the text's words that they are, at least."""
_SENTENCE = re.compile(r"[\n.!?:;。！？：]+")
_SPEAKERS: dict[str, list[str]] = {}
for _language, _known in KNOWN.items():
    for _word in _known:
        _SPEAKERS.setdefault(_word, []).append(_language)


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
    told = {
        row: pair
        for row in range(len(material.rows))
        if (pair := _languages(material, row)) and (pair[0] == pair[1] or is_unasked(material, row))
    }
    differ = {row: pair for row, pair in told.items() if pair[0] != pair[1]}
    if len(told) < LEAST_TOLD or not _are_several(material, told) or len(differ) > (1 - SAME) * len(told):
        return
    usual = _usual(material, told, {language for pair in differ.values() for language in pair})
    found = {row: pair for row, pair in differ.items() if _is_other(material, row, *pair, usual)}
    if found:
        named = Counter(f"{given} to {asked} input" for asked, given in found.values()).most_common(4)
        yield material.finding(
            "answer_language",
            "warning",
            list(found),
            f"{rows_that('have', len(found), len(material.rows))} an answer in another language than the input, where "
            f"of the {len(told):,} rows whose two languages are told nearly all have one for both: "
            f"{', '.join(f'{pair} in {number:,}' for pair, number in named)}.",
            "Write the answer in the language of the input, unless another one was asked for.",
            evidence=material.both(found),
        )


def _languages(material: Material, row: int) -> tuple[str, str] | None:
    """Of the last turn and of the answer; None where one is not told."""
    given = _told(material.outputs[row], material.output_languages[row])
    asked = given and _told(material.rows[row].input[-1].content)
    return (asked, given) if asked and given else None


def _told(text: str, known: str | None = None) -> str | None:
    """The language of a text without what it quotes; `known` is that of a text that quotes nothing."""
    bare = QUOTED.sub(" ", text[: 4 * MOST_TEXT])
    plain = normalise(bare)
    return (known if bare == text else None) or language_of(plain) or _of_few(plain.split())


def _of_few(words: list[str]) -> str | None:
    """The language of a short text, by words of grammar and courtesy; None where unsure."""
    hits = Counter(language for word in {*words} for language in _SPEAKERS.get(word, ()))
    (language, kinds), (_, next_kinds) = [*hits.most_common(2), ("", 0), ("", 0)][:2]
    enough = kinds >= max(LEAST_KINDS, LEAST_SHARE * len(words))
    return language if enough and kinds >= LEAD * next_kinds else None


def _are_several(material: Material, told: Mapping[int, tuple[str, str]]) -> bool:
    """Whether the answers are in several languages: all of which it is told, as `language` asks, or those of `told`."""
    all_told = [language for language in material.output_languages if language]
    parted = len(all_told) >= LEAST_TOLD and own_language(all_told) is None
    return parted or own_language(given for _, given in told.values()) is None


def _usual(
    material: Material, told: Mapping[int, tuple[str, str]], languages: Set[str]
) -> Mapping[str, frozenset[str]]:
    """Of each language its known words, and those that stand often in the set's answers in it."""
    usual = {}
    for language in languages:
        rows = islice((row for row, pair in told.items() if pair == (language, language)), MOST_READ)
        texts = [{*material.plain_outputs[row].split()} for row in rows]
        least = max(USUAL_LEAST, USUAL * len(texts))
        seen = Counter(chain.from_iterable(texts))
        often = frozenset(word for word, number in seen.items() if number >= least)
        usual[language] = often | KNOWN.get(language, frozenset())
    return usual


def _is_other(
    material: Material, row: int, asked: str, given: str, usual: Mapping[str, frozenset[str]]
) -> bool:
    """Whether each text holds words that the other's language has not, and no sentence in it."""
    texts = (material.rows[row].input[-1].content, asked, given), (material.outputs[row], given, asked)
    return all(_speaks(text, own, usual[other]) and not _holds(text, other) for text, own, other in texts)


def _speaks(text: str, language: str, others: frozenset[str]) -> bool:
    """Whether a text holds words of a language, known or of its script, that are none of another's."""
    known = KNOWN.get(language)
    found = set(normalise(QUOTED.sub(" ", text)).split())
    return known is None or len(found & known - others) >= LEAST_KINDS


def _holds(text: str, language: str) -> bool:
    return any(_told(sentence) == language for sentence in _SENTENCE.split(text))
