"""Answers are logged batch by batch: wherever a run is cut, going on gives what an uncut run
gives.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etude.assistant import Assistant, load
from etude.cluster import THIS_PROCESS
from etude.data.dataset import Dataset
from etude.errors import RunError
from etude.evaluate import AnswerLog, build_sample, evaluate
from etude.metrics import Metric
from etude.models.fake import FakeModel
from etude.models.registry import Models
from etude.task.contract import Contract
from etude.types import Example, Message, Model, ModelRef

TEXTS = [f"row {n} of words" for n in range(37)]
ROWS = Dataset(
    tuple(
        Example(str(n), (Message("user", text),), text, location=f"a:{n}")
        for n, text in enumerate(TEXTS)
    )
)
METRIC = Metric("exact_match", "answer")
SHOT = Example(
    id="s", input=(Message("user", "what"),), output="that", references=("this",), tags={"a": "b"}
)
ASSISTANT = Assistant(
    "few_shot",
    "answer",
    ModelRef("fake"),
    "Be brief.",
    "user",
    (SHOT,),
    (),
    Contract(fields=("A", "B?")),
    40,
)


class OneFake:
    """Models that hold the fake one and count how often it is asked for."""

    workers = THIS_PROCESS

    def __init__(self) -> None:
        self.asked = 0

    def get(self, ref: ModelRef, *needs: str) -> Model:
        self.asked += 1
        return FakeModel()


def texts(models: Models, log: AnswerLog | None = None) -> list[tuple[str, float]]:
    assistant = Assistant("prompt", "answer", ModelRef("fake"))
    return [
        (row.answer.text, row.score.value) for row in evaluate(assistant, models, ROWS, METRIC, log)
    ]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(cut=st.integers(0, 40_000))
def test_a_log_cut_at_any_byte_is_completed_to_the_same_answers(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("log") / "answers.jsonl"
    whole = texts(OneFake(), AnswerLog(file))
    uncut = file.read_bytes()
    file.write_bytes(uncut[: cut % (len(uncut) + 1)])
    assert texts(OneFake(), AnswerLog(file)) == whole
    assert len(file.read_bytes().splitlines()) == len(uncut.splitlines())


def test_a_complete_log_needs_no_weights(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    models = OneFake()
    first = texts(models, AnswerLog(file))
    asked = models.asked
    assert texts(models, AnswerLog(file)) == first
    assert models.asked == asked


def test_a_log_broken_in_the_middle_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    texts(OneFake(), AnswerLog(file))
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], "garbage", *lines[2:]]) + "\n")
    with pytest.raises(RunError, match=r"answers\.jsonl:2"):
        AnswerLog(file)


def test_an_assistant_is_the_same_after_saving(tmp_path: Path) -> None:
    ASSISTANT.save(tmp_path / "one")
    loaded = load(tmp_path / "one")
    loaded.save(tmp_path / "two")
    assert loaded == ASSISTANT
    assert (tmp_path / "one" / "assistant.json").read_bytes() == (
        tmp_path / "two" / "assistant.json"
    ).read_bytes()
    assert loaded.fingerprint == ASSISTANT.fingerprint


def test_a_folder_without_an_assistant_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="etude compare TASK --fresh"):
        load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"method": None},
        {"shots": None},
        {"model": None},
        {"contract": {"labels": ["a"], "colour": "red"}},
        {"contract": {"labels": ["a", "a"]}},
        {"contract": ["labels"]},
        {"shots": [{"id": "s"}]},
        {"shots": ["s"]},
        {"format": 0},
    ],
    ids=str,
)
def test_an_assistant_that_holds_something_else_says_what_to_do(
    change: dict[str, object], tmp_path: Path
) -> None:
    ASSISTANT.save(tmp_path)
    file = tmp_path / "assistant.json"
    body = json.loads(file.read_text()) | change
    file.write_text(json.dumps({key: value for key, value in body.items() if value is not None}))
    with pytest.raises(RunError, match=r"assistant\.json .*etude compare TASK --fresh"):
        load(tmp_path)


def test_an_assistant_that_is_no_text_says_what_to_do(tmp_path: Path) -> None:
    ASSISTANT.save(tmp_path)
    (tmp_path / "assistant.json").write_bytes(b'{"format": "\xff"}')
    with pytest.raises(RunError, match=r"assistant\.json .*etude compare TASK --fresh"):
        load(tmp_path)


def test_instructions_stand_where_they_were_asked_to() -> None:
    turns = ASSISTANT.build_messages((Message("user", "question"),))
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert turns[0].content == "Be brief.\n\nwhat"
    assert turns[-1].content == "question"


def test_the_sample_of_scored_rows_has_their_mean() -> None:
    rows = evaluate(Assistant("prompt", "answer", ModelRef("fake")), OneFake(), ROWS, METRIC)
    sample = build_sample(METRIC, [row.outcome for row in rows])
    assert sample.value == pytest.approx(sum(row.score.value for row in rows) / len(rows))
    assert sample.units == len(ROWS)


def test_rows_with_one_input_count_as_one() -> None:
    copies = Dataset(
        tuple(replace(row, id=f"{row.id} again", input=ROWS[0].input) for row in ROWS.examples[:3])
    )
    rows = evaluate(Assistant("prompt", "answer", ModelRef("fake")), OneFake(), copies, METRIC)
    assert build_sample(METRIC, [row.outcome for row in rows]).units == 1


SHOWN = tuple(
    Example(id=str(n), input=(Message("user", "asked " * n),), output="told " * (9 - n))
    for n in range(1, 9)
)


class CountingModel(FakeModel):
    """A fake model that counts how many prompts it has counted the tokens of."""

    counted = 0

    def count_tokens(self, messages: Sequence[Message]) -> int:
        self.counted += 1
        return super().count_tokens(messages)


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    context=st.integers(80, 160),
    place=st.sampled_from(["system", "user"]),
)
def test_as_many_examples_as_fit_stand_in_a_prompt_and_the_rest_is_counted(
    lengths: list[int], context: int, place: Literal["system", "user"]
) -> None:
    model = FakeModel(f"fake:context={context}")
    assistant = Assistant(
        "few_shot", "answer", ModelRef("fake"), "Be brief.", place, SHOWN, max_tokens=10
    )
    asked = [[Message("user", "word " * length)] for length in lengths]
    for turns, request in zip(asked, assistant.prepare(asked, model), strict=True):
        kept = len(SHOWN) - request.shots_dropped
        assert request.messages == assistant.build_messages(turns, kept)
        assert model.count_tokens(request.messages) + request.max_tokens <= context
        if kept < len(SHOWN):
            assert (
                model.count_tokens(assistant.build_messages(turns, kept + 1)) + request.max_tokens
                > context
            )


def test_tokens_are_counted_only_where_bytes_do_not_settle_it() -> None:
    assistant = Assistant(
        "few_shot", "answer", ModelRef("fake"), "", "system", SHOWN, max_tokens=10
    )
    asked = [[Message("user", f"row {n}")] for n in range(100)]
    roomy = CountingModel("fake:context=4000")
    narrow = CountingModel("fake:context=260")
    assistant.prepare(asked, roomy)
    assistant.prepare(asked, narrow)
    assert roomy.counted == 0
    assert len(asked) <= narrow.counted <= len(asked) + 2 * len(SHOWN)


def test_what_was_left_out_of_a_prompt_stands_in_its_answer_also_after_a_resume(
    tmp_path: Path,
) -> None:
    class Narrow(OneFake):
        def get(self, ref: ModelRef, *needs: str) -> Model:
            return FakeModel("fake:context=60")

    assistant = Assistant(
        "few_shot", "answer", ModelRef("fake"), "", "system", SHOWN, max_tokens=10
    )
    dropped = [
        request.shots_dropped
        for request in assistant.prepare([row.input for row in ROWS], Narrow().get(assistant.model))
    ]
    assert any(dropped)
    for _ in range(2):  # the second time from the log
        rows = evaluate(assistant, Narrow(), ROWS, METRIC, AnswerLog(tmp_path / "log.jsonl"))
        assert [row.answer.shots_dropped for row in rows] == dropped


def test_a_folder_that_could_not_be_filled_leaves_the_old_one_as_it_was(tmp_path: Path) -> None:
    ASSISTANT.save(tmp_path / "one")
    before = (tmp_path / "one" / "assistant.json").read_bytes()
    gone = replace(ASSISTANT, model=ModelRef("fake", tmp_path / "no adapter here"))
    with pytest.raises(OSError):
        gone.save(tmp_path / "one")
    assert (tmp_path / "one" / "assistant.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    other = replace(ASSISTANT, method="other")
    other.save(tmp_path / "one")
    assert load(tmp_path / "one") == other


@pytest.mark.parametrize("names", [("zeta", "alpha", "mid"), ("alpha", "mid", "zeta")])
def test_a_saved_schema_keeps_the_order_in_which_it_is_put_into_words(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    schema = {
        "type": "object",
        "required": [*names],
        "properties": {name: {"type": "string"} for name in names},
    }
    contract = Contract(json_schema=schema)
    saved = replace(ASSISTANT, contract=contract)
    saved.save(tmp_path / "one")
    loaded = load(tmp_path / "one")
    assert loaded.contract.describe() == contract.describe()
    assert loaded.contract.skeleton() == contract.skeleton()
    assert loaded.fingerprint == saved.fingerprint
