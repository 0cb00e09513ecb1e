"""Enforced forms: what the contract can enforce, and that answers keep it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from etude.assistant import Assistant, load
from etude.models.registry import Models
from etude.task.contract import Contract
from etude.types import Message, ModelRef, Sampling
from tiny import save_tiny_model

SCHEMA = {
    "type": "object",
    "properties": {"theme": {"enum": ["cats", "dogs"]}, "age": {"type": "integer", "maximum": 99}},
    "required": ["theme", "age"],
    "additionalProperties": False,
}
LISTS = {
    "type": "array",
    "items": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    "minItems": 1,
}
CONTRACTS = {
    "schema": Contract(json_schema=SCHEMA),
    "regex": Contract(regex=r"(yes|no), [a-z]{3,9}"),
    "fields": Contract(fields=("Title", "Ages (from-to)", "Note?")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("name", CONTRACTS)
def test_weights_that_know_nothing_keep_an_enforced_form(
    name: str, folder: Path, tmp_path: Path
) -> None:
    contract = CONTRACTS[name]
    free = Assistant("prompt", "answer", ModelRef(str(folder)), contract=contract, max_tokens=80)
    kept = replace(free, enforced=True)
    models = Models(dtype="float32")
    asked = [(Message("user", text),) for text in ("cats, age 7", "dogs", "anything else, please")]
    assert not any(answer.keeps_contract for answer in free.answer(asked, models))
    answers = kept.answer(asked, models)
    assert all(answer.keeps_contract for answer in answers), [answer.text for answer in answers]
    kept.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert [each.text for each in again.answer(asked, models)] == [each.text for each in answers]
    (one,) = asked[:1]
    assert "".join(kept.stream(one, models)).strip() == kept.answer(one, models).text


OPEN = {
    "schema": Contract(
        json_schema={"type": "object", "properties": {"all": LISTS}, "required": ["all"]}
    ),
    "regex": Contract(regex=r"say: [a-z ]+\n0"),
    "fields": CONTRACTS["fields"],
}
"""Forms that an answer of any length has."""


@pytest.mark.parametrize("name", OPEN)
def test_an_answer_that_reaches_the_length_limit_keeps_its_form(name: str, folder: Path) -> None:
    kept = Assistant(
        "constrained",
        "answer",
        ModelRef(str(folder)),
        contract=OPEN[name],
        max_tokens=60,
        enforced=True,
    )
    models = Models(dtype="float32")
    asked = [(Message("user", text),) for text in ("cats", "dogs")]
    answers = kept.answer(asked, models)
    assert all(answer.keeps_contract for answer in answers), [answer.text for answer in answers]
    assert any(answer.truncated for answer in answers)
    assert all(answer.answer_tokens <= 60 for answer in answers)
    assert "".join(kept.stream(asked[0], models)).strip() == answers[0].text
    model = models.get(kept.model, "stream")
    batch = model.create_batch()  # type: ignore[attr-defined]
    batch.join(
        [
            model.create_generation(request, Sampling())
            for request in kept.build_requests(asked, models)
        ]
    )  # type: ignore[attr-defined]
    live = list(batch.generations)
    while batch.generations:
        batch.step()
    done = [each.to_completion(0, 0.0) for each in live]
    finished = [(each.text, "length" if each.truncated else "stop") for each in answers]
    assert [(each.text.strip(), each.finish) for each in done] == finished


def test_fields_are_enforced_as_the_contract_reads_them() -> None:
    form = Contract(fields=("Intro?", "Title", "Note?", "End")).grammar
    assert form.kind == "regex"
    for text in ("Title: a\nEnd: b", "Intro: x\nTitle: a\nNote: c d\nEnd: b"):
        assert re.fullmatch(form.text, text)
        assert not Contract(fields=("Intro?", "Title", "Note?", "End")).check(text)
    for text in ("Title: a", "Title: a\nEnd:  ", "End: b\nTitle: a", "Title: a\nNote: c\n\nEnd: b"):
        assert not re.fullmatch(form.text, text)
    assert Contract(fields=("Note?",)).grammar is None
    assert Contract(max_words=3).grammar is None
    assert json.loads(Contract(json_schema=SCHEMA).grammar.text) == SCHEMA  # type: ignore[union-attr]
