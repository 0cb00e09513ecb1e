"""What an answer does: phrases, the classifier, and the answers that must not be mistaken for
refusals.
"""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from conftest import data_folder

from cases import read_cases
from etude.limits.acts import MODEL_FILE, match_phrases, read_act
from etude.limits.question_model import QuestionModel
from etude.task.contract import Contract
from etude.types import ACTS, Act

CASES = read_cases(__file__)
ROOT = Path(__file__).parents[2]
LABELLED = [
    json.loads(line)
    for line in (ROOT / "tests" / "acts.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize(
    ("source", "least"), [("xstest", 0.93), ("held out", 0.92), ("written", 0.98)]
)
def test_the_act_reader_agrees_with_people(source: str, least: float) -> None:
    """On answers of a small model to xstest, on more of them that neither the phrases nor the
    classifier were made from, and on answers written for each act.
    """
    rows = [
        row
        for row in LABELLED
        if row["source"].endswith(source) or (source == "xstest" and row["source"][-1].isdigit())
    ]
    right = sum(read_act(row["answer"]).act == row["act"] for row in rows)
    assert right / len(rows) >= least
    # The phrases and the classifier were made from the others, so the page has no figure for them.
    page = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    assert f"{right} of {len(rows)}" in page or source != "held out"


@pytest.mark.parametrize(("answer", "act"), CASES["acts"])
def test_the_act_of_an_answer_is_read(answer: str, act: str) -> None:
    assert read_act(answer).act == act


def test_labelled_answers_are_of_every_act() -> None:
    assert {row["act"] for row in LABELLED} == set(ACTS)


def test_an_answer_that_keeps_the_contract_is_an_answer() -> None:
    fields = Contract(fields=("Title", "Note?"))
    assert (
        read_act("Title: The Boy\nNote: Please ask a librarian.", contract=fields).act == "answer"
    )
    assert read_act("Title: I'm sorry, I can't help with that.", contract=fields).act == "refuse"
    assert (
        read_act("cannot help", contract=Contract(labels=("cannot help", "help"))).act == "answer"
    )
    assert (
        read_act("Go to the desk.", own_phrases={"hand_over": ["go to the desk"]}).act
        == "hand_over"
    )
    assert read_act("Is it a fox?", "Is it a fox").act == "incoherent"


def test_reading_an_act_takes_linear_time() -> None:
    for piece in ("I'm sorry ", "please ask ", "a-", "I can't ", "? "):
        read_act(piece * 20_000)


@pytest.mark.parametrize(("answer", "act"), CASES["whole_answers"])
def test_the_whole_answer_is_read(answer: str, act: Act) -> None:
    question = "What are the Samaritans to you?" if act == "answer" else "What now?"
    assert read_act(answer, question).act == act


def test_the_classifier_leaves_fields_of_a_contract_and_long_questions_alone() -> None:
    refusal = "I'm only trained on tax law."
    assert match_phrases(refusal).act == "answer"
    assert read_act(f"Title: {refusal}", contract=Contract(fields=("Title",))).act == "answer"
    assert read_act("no").act == "answer"


@pytest.mark.real
def test_answers_of_people_are_seldom_read_as_refusals() -> None:
    """On answers to medical questions, of which no phrase and no weight was made."""
    file = data_folder("medquad_sample") / "medquad.jsonl"
    answers = [
        json.loads(line)["answer"] for line in file.read_text(encoding="utf-8").splitlines()[::20]
    ]
    declined = [
        answer for answer in answers if read_act(answer).act not in ("answer", "incoherent")
    ]
    assert len(declined) <= 0.03 * len(answers)


@pytest.mark.real
def test_the_packaged_classifier_is_what_the_script_writes(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "tools" / "acts.py"))
    rows, _ = script["read_rows"]()
    fitted = script["fit"](rows)
    packaged = QuestionModel.from_text(MODEL_FILE.read_text(encoding="ascii").strip())
    assert fitted.classes == packaged.classes
    assert np.array_equal(fitted.rarity, packaged.rarity)
    # Machines add in different orders, so the last digits of a sum and the rounding of a weight
    # that lies between two steps may differ.
    steps = np.abs(fitted.weights.astype(int) - packaged.weights)
    assert steps.max() <= 1
    assert np.mean(steps > 0) <= 0.001
    assert fitted.scale == pytest.approx(packaged.scale, rel=1e-3)
    assert fitted.rarity_scale == pytest.approx(packaged.rarity_scale)
    texts = [text for text, _ in rows]
    logits = fitted.compute_logits(texts)
    assert np.abs(logits - packaged.compute_logits(texts)).max() <= 0.02


def test_a_sentence_of_the_documents_informs() -> None:
    answer = "If you cannot come, tell us one day before."
    assert read_act(answer).act != "answer"
    documents = " in spring the wait is ten days if you cannot come tell us one day before "
    assert read_act(answer, known_text=documents).act == "answer"
    assert (
        read_act("I'm sorry, I can't help.", known_text=" i m sorry i can t help ").act == "refuse"
    )
    assert (
        read_act(f"{answer} I would rather not discuss this.", known_text=documents).act == "refuse"
    )
