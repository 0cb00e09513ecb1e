"""Lists of labels as one text, and how well two lists agree."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from etude.text.label_lists import join_labels, measure_overlap, split_labels

LABELS = st.sets(st.text("abc ,;|\n\"[]'é", min_size=1, max_size=5).map(str.strip).filter(bool))


@given(LABELS)
def test_labels_are_read_as_they_were_written(labels: set[str]) -> None:
    text = join_labels(labels)
    assert set(split_labels(text)) == labels
    assert join_labels(split_labels(text)) == text == join_labels(sorted(labels, reverse=True))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", ()),
        ("[]", ()),
        ("joy", ("joy",)),
        ("joy, anger", ("anger", "joy")),
        ("joy; anger, cold", ("anger, cold", "joy")),
        ("b | a|b ", ("a", "b")),
        ('["b", "a"]', ("a", "b")),
        ("[3, 1]", ("1", "3")),
        ("3", ("3",)),
    ],
)
def test_tables_may_separate_labels_in_several_ways(text: str, labels: tuple[str, ...]) -> None:
    assert split_labels(text) == labels


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd"))), min_size=1
    )
)
def test_overlap_is_the_f1_of_each_row(pairs: list[tuple[set[str], set[str]]]) -> None:
    encoder = MultiLabelBinarizer(classes=list("abcd"))
    expected, answered = (encoder.fit_transform(side) for side in zip(*pairs, strict=True))
    oracle = f1_score(expected, answered, average="samples", zero_division=1)
    assert np.mean([measure_overlap(*pair) for pair in pairs]) == pytest.approx(oracle, abs=1e-9)


def test_the_text_is_json() -> None:
    assert json.loads(join_labels(["b", "a", " a "])) == ["a", "b"]
