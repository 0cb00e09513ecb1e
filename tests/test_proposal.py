"""The contract that is proposed is the one that init writes, from the rows outside the test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from etude.checks import Findings, check
from etude.checks.rows.proposal import proposed_contract
from etude.checks.shown.html_page import as_html
from etude.checks.shown.machine import as_json, as_junit, as_sarif
from etude.checks.shown.terminal import in_words
from etude.data.dataset import Dataset
from etude.data.formats import read_rows
from etude.data.splits import split
from etude.data.starter import start
from etude.task import RowSource, load_task
from etude.types import Finding
from small_task import KINDS, rows


def proposal(folder: Path, kind: str, answers: list[dict[str, object]], more: str = "") -> Findings:
    """What is proposed for a task of these rows."""
    folder.mkdir(exist_ok=True)
    lines = "".join(json.dumps({key: row[key] for key in ("input", "output")}) + "\n" for row in answers)
    (folder / "examples.jsonl").write_text(lines, encoding="utf-8")
    (folder / "task.yaml").write_text(
        f"name: t\nkind: {kind}\nmodel: fake\nexamples: examples.jsonl\n{more}", encoding="utf-8"
    )
    return check(folder / "task.yaml", [proposed_contract])


def lines_of(found: Finding) -> object:
    """The YAML in the message."""
    return yaml.safe_load(found.message[found.message.index("contract: {") :])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "rewrite"])
def test_it_is_the_contract_that_init_writes(kind: str, tmp_path: Path) -> None:
    (found,) = proposal(tmp_path / "check", kind, rows(kind, 220))
    written = yaml.safe_load(start(tmp_path / "check" / "examples.jsonl", tmp_path / "init.yaml").text)
    assert lines_of(found) == {"contract": written["contract"]}
    assert found.numbers["kept"] == 1


def test_nothing_is_proposed_beside_a_contract_or_where_only_a_length_could_be_guessed(
    tmp_path: Path,
) -> None:
    assert not len(proposal(tmp_path, "answer", rows("answer", 220), "contract: {max_words: 30}\n"))
    assert not len(proposal(tmp_path, "rewrite", rows("rewrite", 220)))
    assert not len(
        proposal(tmp_path, "extract", [{**row, "output": "plain text"} for row in rows("extract", 220)])
    )


def test_answers_of_the_test_side_are_not_read(tmp_path: Path) -> None:
    made = rows("answer", 220)
    before = proposal(tmp_path, "answer", made)
    dataset = Dataset(tuple(read_rows(RowSource(tmp_path / "examples.jsonl")).examples))
    sealed = {int(row.where.rpartition(":")[2]) - 1 for row in split(dataset, "answer", 0).test}
    assert sealed
    changed = [row | {"output": "none"} if place in sealed else row for place, row in enumerate(made)]
    assert proposal(tmp_path, "answer", changed).found == before.found


@pytest.mark.parametrize(
    "labels",
    [
        ["anna@corp.example.io", "bo@corp.example.io", "refund", "delivery"],
        ["+49 30 901820", "+49 89 233030"],
        [f"case {n}" for n in range(200)],
    ],
)
def test_no_label_that_is_personal_or_stands_in_one_row_is_proposed_or_shown(
    labels: list[str], tmp_path: Path
) -> None:
    made = [row | {"output": labels[place % len(labels)]} for place, row in enumerate(rows("classify", 220))]
    assert not len(proposal(tmp_path, "classify", made))
    found = check(tmp_path / "task.yaml")
    private = [label for label in labels if "@" in label or "+" in label]
    forms = [form(found) for form in (in_words, as_json, as_html, as_sarif, as_junit)]
    assert not [label for label in private if any(label in told for told in forms)]
    written = start(tmp_path / "examples.jsonl", tmp_path / "init.yaml")
    assert "labels" not in yaml.safe_load(written.text).get("contract", {})
    assert not [label for label in private if label in written.text + " ".join(written.guesses)]
    assert load_task(tmp_path / "init.yaml").contract is None


def test_keys_of_records_that_are_values_are_not_proposed(tmp_path: Path) -> None:
    made = [
        row | {"output": json.dumps({"total": n, f"customer {n}": 1, "anna@corp.example.io": 2})}
        for n, row in enumerate(rows("extract", 220))
    ]
    (found,) = proposal(tmp_path, "extract", made)
    assert "{total: {type: integer}}" in found.message
    assert "customer" not in found.message
    assert "@" not in found.message
