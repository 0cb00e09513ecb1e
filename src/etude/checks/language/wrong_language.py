"""Texts in a different language from most others, or from their own input."""

import re
from collections import Counter
from collections.abc import Iterator

from etude.base import formatting, word_lists
from etude.checks.kinds import FREE, FindingKind, finds
from etude.checks.language import identification
from etude.checks.language.identification import MIN_TEXTS, find_main_language, identify_language
from etude.checks.material import Material, format_rows
from etude.checks.rows.quotations import QUOTED
from etude.types import Column, Finding

MAX_NAMES = 4  # languages, or pairs of them, in a message
SHORT_WORDS = 8  # words below which a text may be a name, a title or a list of them
# Share of rows with the same language in both texts from which the other rows are exceptions.
SAME_SHARE = 0.9
ENDS = (".", "!", "?", "…", ".)", "。", "！", "？")
QUOTES = ('"', "“", "„", "«", "‘", "'")
# Words of an input that ask for another language.
_ASKING = word_lists.read_words(__file__, "asking.yaml")["words"]
_ASKING |= {name.casefold() for name in identification.LANGUAGES.values()}
_SENTENCE = re.compile(r"[\n.!?:;。！？：；]+")


@finds(
    FindingKind(
        "language", "warning", "inputs and free-text answers in a different language from most"
    )
)
def check_language(material: Material) -> Iterator[Finding]:
    """Find inputs, and free answers, in a language that is rare in the set."""
    yield from _check_column(material, "input")
    if material.is_free_text:
        yield from _check_column(material, "output")


def _check_column(material: Material, column: Column) -> Iterator[Finding]:
    is_input = column == "input"
    texts = material.inputs if is_input else material.outputs
    languages = material.input_languages if is_input else material.output_languages
    main = languages.main
    others = {
        row: language
        for row, language in enumerate(languages.identified)
        if main and language and language != main and _is_sentence(texts[row], language)
    }
    num_main = languages.guessed.count(main) if others else 0
    if len(others) > (1 - identification.MAIN_SHARE) * (len(others) + num_main):
        return  # too many to be exceptions
    others = {row: language for row, language in others.items() if _asks_no_language(material, row)}
    if not others:
        return
    listed = formatting.list_most_frequent(Counter(others.values()), MAX_NAMES)
    show = material.show_input if is_input else material.show_output
    yield material.finding(
        "language",
        "warning",
        list(others),
        f"{format_rows('have', len(others), len(texts))} an {'input' if is_input else 'answer'} "
        f"in a different language from most, which are in {main}: {listed}.",
        "Translate or delete these rows, unless requests in that language are expected.",
        excerpts=(show(row) for row in others),
    )


def _asks_no_language(material: Material, row: int) -> bool:
    """Whether the input of a row does not ask for another language."""
    return _ASKING.isdisjoint(material.plain_inputs[row].split())


def _is_sentence(text: str, language: str) -> bool:
    """Whether a text is long, or is short but may be a sentence, not a name, title, list or
    quotation.
    """
    if identification.count_words(text) >= SHORT_WORDS:
        return True
    words = text.split()
    is_name = 2 * sum(word[:1].isupper() for word in words) >= len(words) and language != "German"
    is_quotation = text.lstrip().startswith(QUOTES)
    is_list = 3 * text.count(",") >= len(words)
    return text.rstrip().endswith(ENDS) and not (is_name or is_quotation or is_list)


@finds(
    FindingKind(
        "answer_language",
        "warning",
        "answers in a different language from their input, in a set with several languages",
    ),
    tasks=FREE,
)
def check_answer_language(material: Material) -> Iterator[Finding]:
    """Find free answers in a different language from their input, if nearly all other answers match
    their input.

    `check_language` covers sets in one language. Nothing is reported in a set of translations, nor
    for rows that ask for another language or contain sentences in both languages.
    """
    pairs: dict[int, tuple[str, str]] = {}
    for row in range(len(material.rows)):
        of_answer = _identify_unquoted(material.outputs[row])
        of_input = of_answer and _identify_unquoted(material.rows[row].input[-1].content)
        if of_input and of_answer and (of_input == of_answer or _asks_no_language(material, row)):
            pairs[row] = (of_input, of_answer)
    different = {row: pair for row, pair in pairs.items() if pair[0] != pair[1]}
    if len(pairs) < MIN_TEXTS or len(different) > (1 - SAME_SHARE) * len(pairs):
        return
    identified = [language for language in material.output_languages.identified if language]
    is_mixed = len(identified) >= MIN_TEXTS and find_main_language(identified) is None
    if (
        not is_mixed
        and find_main_language([of_answer for _, of_answer in pairs.values()]) is not None
    ):
        return
    rows = {
        row: pair
        for row, pair in different.items()
        if not _has_sentence_of_other(material, row, *pair)
    }
    if rows:
        counts = Counter(
            f"{of_answer} answer to {of_input} input" for of_input, of_answer in rows.values()
        )
        pairs_of_languages = ", ".join(
            f"{pair} in {number:,}" for pair, number in counts.most_common(MAX_NAMES)
        )
        yield material.finding(
            "answer_language",
            "warning",
            list(rows),
            f"{format_rows('have', len(rows), len(material.rows))} an answer in a different "
            "language from the input: "
            f"{pairs_of_languages}. "
            f"The languages are the same in nearly all of the {len(pairs):,} rows in which both "
            "were identified.",
            "Write the answer in the language of the input, unless the input asks for another one.",
            excerpts=material.show_rows(rows),
        )


def _identify_unquoted(text: str) -> str | None:
    return identify_language(QUOTED.sub(" ", text[: 4 * identification.MAX_CHARS]))


def _has_sentence_of_other(material: Material, row: int, of_input: str, of_answer: str) -> bool:
    """Whether the input has a sentence in the answer's language, or the answer has one in the
    input's language.
    """
    texts = (material.rows[row].input[-1].content, of_answer), (material.outputs[row], of_input)
    return any(
        _identify_unquoted(sentence) == language
        for text, language in texts
        for sentence in _SENTENCE.split(text)
    )
