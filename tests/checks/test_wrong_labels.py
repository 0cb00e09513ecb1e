"""Labels that look wrong: named at any noise, with a suggestion."""

import csv
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from etude.checks import check
from etude.types import Finding

TOPICS = {
    "World": ("treaty", "minister", "border", "embassy", "parliament", "ceasefire"),
    "Business": ("shares", "profit", "merger", "bank", "invoice", "market"),
    "Sports": ("goal", "league", "coach", "referee", "penalty", "stadium"),
    "Science": ("telescope", "genome", "particle", "orbit", "laboratory", "fossil"),
}
NAMES = list(TOPICS)
Row = tuple[str, str]


def create_rows(number: int = 600, seed: int = 0) -> list[Row]:
    """Headlines whose words say their topic, and the topics."""
    draw = random.Random(seed)
    topics = draw.choices(NAMES, weights=(3, 3, 2, 2), k=number)
    return [
        (" ".join([*draw.sample(TOPICS[topic], 3), "says", "report", str(row)]), topic)
        for row, topic in enumerate(topics)
    ]


def write_task(folder: Path, rows: Sequence[Row]) -> Path:
    """A task file with these rows as a table."""
    with (folder / "news.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    path = folder / "task.yaml"
    path.write_text("name: news\nkind: classify\nmodel: fake\nexamples: news.csv\n")
    return path


def change_labels(rows: Sequence[Row], wrong: Callable[[int, str], str]) -> list[Row]:
    return [(text, wrong(row, label)) for row, (text, label) in enumerate(rows)]


def find_wrong_label(folder: Path, rows: Sequence[Row]) -> Finding | None:
    """The finding on labels that look wrong, if there is one."""
    return next(iter(check(write_task(folder, rows)).select_kinds("wrong_label")), None)


def choose_random(share: float) -> Callable[[int, str], str]:
    """Another label, drawn evenly, for this share of the rows."""
    draw = random.Random(7)
    return lambda row, label: (
        draw.choice([name for name in NAMES if name != label]) if draw.random() < share else label
    )


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_wrong_labels_are_named_at_any_noise_with_the_right_one_suggested(
    tmp_path: Path, share: float
) -> None:
    right = create_rows()
    answer = change_labels(right, choose_random(share))
    wrong = {f"news.csv:{row + 2}" for row in range(len(right)) if right[row] != answer[row]}
    findings = find_wrong_label(tmp_path, answer)
    shares = re.search(
        r"Between ([\d.]+)% and ([\d.]+)% of all labels are probably wrong", findings.message
    )
    low, high = shares.groups()
    assert float(low) <= 100 * len(wrong) / len(right) <= float(high)
    assert "The errors look random" in findings.message
    assert 0.5 * len(wrong) <= len(findings.locations) <= 1.05 * len(wrong)
    assert len(wrong.intersection(findings.locations)) >= 0.95 * len(findings.locations)
    lines = [int(location.rpartition(":")[2]) - 2 for location in findings.locations]
    assert sum(
        right[row][1] == label for row, label in zip(lines, findings.subjects, strict=True)
    ) >= 0.95 * len(lines)


def test_a_habit_is_told_by_its_pair_of_labels(tmp_path: Path) -> None:
    draw = random.Random(3)
    answer = change_labels(
        create_rows(),
        lambda _, label: "World" if label == "Business" and draw.random() < 0.3 else label,
    )
    findings = find_wrong_label(tmp_path, answer)
    assert findings
    assert (
        f"The errors have a pattern: Business labelled as World in {len(findings.rows)} rows."
        in findings.message
    )
    assert set(findings.subjects) == {"Business"}


def test_right_labels_are_not_called_wrong(tmp_path: Path) -> None:
    assert find_wrong_label(tmp_path, create_rows()) is None


def test_labels_to_read_are_listed_without_naming_them_wrong(tmp_path: Path) -> None:
    draw = random.Random(2)
    hard = [
        (text if draw.random() < 0.8 else f"says report {row}", label)
        for row, (text, label) in enumerate(create_rows())
    ]
    findings = check(write_task(tmp_path, hard))
    assert not findings.select_kinds("wrong_label")
    (finding,) = findings.select_kinds("unread_label")
    assert finding.severity == "note"
    # the fifth whose text says nothing cannot be told from wrong labels; a guess is right in about
    # a quarter of it
    assert 0.1 < finding.numbers["high"] < 0.25
    assert (
        f"Up to {finding.numbers['high']:.0%} of 600 labels could be wrong unnoticed"
        in finding.message
    )
    assert "to read, it is not known how many are wrong" in finding.message
    lines = [int(location.rpartition(":")[2]) - 2 for location in finding.locations]
    assert all(hard[line][0].startswith("says") for line in lines)
    assert all(label != hard[line][1] for line, label in zip(lines, finding.subjects, strict=True))
    changed = change_labels(hard, choose_random(0.1))
    named, unread = (
        {
            location
            for finding in check(write_task(tmp_path, changed)).select_kinds(kind)
            for location in finding.locations
        }
        for kind in ("wrong_label", "unread_label")
    )
    assert named
    assert named.isdisjoint(unread)
    random_labels = [(text, draw.choice(NAMES)) for text, _ in create_rows()]
    assert not check(write_task(tmp_path, random_labels)).select_kinds(
        "wrong_label", "unread_label"
    )


def test_an_input_with_two_labels_is_named_as_a_contradiction_alone(tmp_path: Path) -> None:
    answer = change_labels(create_rows(), choose_random(0.1))
    text, label = answer[0]
    rows = [*answer, (text, "Sports" if label != "Sports" else "World"), answer[0]]
    findings = check(write_task(tmp_path, rows))
    named = {
        kind: {
            location for finding in findings.select_kinds(kind) for location in finding.locations
        }
        for kind in findings.kinds
    }
    assert {"news.csv:2", f"news.csv:{len(rows)}", f"news.csv:{len(rows) + 1}"} <= named[
        "contradiction"
    ]
    for kind in ("wrong_label", "repeated_input", "near_duplicate"):
        assert named[kind].isdisjoint(named["contradiction"])
