"""The fake model is deterministic and learns from examples and from tuning as a real one would."""

import json
import math
import time
from pathlib import Path

import pytest

from etude.errors import ModelError
from etude.models.fake import FakeModel
from etude.models.registry import Models
from etude.types import Example, Message, ModelRef, Request

LABELS = ("card", "refund", "transfer")
ROWS = [
    Example("1", (Message("user", "my card has not come"),), "card"),
    Example("2", (Message("user", "i want my money back"),), "refund"),
    Example("3", (Message("user", "send money to my friend"),), "transfer"),
]
NEW = {
    "has my card come": "card",
    "give my money back": "refund",
    "can i send my friend money": "transfer",
}


def build_request(
    text: str, shots: list[Example] | None = None, choices: tuple[str, ...] = LABELS
) -> Request:
    turns = [turn for row in shots or [] for turn in (*row.input, Message("assistant", row.output))]
    return Request((*turns, Message("user", text)), 20, choices)


def count_right(model: FakeModel, shots: list[Example] | None = None) -> int:
    answers = model.generate([build_request(text, shots) for text in NEW])
    return sum(answer.text == label for answer, label in zip(answers, NEW.values(), strict=True))


def test_same_requests_same_answers() -> None:
    requests = [build_request(f"question {number}") for number in range(30)]
    texts = [[answer.text for answer in FakeModel().generate(requests)] for _ in range(2)]
    assert texts[0] == texts[1]
    assert set(texts[0]) == set(LABELS)


def test_batches_do_not_depend_on_what_is_done() -> None:
    requests = [build_request(f"question {number}", choices=()) for number in range(21)]

    def facts(done: set[int]) -> dict[int, list[str]]:
        return {
            b.number: [c.text for c in b.completions] for b in FakeModel().batches(requests, done)
        }

    whole = facts(set())
    assert facts({0, 2}) == {1: whole[1]}
    assert sorted(index for b in FakeModel().batches(requests) for index in b.indices) == list(
        range(21)
    )


def test_examples_in_the_prompt_and_tuning_help(tmp_path: Path) -> None:
    FakeModel().learn(ROWS, tmp_path)
    tuned = Models().get(ModelRef("fake", tmp_path))
    assert count_right(FakeModel(), ROWS) == len(NEW)
    assert count_right(tuned) == len(NEW)
    assert count_right(FakeModel()) < len(NEW)


def test_without_choices_the_nearest_example_is_echoed_else_the_question() -> None:
    shots = [Example("1", (Message("user", "a dragon"),), "Title: X\nAges: 3")]
    assert (
        FakeModel().generate([build_request("a small dragon", shots, ())])[0].text
        == "Title: X\nAges: 3"
    )
    assert (
        FakeModel().generate([build_request("a small dragon", None, ())])[0].text
        == "a small dragon"
    )


def test_an_answer_is_cut_at_max_tokens() -> None:
    cut = FakeModel().generate([Request((Message("user", "one two three four"),), 2)])[0]
    assert (cut.text, cut.finish, cut.answer_tokens) == ("one two", "length", 2)


def test_a_tuned_answer_beats_an_unlike_example_in_the_prompt(tmp_path: Path) -> None:
    FakeModel().learn(ROWS, tmp_path)
    answer = FakeModel("fake", tmp_path).generate([build_request("has my card come", ROWS[1:2])])[0]
    assert answer.text == "card"
    assert math.exp(answer.logprob) > 0.5


def test_pieces_of_a_stream_make_the_answer() -> None:
    request = build_request("one  two\nthree ", choices=())
    assert (
        "".join(FakeModel().stream(request)).strip()
        == FakeModel().generate([request])[0].text.strip()
    )


def test_prompt_words_are_counted_and_the_shared_beginning_is_cached() -> None:
    requests = [build_request("where is it", ROWS, ()), build_request("refund please", ROWS, ())]
    model = FakeModel()
    answers = model.generate(requests)
    assert [a.prompt_tokens for a in answers] == [model.count_tokens(r.messages) for r in requests]
    assert 0 < answers[0].cached_tokens == answers[1].cached_tokens < answers[0].prompt_tokens


def test_a_delay_is_slept_for_every_batch() -> None:
    started = time.perf_counter()
    FakeModel("fake:delay=0.05").generate([build_request("x")] * 9)
    assert time.perf_counter() - started >= 0.1


def test_a_request_over_the_context_is_refused_with_its_length() -> None:
    with pytest.raises(
        ModelError, match=r"Request 0 has 7 tokens and its answer may have 20;.*at most 10"
    ):
        FakeModel("fake:context=10").generate([build_request("a b c d e")])


@pytest.mark.parametrize(
    ("name", "words"), [("fake:speed=3", "speed"), ("fake:delay=fast", "not a number")]
)
def test_unknown_options_are_refused(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        FakeModel(name)


@pytest.mark.parametrize("text", [None, "no json", json.dumps({"other": 1}), json.dumps([1])])
def test_an_adapter_folder_that_is_none_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "fake_adapter.json").write_text(text)
    with pytest.raises(ModelError, match="not an adapter of the fake model"):
        FakeModel("fake", tmp_path)
