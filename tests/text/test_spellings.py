"""Labels that are one label by all but their spelling: named by init, check and compare, never
joined.
"""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.checks import check
from etude.cli import main
from etude.comparison import compare
from etude.runs.events import Event, NoteEvent
from etude.text.spellings import find_spellings, merge_spellings
from small_task import rows, write_task


@pytest.mark.parametrize(
    ("rare", "usual", "how"),
    [
        ("tech-support", "Tech-Support", "case"),
        ("billing / refund", "Billing/Refund", "case and spaces, hyphens or underscores"),
        ("Tech Support", "Tech-Support", "spaces, hyphens or underscores"),
        ("tech_support", "Tech-Support", "case and spaces, hyphens or underscores"),
        ("E mail", "Email", "spaces, hyphens or underscores"),
    ],
)
def test_a_rarer_spelling_is_told_with_its_lines_and_the_usual_one(
    rare: str, usual: str, how: str
) -> None:
    (finding,) = find_spellings([usual, rare, "other", usual])
    told = finding.describe(lambda position: f"a.csv:{position + 1}")
    assert told == f"{rare!r} (1 row: a.csv:2) differs only in {how} from {usual!r} (2 rows)"


@pytest.mark.parametrize(
    ("rare", "usual", "slip"),
    [
        ("Raods", "Roads", True),
        ("Parkz", "parks", True),
        ("Council tx", "Council tax", False),
        ("Council taxx", "Council tax", False),
        ("Rubbish colection", "Rubbish collection", True),
        ("level_1", "level_2", False),
        ("class_a", "class_b", False),
        ("relevant", "irrelevant", False),
    ],
)
def test_a_rare_label_one_letter_from_a_frequent_one_is_mistyped(
    rare: str, usual: str, slip: bool
) -> None:
    labels = [*[usual] * 20, rare]
    assert [value.label for value in find_spellings(labels)] == [rare] * slip
    assert not find_spellings([*[usual] * 20, *[rare] * 3]), "three rows are a label"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+1", "-1"),
        ("1-2", "12"),
        ("C", "C++"),
        ("A-", "A"),
        ("yes", "no"),
        ("C#", "C++"),
        ("1", "-1"),
    ],
)
def test_labels_that_differ_in_a_sign_or_a_word_are_two(one: str, other: str) -> None:
    assert not find_spellings([one, other, one])


@given(st.lists(st.sampled_from(["a b", "A b", "a-b", "c", "C", "d"]), max_size=30))
def test_written_alike_no_row_is_lost_and_no_label_is_new(labels: list[str]) -> None:
    joined = merge_spellings(Counter(labels))
    assert sum(joined.values()) == len(labels)
    assert set(joined) <= set(labels)
    assert not find_spellings(list(joined))


def write_misspelt(folder: Path) -> Path:
    """A task in which three rows of seven labels with as many rows each are written in lower
    case.
    """
    task = write_task(folder, "classify", more="methods: [prompt]\n")
    lines = rows("classify", 220)
    chosen = [line for line in lines if line["output"] == "dragons"]
    for line in lines:
        line["output"] = str(line["output"]).title()
    for line in random.Random(1).sample(chosen, 3):
        line["output"] = "dragons"
    (folder / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return task


def test_a_class_of_typing_errors_is_told_by_init_check_and_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_misspelt(tmp_path)
    text = "'dragons' (3 rows: examples.jsonl:"
    (finding,) = (one for one in check(task) if one.kind == "label_spelling")
    assert finding.message.startswith(text)
    assert len(finding.rows) == 3
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["check", str(task)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60
    told: list[Event] = []
    compare(task, on_event=told.append)
    (note,) = (
        event.text
        for event in told
        if isinstance(event, NoteEvent) and "spelling counts" in event.text
    )
    assert text in note
    assert note.endswith("the metric would be accuracy, not macro-F1.")


def test_labels_written_alike_are_passed_over(tmp_path: Path) -> None:
    task = write_task(tmp_path, "classify", more="methods: [baseline]\n")
    assert "label_spelling" not in {finding.kind for finding in check(task)}
