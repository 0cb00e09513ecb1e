"""The contract that is proposed is the one that init writes, from the rows outside the test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from etude.checks import Findings, check
from etude.checks.proposal import proposed_contract
from etude.dataset import Dataset
from etude.formats import read_rows
from etude.splits import split
from etude.starter import start
from etude.task import RowSource
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
