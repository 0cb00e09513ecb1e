"""Decisions: the labels' probabilities as answers to typed questions, through the official
client.
"""

import asyncio
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from etude.assistant import Assistant
from etude.models.classical import Linear, load_predictor, save_classical
from etude.models.label_heads import LabelHeads
from etude.models.registry import Models
from etude.stats.recalibration import Recalibration
from etude.task.contract import Contract, list_of_labels
from etude.types import CLASSICAL, ModelRef
from serving import open_client, serve_as
from tiny import save_tiny_model

LABELS = ("card", "refund", "transfer")
TEXTS = [f"{verb} my {label}" for label in LABELS for verb in ("where is", "please give", "i lost")]
INPUT = "where is the refund that i lost"
CHOICE: Any = {
    "type": "choice",
    "instructions": "Which?",
    "choices": [{"value": label} for label in LABELS],
}


def build_sorter(model: ModelRef, labels: tuple[str, ...] = LABELS) -> Assistant:
    return Assistant(
        "baseline", "classify", model, choices=labels, contract=Contract(labels=labels)
    )


@pytest.fixture(scope="module")
def sorters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Assistant]:
    folder = tmp_path_factory.mktemp("models")
    linear = replace(Linear.fit(TEXTS, [text.split()[-1] for text in TEXTS], 0), temperature=0.7)
    models = {
        "linear": ModelRef(CLASSICAL, save_classical(linear, folder / "linear")),
        "local": ModelRef(str(save_tiny_model(folder / "tiny"))),
        "fake": ModelRef("fake"),
    }
    sorters = {name: build_sorter(model) for name, model in models.items()}
    sorters["unsure"] = replace(sorters["linear"], handover=1.1)
    heads = LabelHeads.fit_lists(TEXTS, ["; ".join(text.split()[-1:]) for text in TEXTS], 0)
    several = list_of_labels(Contract(labels=LABELS))
    folder = save_classical(heads, folder / "heads")
    sorters["several"] = Assistant(
        "baseline", "classify", ModelRef(CLASSICAL, folder), contract=several
    )
    sorters["recalibrated"] = replace(
        sorters["linear"], recalibration=Recalibration("Platt", 0.4, -0.3)
    )
    sorters["yes"] = build_sorter(ModelRef("fake"), ("no", "yes"))
    sorters["plain"] = Assistant("prompt", "answer", ModelRef("fake"))
    return sorters


@pytest.fixture(scope="module")
def client(sorters: dict[str, Assistant]) -> Iterator[openai.OpenAI]:
    with open_client(*(serve_as(name, sorter) for name, sorter in sorters.items())) as client:
        yield client


@pytest.mark.parametrize("name", ["linear", "local", "fake"])
def test_all_questions_read_one_distribution_which_is_the_measured_one(
    client: openai.OpenAI, sorters: dict[str, Assistant], name: str
) -> None:
    questions = [
        CHOICE,
        {**CHOICE, "choices": CHOICE["choices"][::-1]},
        {
            "type": "score",
            "instructions": "How?",
            "levels": [{"label": label.upper()} for label in LABELS],
        },
        *({"type": "predicate", "name": label, "instructions": "Is it?"} for label in LABELS),
    ]
    decision = client.decisions.create(model=name, input=INPUT, questions=questions)
    measured = sorters[name].answer(INPUT)
    choice, reversed_choice, score, *predicates = (
        answer.model_dump() for answer in decision.answers
    )
    assert choice["choice"] == reversed_choice["choice"] == measured.value
    assert choice["confidence"] == pytest.approx(measured.confidence)
    shares = [entry["probability"] for entry in choice["probabilities"]]
    assert sum(shares) == pytest.approx(1)
    assert [entry["value"] for entry in choice["probabilities"]] == list(LABELS)
    assert [entry["probability"] for entry in reversed_choice["probabilities"]] == pytest.approx(
        shares[::-1]
    )
    assert [predicate["probability"] for predicate in predicates] == pytest.approx(shares)
    assert score["score"] == pytest.approx(sum(level * share for level, share in enumerate(shares)))
    assert [(entry["value"], entry["label"]) for entry in score["probabilities"]] == [
        (number, label.upper()) for number, label in enumerate(LABELS)
    ]
    assert decision.usage.total_tokens == measured.prompt_tokens + measured.answer_tokens


def test_the_probabilities_of_a_linear_model_have_its_temperature(
    client: openai.OpenAI, sorters: dict[str, Assistant]
) -> None:
    linear = Linear.fit(TEXTS, [text.split()[-1] for text in TEXTS], 0)
    scaled = [margin / 0.7 for margin in linear.compute_margins([INPUT])[0].tolist()]
    total = sum(map(math.exp, scaled))
    (answer,) = client.decisions.create(model="linear", input=INPUT, questions=[CHOICE]).answers
    shares = {entry.value: entry.probability for entry in answer.probabilities}
    assert [shares[label] for label in linear.labels] == pytest.approx(
        [math.exp(value) / total for value in scaled], rel=1e-4
    )


def test_recalibration_changes_the_answers_probability_and_keeps_the_proportions_of_the_others(
    client: openai.OpenAI, sorters: dict[str, Assistant]
) -> None:
    def ask(name: str) -> dict[Any, float]:
        (answer,) = client.decisions.create(model=name, input=INPUT, questions=[CHOICE]).answers
        return {entry.value: entry.probability for entry in answer.probabilities}

    stated = ask("linear")
    shares = ask("recalibrated")
    measured = sorters["recalibrated"].answer(INPUT)
    assert measured.stated_confidence == pytest.approx(stated[measured.value])
    assert shares[measured.value] == pytest.approx(measured.confidence)
    assert shares[measured.value] != pytest.approx(stated[measured.value], rel=0.05)
    assert sum(shares.values()) == pytest.approx(1)
    first, second = (label for label in LABELS if label != measured.value)
    assert shares[first] / shares[second] == pytest.approx(stated[first] / stated[second])


def test_an_answer_that_is_handed_over_is_a_refusal(client: openai.OpenAI) -> None:
    decision = client.decisions.create(
        model="unsure", input=INPUT, questions=[{**CHOICE, "name": "topic"}]
    )
    (answer,) = decision.answers
    assert answer.type == "refusal"
    assert answer.name == "topic"


def test_of_several_labels_each_has_a_probability_of_its_own(
    client: openai.OpenAI, sorters: dict[str, Assistant]
) -> None:
    questions: Any = [
        {"type": "predicate", "name": label, "instructions": "Is it?"} for label in LABELS
    ]
    decision = client.decisions.create(model="several", input=INPUT, questions=questions)
    folder = sorters["several"].model.adapter
    assert folder is not None
    heads = load_predictor(folder, Models())
    chances = dict(
        zip(heads.labels, heads.to_chances(heads.compute_margins([INPUT]))[0].tolist(), strict=True)
    )
    assert [answer.model_dump()["probability"] for answer in decision.answers] == pytest.approx(
        [chances[label] for label in LABELS], rel=1e-4
    )
    with pytest.raises(openai.BadRequestError, match="It decides a predicate"):
        client.decisions.create(model="several", input=INPUT, questions=[CHOICE])


def test_booleans_are_the_labels_yes_and_no(client: openai.OpenAI) -> None:
    questions: Any = [
        {
            "type": "choice",
            "instructions": "Is it?",
            "choices": [{"value": True}, {"value": False}],
        },
        {"type": "predicate", "instructions": "It is."},
    ]
    choice, predicate = client.decisions.create(
        model="yes", input=INPUT, questions=questions
    ).answers
    assert isinstance(choice.choice, bool)
    assert choice.probabilities[0].probability == pytest.approx(predicate.probability)


@pytest.mark.parametrize(
    "question",
    [
        {**CHOICE, "choices": [{"value": "card"}, {"value": "weather"}]},
        {**CHOICE, "choices": CHOICE["choices"][:2]},
        {**CHOICE, "choices": [*CHOICE["choices"], {"value": "Card."}]},
        {"type": "score", "instructions": "How?", "levels": [{"label": "low"}, {"label": "high"}]},
        {"type": "predicate", "instructions": "It is about cards."},
    ],
)
def test_any_other_question_is_refused_with_what_the_model_decides(
    client: openai.OpenAI, question: Any
) -> None:
    with pytest.raises(openai.BadRequestError, match="card, refund, transfer") as caught:
        client.decisions.create(model="linear", input=INPUT, questions=[CHOICE, question])
    assert caught.value.param == "questions.1"


def test_what_a_decision_needs(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="does not compute probabilities"):
        client.decisions.create(model="plain", input=INPUT, questions=[CHOICE])
    image: Any = [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]
    with pytest.raises(openai.BadRequestError):
        client.decisions.create(model="linear", input=image, questions=[CHOICE])
    with pytest.raises(openai.BadRequestError):
        client.decisions.create(model="linear", input=INPUT, questions=[])


def test_items_are_the_turns_of_a_chat(client: openai.OpenAI) -> None:
    items: Any = [
        {"role": "assistant", "content": [{"type": "output_text", "text": "Which one?"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "where is my "}]},
        {"role": "user", "content": [{"type": "input_json", "data": {"lost": "refund"}}]},
    ]

    async def ask(value: Any) -> Any:
        async with openai.AsyncOpenAI(
            base_url=client.base_url, api_key="none", max_retries=0
        ) as other:
            return await other.decisions.create(model="linear", input=value, questions=[CHOICE])

    assert asyncio.run(ask(items)).answers == asyncio.run(ask('{"lost": "refund"}')).answers
