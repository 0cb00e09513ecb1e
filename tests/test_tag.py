"""Extraction by tagging: alignment of values with the text, answers rebuilt in their shape, training that learns."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.methods.tag import compute_f1
from etude.text.answer_spans import AnswerShape, NestedListError, align, flatten

WORDS = st.sampled_from(["red", "blue", "tall", "Anna", "7", "x-ray", "New York"])
ANSWERS = st.fixed_dictionaries(
    {"name": WORDS, "extra": st.fixed_dictionaries({"tags": st.lists(WORDS, max_size=3)})}
)


def collect(answer: Any) -> dict[tuple[str, ...], list[str]]:
    return {path: values for path, values, _ in flatten(answer) if values}


@given(st.lists(ANSWERS, min_size=1, max_size=5))
def test_an_answer_is_rebuilt_from_its_values(answers: list[dict[str, Any]]) -> None:
    shape = AnswerShape.fit(answers)
    for answer in answers:
        assert shape.build(collect(answer)) == answer
    assert AnswerShape.from_json(json.loads(json.dumps(shape.to_json()))) == shape


@pytest.mark.parametrize("absent", [{}, {"who": None}, {"who": ""}])
def test_an_absent_value_is_written_as_the_training_answers_write_it(absent: dict[str, Any]) -> None:
    shape = AnswerShape.fit([{"who": "Anna"}, absent, absent])
    assert shape.build({}) == absent


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_values_of_the_text_are_found_apart_from_each_other(values: list[str]) -> None:
    text = ", then ".join(values)
    spans, missing = align(text, {("v",): values})
    assert not missing
    assert [text[begin:end] for begin, end in spans[("v",)]] == values
    ends = [0, *(end for _, end in spans[("v",)])]
    assert all(begin >= end for (begin, _), end in zip(spans[("v",)], ends, strict=False))


def test_a_longer_value_keeps_its_words() -> None:
    text = "breast cancer and cancer"
    spans, missing = align(text, {("d",): ["cancer", "breast cancer"]})
    assert ([text[slice(*span)] for span in spans[("d",)]], missing) == (["breast cancer", "cancer"], {})


def test_values_that_are_not_in_the_text_are_reported() -> None:
    assert align("the cat", {("a",): ["dog"], ("b",): ["CAT"]}) == ({("b",): [(4, 7)]}, {("a",): ["dog"]})
    assert align("concatenate", {("a",): ["cat"]})[0] == {("a",): [(3, 6)]}
    assert align("a cat in concatenate", {("a",): ["cat"]})[0] == {("a",): [(2, 5)]}


def test_a_list_of_objects_is_refused_by_its_path() -> None:
    with pytest.raises(NestedListError, match="items"):
        list(flatten({"items": [{"a": 1}]}))


def test_f1_counts_each_value_once() -> None:
    fields = (("d",),)
    assert compute_f1([{("d",): ["a", "a", "b"]}], [{("d",): ["a", "b", "c"]}], fields) == pytest.approx(
        4 / 6
    )
    assert compute_f1([{}], [{}], fields) == 1.0
    assert compute_f1([{}], [{("d",): ["a"]}], fields) == 0.0


@pytest.mark.real
def test_the_tagger_learns_names_and_is_the_same_after_saving(tmp_path: Any) -> None:
    import torch

    from etude.index.build import DEFAULT_ENCODER
    from etude.models.classical import load_predictor, save_classical
    from etude.models.local.tagger import Tagger
    from etude.models.registry import Models
    from etude.training.tagging import train_tagger

    draw = random.Random(0)
    people, towns = ("Anna", "Ben", "Carla", "Dirk"), ("Rome", "Oslo", "Lima", "Kyiv")

    def make_row() -> tuple[str, dict[str, Any]]:
        person, town = draw.choice(people), draw.choice(towns)
        text = draw.choice([f"{person} lives in {town}.", f"In {town} you will meet {person} today."])
        return text, {"person": person, "towns": [town]}

    rows = [make_row() for _ in range(120)]
    train, dev = rows[:96], rows[96:]
    models = Models()
    encoder = models.load_encoder(DEFAULT_ENCODER)
    shape = AnswerShape.fit([answer for _, answer in train])
    size, num_tags = encoder.module.config.hidden_size, 1 + 2 * len(shape.fields)
    tagger = Tagger(encoder, shape, shape.fields, torch.zeros(num_tags, size), torch.zeros(num_tags), {})
    gold = [collect(answer) for _, answer in dev]
    texts = [text for text, _ in dev]

    def score(now: Tagger) -> float:
        return compute_f1([values for values, _ in now.extract(texts)], gold, now.fields)

    train_tagger(
        tagger, [text for text, _ in train], [collect(answer) for _, answer in train], 0, tmp_path, score
    )
    assert score(tagger) > 0.95
    predictions = tagger.predict(texts)
    assert json.loads(predictions[0][0]) == dev[0][1]
    again = load_predictor(save_classical(tagger, tmp_path / "saved"), models)
    assert again.predict(texts) == predictions
    long_text = "Nothing here. " * 200 + "Anna lives in Rome."
    assert json.loads(tagger.predict([long_text])[0][0])["person"] == "Anna"
