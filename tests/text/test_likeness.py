"""Token F1 and SARI equal their published examples and a second implementation
(bench/rescore.py).
"""

import pytest
import rescore
from hypothesis import given
from hypothesis import strategies as st

from etude.metrics import Metric
from etude.text.likeness import sari, token_f1
from etude.types import Example, Message
from test_metrics import answer

WORDS = st.lists(
    st.sampled_from(["a", "The", "cat.", "sat", "on", "mats", "95", "-5", "!"]), max_size=9
).map(" ".join)


def test_sari_is_that_of_the_example_of_evaluate() -> None:
    references = [
        "About 95 species are currently known.",
        "About 95 species are now accepted.",
        "95 species are now accepted.",
    ]
    result = sari(
        "About 95 species are currently accepted.", "About 95 you now get in.", references
    )
    assert 100 * result == pytest.approx(26.953601953601954, abs=1e-9)


@given(WORDS, WORDS, st.lists(WORDS, min_size=1, max_size=3))
def test_sari_equals_the_second_implementation(
    source: str, text: str, references: list[str]
) -> None:
    assert sari(source, text, references) == pytest.approx(
        rescore.sari(source, text, references), abs=1e-9
    )


@given(WORDS, WORDS)
def test_token_f1_equals_the_second_implementation(text: str, wanted: str) -> None:
    assert token_f1(text, wanted) == pytest.approx(rescore.squad_f1(text, wanted), abs=1e-9)


@given(WORDS.map(lambda text: " ".join(sorted(set(text.lower().split())))), WORDS)
def test_the_wanted_text_scores_one(source: str, wanted: str) -> None:
    assert sari(source, wanted, [wanted]) == pytest.approx(1)
    assert token_f1(wanted, wanted) == 1


def test_token_f1_counts_words_as_squad_does() -> None:
    assert token_f1("The Norman conquest", "norman Conquest!") == 1
    assert token_f1("in the 10th century", "10th and 11th centuries") == pytest.approx(
        2 * 1 / (3 + 4)
    )
    assert token_f1("", "something") == 0
    assert token_f1("the", "a") == 1, "articles alone are no words"


def test_the_likest_of_several_right_answers_counts() -> None:
    row = Example("r", (Message("user", "When?"),), "in 1066", ("1066 AD", "the year 1066"))
    assert Metric("token_f1", "answer").score(row, answer("1066 AD")).value == 1
    assert "token_f1" in Metric("chrf", "answer").score(row, answer("1066")).other_metrics
    assert "sari" in Metric("chrf", "rewrite").score(row, answer("1066")).other_metrics
