"""Texts for a person to review: advice is named by its subject, talk on the subject is not."""

import csv

import pytest
from test_checks import create_pairs

from conftest import data_folder
from etude.checks.safety.phrases import check_advice, load_phrases
from pairs import find_in, find_rows

ADVISING = {
    "medical": (
        "Take 400 mg of ibuprofen every six hours with food.",
        "You should stop taking your blood pressure medication before the test.",
        "She is on lisinopril, 10 mg daily.",
        "If it hurts for longer, see your doctor.",
    ),
    "legal": (
        "You can sue the landlord for the deposit.",
        "You should file a claim with the small claims court.",
        "You may be liable for the damage.",
        "Please consult a lawyer before you sign.",
    ),
    "financial": (
        "You should sell your shares before the summer.",
        "I recommend investing in index funds.",
        "You should diversify.",
        "Talk to a financial advisor about the pension.",
    ),
}
HARMLESS = (
    "The doctor wrote a book about doses of kindness.",
    "Take 400 steps to the north.",
    "The court met on Monday and heard two cases.",
    "Your card payment was declined; the shares of the cake were equal.",
    "You can file a complaint about the noise with the desk.",
    "The bank invests in new branches.",
    "This medicine cabinet is 40 cm wide.",
)


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
    named = {name: [text for text in texts if entry.find(text)] for name, entry in load_phrases("advice.yaml").items()}
    assert not any(named.values())
