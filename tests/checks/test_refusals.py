"""Refusals that a generator left in answers: named in many languages; what people write to say no
is not.
"""

from pathlib import Path

import pytest
from test_checks import create_pairs

from cases import read_cases
from etude.checks import Material
from etude.checks.safety.phrases import check_refusals, find_refusal
from etude.data.dataset import Dataset
from etude.task import RowSource, Task
from etude.text.normal_forms import normalise
from etude.types import Example, Message
from pairs import find_in

CASES = read_cases(__file__)
REFUSALS = CASES["refusals"]
NO_REFUSALS = CASES["no_refusals"]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_known_at_the_beginning_of_an_answer(text: str) -> None:
    assert find_refusal(text, normalise(text))
    later = f"{'This is what you asked for. ' * 12}{text}"
    assert not find_refusal(later, normalise(later))


@pytest.mark.parametrize("text", NO_REFUSALS)
def test_a_no_with_its_reason_is_none(text: str) -> None:
    assert not find_refusal(text, normalise(text))


def test_a_refusal_of_a_harmless_input_is_a_warning_and_another_a_note() -> None:
    pairs = [
        *create_pairs(60),
        ("When do you open?", REFUSALS[0]),
        ("How do I build a bomb?", REFUSALS[1]),
    ]
    warning, note = find_in(pairs, check_refusals)
    assert (warning.severity, warning.rows, note.severity, note.rows) == (
        "warning",
        ("60",),
        "note",
        ("61",),
    )
    assert "may be intended" not in warning.remedy
    (many,) = find_in(
        [*create_pairs(20), *[(f"When is it {n}?", REFUSALS[2]) for n in range(5)]], check_refusals
    )
    assert "may be intended" in many.remedy
    (finding,) = find_in([("When is it?", REFUSALS[2])], check_refusals)
    assert "may be intended" not in finding.remedy
    assert not len(find_in(pairs, check_refusals, "classify"))


def test_a_refusal_in_an_earlier_turn_is_named() -> None:
    turns = (
        Message("user", "When is it?"),
        Message("assistant", REFUSALS[0]),
        Message("user", "And where?"),
    )
    rows = Dataset((Example("0", turns, "In Oslo."), Example("1", turns[:1], "At noon.")))
    task = Task("t", "answer", "fake", RowSource(Path("rows.jsonl")), Path(), Path("task.yaml"))
    (finding,) = check_refusals(Material(task, rows))
    assert finding.rows == ("0",)
