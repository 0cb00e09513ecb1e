"""What counts as the same text: case, punctuation and encoding do not part two texts, signs and
marks do.
"""

import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.text.normal_forms import normalise, to_canonical

SIGNS = "+-*/!#%=<>^|~$()[]{}.,'´`−×÷😀👍🏽❤\ufe0f\u200d½²\u0301\u093e\u20e3"
TEXTS = st.text() | st.text(st.sampled_from("aB1 2ß漢é" + SIGNS))


def test_normalising_takes_out_case_and_punctuation() -> None:
    assert normalise("  Hello,   WORLD -- straße! ") == "hello world strasse"
    assert normalise("?!") == ""


@given(TEXTS)
def test_a_normal_form_is_its_own(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    assert to_canonical(to_canonical(text)) == to_canonical(text)


def _is_raised(char: str) -> bool:
    """Whether its compatible form says something else: 10² is not 102."""
    return unicodedata.decomposition(char).startswith(("<super>", "<sub>", "<fraction>"))


@given(TEXTS, st.sampled_from(["NFC", "NFD", "NFKC"]))
def test_the_encoding_of_a_character_parts_no_texts(text: str, form: str) -> None:
    plain = "".join(char for char in text if form != "NFKC" or not _is_raised(char))
    assert to_canonical(unicodedata.normalize(form, plain)) == to_canonical(plain)  # type: ignore[arg-type]


RAISED = "".join(char for char in map(chr, range(0x2070, 0x209D)) if char.isalpha())
"""Raised and lowered letters, which keep their form."""


@given(
    st.text(
        st.characters(categories=("L", "Nd", "P", "Z"), exclude_characters="%‰" + RAISED),
        max_size=30,
    )
)
def test_without_signs_the_rule_is_casefold_and_one_space_for_every_run_of_others(
    text: str,
) -> None:
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if not any(unicodedata.category(char)[0] in "MS" for char in plain):
        assert normalise(text) == re.sub(r"\W+", " ", plain).strip()
        if normalise(text) and not re.search("[-‐‑–*/!#%‰]", plain):
            assert to_canonical(text) == normalise(text)


@pytest.mark.parametrize(
    "apart",
    [
        ["3 + 5 = ?", "3 - 5 = ?", "3 * 5 = ?", "3 / 5 = ?", "3 5"],
        ["What is -5 + 3?", "What is 5 + 3?"],
        ["2 * (3 + 4)", "(2 * 3) + 4"],
        ["a - b", "a / b", "a * b", "a b", "!a && b", "a || b", "a != b", "a == b"],
        ["price < 10", "price > 10", "price 10", "10% price"],
        ["Convert $5 to €", "Convert €5 to $"],
        ["C", "C++", "C#", "A-"],
        ["👍", "👎", "👍🏽", "", "?!", "...", "great", "great 👍"],
        ["लड़का", "लड़की"],
        ["10²", "102", "½", "1 2"],
    ],
)
def test_signs_and_marks_part_texts(apart: list[str]) -> None:
    assert len({to_canonical(text) for text in apart}) == len(apart)


@pytest.mark.parametrize(
    "alike",
    [
        ["3 - 5 = ?", "3-5=", "3 – 5 =", "3 − 5 = !"],
        ["3*5", "3 × 5", "(3 * 5".strip("(")],
        ["check-in, please!", "Check in please", "CHECK - IN -- please..."],
        ["don't", "don’t", "don´t", "Don`t"],
        ["I love it ❤", "I love it! ❤\ufe0f"],
        ["Is it COVID-19?", "is it covid 19"],
        ["Over 18+ only", "over 18 only"],
        ["It is $5.", "it is €5"],
        [":)", ":-) :-)"],
        ["**Yes**, and/or no #1", "yes and or no 1"],
    ],
)
def test_punctuation_parts_no_texts(alike: list[str]) -> None:
    assert len({to_canonical(text) for text in alike}) == 1


@pytest.mark.parametrize(
    "bait", ["<", "-", "- ", "1-", "(", "a+", "😀", "\u0301", "e\u0301", "!", "1 ", "½", "-("]
)
def test_a_long_text_takes_a_time_in_proportion(bait: str) -> None:
    began = time.process_time()
    to_canonical(bait * 60_000)
    assert time.process_time() - began < 2, "quadratic growth takes many seconds"
