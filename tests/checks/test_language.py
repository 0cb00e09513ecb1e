"""Languages and scripts: told where the evidence is strong, not told else; a stray one in a set is
named.
"""

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_checks import create_pairs

from cases import read_cases
from etude.checks.language.identification import (
    find_main_language,
    guess_language,
    identify_language,
)
from etude.checks.language.wrong_language import check_answer_language, check_language
from etude.checks.safety.personal import check_review
from pairs import find_in, find_rows

CASES = read_cases(__file__)
SENTENCES = CASES["sentences"]


@pytest.mark.parametrize("language", SENTENCES)
def test_the_language_of_a_sentence(language: str) -> None:
    assert identify_language(SENTENCES[language]) == language


@given(
    st.text(max_size=200),
    st.sampled_from(["SELECT name FROM t WHERE x = 3", "Anna Berg, Oslo", "3,14 kg"]),
)
def test_nothing_is_told_of_single_words_and_code(text: str, code: str) -> None:
    assert identify_language(code) is None
    assert text.isascii() is False or identify_language(" ".join(text.split()[:3])) is None


@pytest.mark.parametrize("language", [name for name in SENTENCES if name != "English"])
def test_a_text_in_another_language_is_named_in_its_part(language: str) -> None:
    foreign = SENTENCES[language]
    answer = "We will tell you when it is here."
    pairs = [*create_pairs(40), (foreign, answer), (create_pairs()[50][0], foreign)]
    findings = find_in(pairs, check_language)
    assert [finding.excerpts[0].column for finding in findings] == ["input", "output"]
    assert find_rows(findings) == {40, 41}
    assert all(language in one.message for one in findings)


SHORT = CASES["short"]
"""Sentences of five to eight words, and their language."""
NAMES = CASES["names"]


@pytest.mark.parametrize("own", ["English", "German", "French"])
def test_a_short_sentence_in_another_language_is_named_and_a_name_is_not(own: str) -> None:
    base = [(f"Number {position}?", f"{SENTENCES[own]} {position}") for position in range(80)]
    foreign = [text for text, language in SHORT.items() if language != own]
    pairs = [*base, *[("Well?", text) for text in foreign], *[("Which?", text) for text in NAMES]]
    assert find_rows(find_in(pairs, check_language)) == set(range(80, 80 + len(foreign)))


def test_an_answer_in_the_language_that_was_asked_for_is_right() -> None:
    questions = "Please translate into French what I have written to you, so that they can read it."
    assert not len(find_in([*create_pairs(40), (questions, SENTENCES["French"])], check_language))


def test_a_set_in_two_languages_has_none_of_its_own() -> None:
    half = [(f"{number}: {SENTENCES['German']}", SENTENCES["German"]) for number in range(40)]
    assert not len(find_in([*create_pairs(40), *half], check_language))


def test_a_second_language_of_short_texts_is_no_exception() -> None:
    own = [(f"{SENTENCES['French']} {position}", f"{position}.") for position in range(60)]
    short = [text for text, language in SHORT.items() if language == "German"]
    few, many = (
        [(f"{place}: {short[place % 2]}", f"{place}.") for place in range(num)] for num in (8, 60)
    )
    assert find_rows(find_in([*own, *few], check_language)) == set(range(60, 68))
    assert not len(find_in([*own, *many], check_language))


def test_a_few_stray_texts_are_named_where_nearly_all_are_too_short_to_be_told() -> None:
    own = [(f"{SENTENCES['French']} {position}", f"{position}.") for position in range(20)]
    short = [(f"Où est le colis {place} ?", f"{place}.") for place in range(180)]
    stray = [
        (text, "0.") for text, language in SHORT.items() if language not in ("French", "English")
    ]
    findings = find_rows(find_in([*own, *short, *stray], check_language))
    assert findings == set(range(200, 200 + len(stray)))


def test_labels_have_no_language() -> None:
    pairs = [
        (question, SENTENCES["Danish" if position == 3 else "English"])
        for position, (question, _) in enumerate(create_pairs(60))
    ]
    assert len(find_in(pairs, check_language))
    assert not len(find_in(pairs, check_language, "classify"))


def test_languages_of_equal_number_are_told_in_one_order() -> None:
    others = [(SENTENCES[name], "Yes.") for name in ("French", "German")]
    english = [(SENTENCES["English"], "Yes.")] * 30
    text = [
        find_in([*english, *rows], check_language).items[0].message
        for rows in (others, others[::-1])
    ]
    assert text[0] == text[1]
    assert text[0].endswith("English: French in 1, German in 1.")


def create_replies(num: int = 40) -> list[tuple[str, str]]:
    """Questions and answers in German, French and Spanish, some of them short."""
    short = {
        "German": "Bitte warten Sie noch.",
        "French": "Je vous en prie, merci.",
        "Spanish": "Ya está en su casa.",
    }
    return [
        (f"{SENTENCES[language]} {n}", f"{SENTENCES[language] if n % 2 else text} {n}")
        for n, (language, text) in product(range(num), short.items())
    ]


def test_an_answer_in_another_language_than_its_input_is_named_where_nearly_all_are_in_it() -> None:
    wrong = [
        (SENTENCES["German"], SENTENCES["French"]),
        ("Wo ist denn meine Lieferung geblieben?", "Nous avons bien reçu votre message."),
        (SENTENCES["Spanish"], SENTENCES["English"]),
        (SENTENCES["French"], SENTENCES["Greek"]),
    ]
    findings = find_in([*create_replies(), *wrong], check_answer_language)
    assert find_rows(findings) == set(range(120, 124))
    assert "French answer to German input in 2" in next(iter(findings)).message
    assert find_rows(
        find_in([*create_replies(), *wrong], check_answer_language, "rewrite")
    ) == find_rows(findings)
    assert not len(find_in([*create_replies(), *wrong], check_answer_language, "extract"))


@pytest.mark.parametrize(
    "pair",
    [
        (
            "Was heißt denn das hier auf Deutsch?",
            f"Das heißt auf Englisch: “{SENTENCES['English']}”",
        ),
        (f"Wie kann ich das auf Spanisch sagen? {SENTENCES['German']}", SENTENCES["Spanish"]),
        (
            f"Résumez ce que je vous envoie : {SENTENCES['English']} {SENTENCES['English']}",
            SENTENCES["French"],
        ),
        (SENTENCES["German"], f"{SENTENCES['French']} {SENTENCES['German']}"),
        (SENTENCES["German"], "```\nthe and of a to in is that it for was with\n```"),
        (SENTENCES["German"], "SELECT a FROM b"),
    ],
)
def test_what_is_quoted_asked_for_or_in_both_languages_is_right(pair: tuple[str, str]) -> None:
    assert not len(find_in([*create_replies(), pair], check_answer_language))


def test_rows_that_ask_for_a_translation_do_not_keep_the_others_from_being_judged() -> None:
    asking = [
        (f"Auf Spanisch, bitte, Nummer {position}: {SENTENCES['German']}", SENTENCES["Spanish"])
        for position in range(30)
    ]
    wrong = (SENTENCES["German"], SENTENCES["French"])
    assert find_rows(find_in([*create_replies(), *asking, wrong], check_answer_language)) == {150}


def test_a_set_in_two_languages_is_judged_though_questions_of_one_are_told_alone() -> None:
    """Short questions in Spanish are not told: of the rows that can be judged nearly all are
    English.
    """
    english = [
        (f"{SENTENCES['English']} {position}", f"{SENTENCES['English']} {position}")
        for position in range(60)
    ]
    spanish = [(f"Precio {place}?", f"{SENTENCES['Spanish']} {place}") for place in range(40)]
    wrong = (SENTENCES["English"], SENTENCES["French"])
    assert find_rows(find_in([*english, *spanish, wrong], check_answer_language)) == {100}


def test_translations_and_sets_of_one_language_have_no_other_language_of_answers() -> None:
    swapped = [(question, SENTENCES["English"]) for question, _ in create_replies()]
    assert not len(find_in(swapped, check_answer_language))
    assert not len(find_in([*create_replies()[::2], *swapped[1::2]], check_answer_language))
    assert not len(
        find_in(
            [*create_pairs(80), (SENTENCES["German"], "We will have it for you.")],
            check_answer_language,
        )
    )


TICKETS = CASES["tickets"]
ASKED = (
    "Where is my parcel?",
    "The app is slow on Tuesday.",
    "Did Maria Lopez call?",
    "Is it in the box?",
    "Can you send it to me?",
)


def test_short_texts_tell_together_what_none_tells_alone() -> None:
    def together(texts: Sequence[str]) -> str | None:
        return find_main_language([guess_language(text, None) for text in texts])

    short = [text for text in TICKETS if len(text.split()) < 5] * 5
    assert {identify_language(text) for text in short} == {None}
    assert together(short) == "German"
    assert together(short[:19]) is None
    assert together(ASKED * 5) == "English"
    assert together([text for row in range(40) for text in (*TICKETS[:6], *ASKED[:2])]) is None
    assert together([]) is None


def test_capitals_of_short_german_texts_are_no_names() -> None:
    pairs = [(text, f"class_{row % 2}") for row, text in enumerate(TICKETS * 4)]
    assert not [
        finding
        for finding in find_in(pairs, check_review, "classify")
        if finding.kind == "review_name"
    ]
    greeted = [f"Hi Maria, {text}" for text in ASKED * 5]
    (named,) = find_in([(text, "a") for text in greeted], check_review, "classify")
    assert len(named.rows) == 25
    greeted = [f"Hi Maria, {text}" for text in TICKETS * 4]
    assert not find_in([(text, "a") for text in greeted], check_review, "classify")
