"""Extraction by tagging: alignment of values with the text, answers rebuilt in their shape,
training that learns.
"""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tagging
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_encoder import tiny_encoder
from test_sealed import filled, fitted_bytes
from tokenizers import normalizers, pre_tokenizers

from etude.assistant import load
from etude.base.typed_json import from_json, to_json
from etude.data.dataset import load_dataset
from etude.data.splits import split
from etude.errors import InputError
from etude.index.build import DEFAULT_ENCODER
from etude.methods import get_methods, leave_out_unfit
from etude.methods.tag import compute_f1
from etude.models.classical import load_predictor, save_classical
from etude.models.gazetteer import Gazetteer
from etude.models.local.tagger import Tagger
from etude.models.registry import Models
from etude.task import load_task
from etude.text.answer_spans import (
    WORD,
    AnswerShape,
    NestedListError,
    align,
    collect_values,
    flatten,
)
from etude.types import Example, Message
from small_task import write_task

NESTED = json.dumps({"theme": "x", "parts": [{"name": "y"}]})
WORDS = st.sampled_from(["red", "blue", "tall", "Anna", "7", "x-ray", "New York"])
ANSWERS = st.fixed_dictionaries(
    {"name": WORDS, "extra": st.fixed_dictionaries({"tags": st.lists(WORDS, max_size=3)})}
)


@given(st.lists(ANSWERS, min_size=1, max_size=5))
def test_an_answer_is_rebuilt_from_its_values(answers: list[dict[str, Any]]) -> None:
    shape = AnswerShape.fit(answers)
    for answer in answers:
        assert shape.build(collect_values(answer)) == answer
    assert from_json(AnswerShape, json.loads(json.dumps(to_json(shape)))) == shape


@pytest.mark.parametrize("absent", [{}, {"who": None}, {"who": ""}])
def test_an_absent_value_is_written_as_the_training_answers_write_it(
    absent: dict[str, Any],
) -> None:
    shape = AnswerShape.fit([{"who": "Anna"}, absent, absent])
    assert shape.build({}) == absent


def test_a_field_that_every_training_answer_has_is_never_left_out() -> None:
    shape = AnswerShape.fit([{"who": "Anna", "tags": ["a"], "year": 1}] * 2)
    assert shape.build({}) == {"who": "", "tags": [], "year": ""}


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_values_of_the_text_are_found_apart_from_each_other(values: list[str]) -> None:
    text = ", then ".join(values)
    spans, missing = align(text, {("v",): values})
    assert not missing
    assert [text[begin:end] for begin, end in spans[("v",)]] == values
    ends = [0, *(end for _, end in spans[("v",)])]
    assert all(begin >= end for (begin, _), end in zip(spans[("v",)], ends, strict=False))


@given(st.lists(WORDS, max_size=2), st.lists(WORDS, min_size=1, max_size=4))
def test_values_are_where_the_reference_of_the_benchmark_labels_words(
    others: list[str], values: list[str]
) -> None:
    text = ", then ".join([*others, *values])
    words = [match.span() for match in WORD.finditer(text)]
    spans = align(text, {("v",): values})[0][("v",)]
    expected = ["O"] * len(words)
    for begin, end in spans:
        for number, (first, _) in enumerate(words):
            if begin <= first < end:
                expected[number] = "B-v" if first == begin else "I-v"
    assert tagging.label_words(text, words, {"v": values}) == expected


def create_tagger() -> Tagger:
    return Tagger(tiny_encoder(), AnswerShape((), ()), (), torch.zeros(1, 32), torch.zeros(1), {})


@pytest.mark.parametrize("name", ["Whitespace", "Metaspace"])
def test_every_word_of_a_long_text_is_in_a_window_with_the_token_of_its_beginning(
    name: str,
) -> None:
    tagger = create_tagger()
    tagger.encoder.tokenizer.backend_tokenizer.pre_tokenizer = getattr(pre_tokenizers, name)()
    words, windows = tagger.split_windows("who says growl here " * 100)
    assert len(windows) > 1
    assert {word for window in windows for word in window.words} == set(range(len(words)))
    for window in windows:  # each word is one token
        assert window.pieces == [*range(1, 1 + len(window.words))]


def test_a_text_whose_words_have_no_tokens_has_no_values() -> None:
    tagger = create_tagger()
    tagger.encoder.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
    assert tagger.extract(["\u200b", "", "who"]) == [({}, 0.0), ({}, 0.0), ({}, 0.0)]


def test_a_longer_value_keeps_its_words() -> None:
    text = "breast cancer and cancer"
    spans, missing = align(text, {("d",): ["cancer", "breast cancer"]})
    assert ([text[slice(*span)] for span in spans[("d",)]], missing) == (
        ["breast cancer", "cancer"],
        {},
    )


def test_values_that_are_not_in_the_text_are_reported() -> None:
    assert align("the cat", {("a",): ["dog"], ("b",): ["CAT"]}) == (
        {("b",): [(4, 7)]},
        {("a",): ["dog"]},
    )
    assert align("concatenate", {("a",): ["cat"]})[0] == {("a",): [(3, 6)]}
    assert align("a cat in concatenate", {("a",): ["cat"]})[0] == {("a",): [(2, 5)]}


def test_an_object_may_be_null_in_some_answers() -> None:
    answers = [{"home": None}, {"home": {"town": "Rome"}}, {"home": None}]
    shape = AnswerShape.fit(answers)
    assert [shape.build(collect_values(answer)) for answer in answers] == answers


def test_a_list_of_objects_is_refused_by_its_path() -> None:
    with pytest.raises(NestedListError, match="items"):
        list(flatten({"items": [{"a": 1}]}))


def test_numbers_and_booleans_are_written_as_such() -> None:
    answers = [
        {"age": 7, "fees": [1200, 0.5], "fresh": True, "code": "7"},
        {"age": None, "code": "08"},
    ]
    shape = AnswerShape.fit(answers)
    assert json.dumps(shape.build(collect_values(answers[0]))) == json.dumps(answers[0])
    assert align("costs 1,200 EUR", {("fees",): ["1200"]})[0] == {("fees",): [(6, 11)]}
    assert shape.build({("fees",): ["1,200"], ("code",): ["12"]})["fees"] == [1200]


def test_training_leaves_an_assistant_that_no_test_row_changes(
    encoder: str, tmp_path: Path
) -> None:
    more = f"encoder: {encoder}\nmethods: [tag]\n"
    task_file = write_task(tmp_path / "task", "extract", num=110, more=more)
    task, dataset = load_dataset(load_task(task_file))
    sides = split(dataset, task.kind, task.seed)
    other = replace(sides, test=filled(sides.test, ["Anything", "else 🙂", "\n\tat all"]))
    before = fitted_bytes(sides, task_file, tmp_path / "run")
    assert fitted_bytes(other, task_file, tmp_path / "other") == before
    assistant = load(tmp_path / "run" / "methods" / "tag" / "assistant")
    answers = assistant.answer([row.input for row in sides.dev], Models())
    assert {type(json.loads(answer.text)) for answer in answers} == {dict}


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (NESTED, "lists of objects in parts"),
        ("no JSON", "only 0 of 2 training answers are JSON"),
        ("[1, 2]", "only 0 of 2"),
        ('{"mood": "sad"}', "half of its training values"),
    ],
)
def test_rows_whose_answers_it_cannot_build_leave_it_out_with_a_reason(
    output: str, reason: str, tmp_path: Path
) -> None:
    task = load_task(write_task(tmp_path, "extract"))
    rows = [Example(str(number), (Message("user", "My dog died"),), output) for number in range(2)]
    methods, notes = leave_out_unfit(get_methods(("baseline", "tag")), task, rows)
    assert [method.name for method in methods] == ["baseline"]
    assert len(notes) == 1
    assert notes[0].startswith("tag was left out: ")
    assert reason in notes[0]
    with pytest.raises(InputError, match="Choose another method"):
        leave_out_unfit(get_methods(("tag",)), task, rows)


def test_a_gazetteer_finds_the_longest_known_values_and_fills_in_constants(tmp_path: Path) -> None:
    texts = [
        "Take iron pills daily",
        "Iron is no drug",
        "Buy iron and Zinc",
        "the drug",
        "no iron here",
        "iron pills",
    ]
    answers: list[dict[str, Any]] = [
        {"drugs": ["iron pills"], "lang": "en"},
        {"drugs": [], "lang": "en"},
        {"drugs": ["Zinc"], "lang": "en"},
        {"drugs": [], "lang": "en"},
        {"drugs": [], "lang": "en"},
        {"drugs": ["iron pills"], "lang": "en"},
    ]
    gazetteer = Gazetteer.fit(texts, answers)
    assert [json.loads(text) for text, _ in gazetteer.predict(texts)] == answers
    again = load_predictor(save_classical(gazetteer, tmp_path / "saved"), Models())
    question = ["zinc or IRON PILLS or iron"]
    assert again.predict(question) == gazetteer.predict(question)
    assert json.loads(again.predict(question)[0][0])["drugs"] == ["zinc", "IRON PILLS"]


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=7), min_size=1, max_size=6))
def test_a_gazetteer_reads_the_longest_value_at_each_word(sentences: list[list[str]]) -> None:
    rows = [{"v": [" ".join(words[:2])]} for words in sentences]
    texts = [" ".join(words) for words in sentences]
    gazetteer = Gazetteer.fit(texts, rows)
    for words, (answer, _) in zip(sentences, gazetteer.predict(texts), strict=True):
        expected = []
        start = 0
        while start < len(words):
            sizes = (size for size in (2, 1) if tuple(words[start:][:size]) in gazetteer.entries)
            if size := next(sizes, 0):
                expected.append(" ".join(words[start:][:size]))
            start += max(size, 1)
        assert json.loads(answer)["v"] == expected


def test_f1_counts_each_value_once() -> None:
    fields = (("d",),)
    assert compute_f1(
        [{("d",): ["a", "a", "b"]}], [{("d",): ["a", "b", "c"]}], fields
    ) == pytest.approx(4 / 6)
    assert compute_f1([{}], [{}], fields) == 1.0
    assert compute_f1([{}], [{("d",): ["a"]}], fields) == 0.0


@pytest.mark.real
def test_the_tagger_learns_names_and_is_the_same_after_saving(tmp_path: Any) -> None:
    from etude.training.tagging import TaggerModule

    draw = random.Random(0)
    people = ("Anna", "Ben", "Carla", "Dirk")
    towns = ("Rome", "Oslo", "Lima", "Kyiv")

    def make_row() -> tuple[str, dict[str, Any]]:
        person = draw.choice(people)
        town = draw.choice(towns)
        text = draw.choice(
            [f"{person} lives in {town}.", f"In {town} you will meet {person} today."]
        )
        return text, {"person": person, "towns": [town]}

    rows = [make_row() for _ in range(120)]
    train = rows[:96]
    dev = rows[96:]
    models = Models()
    encoder = models.load_encoder(DEFAULT_ENCODER)
    shape = AnswerShape.fit([answer for _, answer in train])
    size = encoder.module.config.hidden_size
    num_tags = 1 + 2 * len(shape.fields)
    tagger = Tagger(
        encoder, shape, shape.fields, torch.zeros(num_tags, size), torch.zeros(num_tags), {}
    )
    gold = [collect_values(answer) for _, answer in dev]
    texts = [text for text, _ in dev]

    def score() -> float:
        return compute_f1([values for values, _ in tagger.extract(texts)], gold, tagger.fields)

    values = [collect_values(answer) for _, answer in train]
    TaggerModule(tagger, [text for text, _ in train], values).prepare_training().train(
        tmp_path, score
    )
    assert score() > 0.95
    predictions = tagger.predict(texts)
    assert json.loads(predictions[0][0]) == dev[0][1]
    again = load_predictor(save_classical(tagger, tmp_path / "saved"), models)
    assert again.predict(texts) == predictions
    long_text = "Nothing here. " * 200 + "Anna lives in Rome."
    assert json.loads(tagger.predict([long_text])[0][0])["person"] == "Anna"
