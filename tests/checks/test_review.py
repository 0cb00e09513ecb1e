"""Texts for a person to review: advice is named by its subject, talk on the subject is not."""

import csv

import pytest
from conftest import data_folder
from test_checks import create_pairs

from cases import read_cases
from etude.checks.safety.phrases import check_advice, load_phrases
from pairs import find_in, find_rows

CASES = read_cases(__file__)
ADVISING = CASES["advising"]
HARMLESS = CASES["harmless"]


@pytest.mark.parametrize("subject", ADVISING)
@pytest.mark.parametrize("place", range(4))
def test_advice_is_named_by_its_subject_and_marked(subject: str, place: int) -> None:
    (finding,) = find_in([*create_pairs(5), ("What now?", ADVISING[subject][place])], check_advice)
    assert (finding.kind, finding.severity, finding.rows) == (f"advice_{subject}", "note", ("5",))
    assert finding.excerpts[0].spans


def test_talk_on_a_subject_is_no_advice() -> None:
    pairs = [(text, text) for text in HARMLESS]
    assert not find_rows(find_in(pairs, check_advice))


@pytest.mark.data
def test_questions_to_a_bank_hold_no_medical_or_legal_advice() -> None:
    with (data_folder("banking77") / "test.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    named = {
        name: [text for text in texts if entry.find(text)]
        for name, entry in load_phrases("advice.yaml").items()
    }
    assert not any(named.values())
