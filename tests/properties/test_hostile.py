"""Insults and threats: named in many languages, ordinary words of other languages are not."""

import pytest
from test_checks import create_pairs

from cases import read_cases
from etude.checks.safety.phrases import (
    ALWAYS_INSULTING,
    INSULTING_IN,
    check_insults,
    check_threats,
    find_threat,
)
from etude.text.normal_forms import normalise
from pairs import find_in, find_rows

CASES = read_cases(__file__)
THREATS = CASES["threats"]
HARMLESS = CASES["no_threats"]


@pytest.mark.parametrize("text", THREATS)
def test_a_threat_is_graver_in_an_answer_and_marked(text: str) -> None:
    findings = find_in(
        [*create_pairs(3), (text, "Please keep calm."), ("Well?", text)], check_threats
    )
    assert [(one.severity, one.rows) for one in findings] == [("warning", ("4",)), ("note", ("3",))]
    for one in findings:
        (shown,) = one.excerpts
        ((begin, end),) = shown.spans
        assert shown.text == text
        assert find_threat(text[begin:end], normalise(text))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_sounds_like_a_threat_is_none(text: str) -> None:
    assert not find_threat(text, normalise(text))


@pytest.mark.parametrize("text", CASES["insults"])
def test_an_insult_is_one_in_a_set_of_any_language_and_marked(text: str) -> None:
    (found,) = find_in([*create_pairs(30), ("Who?", text)], check_insults)
    assert found.rows == ("30",)
    (shown,) = found.excerpts
    ((begin, end),) = shown.spans
    word = text[begin:end]
    rest = text[:begin] + text[end:]
    assert find_rows(find_in([*create_pairs(30), ("Who?", word)], check_insults)) == {30}
    assert not find_rows(find_in([*create_pairs(30), ("Who?", rest)], check_insults))


def test_every_insult_of_an_answer_is_marked() -> None:
    text = "An IDIOT, and\nan idiot again; idiotproof it is not."
    (found,) = find_in([*create_pairs(30), ("Who?", text)], check_insults)
    (shown,) = found.excerpts
    assert [text[begin:end] for begin, end in shown.spans] == ["IDIOT", "idiot"]


FRENCH = "Le retard est de deux jours, et nous vous prions de nous en excuser pour ce colis."
SWEDISH = "Den är tyvärr slut för i dag, men vi räknar med att den kommer om en vecka."


@pytest.mark.parametrize("text", [FRENCH, SWEDISH, "Retard.", "Slut."])
def test_an_ordinary_word_of_the_set_s_language_is_no_insult(text: str) -> None:
    set_in = SWEDISH if "slut" in text.casefold() else FRENCH
    assert not len(
        find_in(
            [("Où ?", f"{set_in} {place}") for place in range(30)] + [("?", text)], check_insults
        )
    )


@pytest.mark.parametrize("text", ["What a retard he is, and that is not all of it.", "Retard."])
def test_the_same_word_insults_in_english(text: str) -> None:
    assert find_rows(find_in([*create_pairs(30), ("Who?", text)], check_insults)) == {30}


def test_words_stand_as_they_are_compared_and_in_one_list() -> None:
    at_times = frozenset().union(*INSULTING_IN.values())
    assert not ALWAYS_INSULTING & at_times
    assert {word for word in ALWAYS_INSULTING | at_times if normalise(word) != word} == set()


@pytest.mark.parametrize("quoted", ['"{}"', "“{}”", "„{}“", "«{}»", "\n> {}\n"])
def test_what_is_quoted_is_said_by_somebody_else(quoted: str) -> None:
    answers = [quoted.format(words) for words in ("you idiot", "I will kill you!")]
    rows = [("What did he say?", f"He wrote {answer} and was blocked.") for answer in answers]
    assert not find_in([*create_pairs(30), *rows], check_insults)
    assert not find_in([*create_pairs(30), *rows], check_threats)
    (found,) = find_in(
        [*create_pairs(30), ("Who?", f"He wrote {answers[0]} and is an idiot.")], check_insults
    )
    assert found.rows == ("30",)
