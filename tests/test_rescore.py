"""The second implementation reaches every number of a run, and sees one that was changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from etude.compare import compare
from real_runs import LEAST, real_run
from small_task import KINDS, THEMES, write_task

SCRIPT = Path(__file__).parents[1] / "bench" / "rescore.py"


def rescored(run: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(run)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


OTHER_METRICS = [("classify", "metric: macro_f1\n"), ("answer", "metric: chrf\n")]


@pytest.mark.parametrize(("kind", "more"), [*((kind, "") for kind in KINDS), *OTHER_METRICS])
def test_every_number_of_a_run_is_reached_again(kind: str, more: str) -> None:
    found = rescored(real_run(kind, more=more))
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_further_right_labels_are_counted_alike(metric: str, tmp_path: Path) -> None:
    task = write_task(tmp_path, "classify", more=f"metric: {metric}\n")
    examples = tmp_path / "examples.jsonl"
    rows = [json.loads(line) for line in examples.read_text().splitlines()]
    lines = [json.dumps(row | {"references": [THEMES[place % 8]]}) + "\n" for place, row in enumerate(rows)]
    examples.write_text("".join(lines))
    run = compare(task).run
    assert any(line["references"] == [line["answer"]] for line in run.predictions("few_shot"))
    found = rescored(run.folder)
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_number_of_a_run_cut_to_its_budget_is_reached_again() -> None:
    run = real_run(num=700, budget=LEAST)
    found = rescored(run)
    assert found.returncode == 0, found.stdout + found.stderr
    assert json.loads((run / "verdict.json").read_text())["test_rows"] == {"answered": 100, "of": 140}


@pytest.mark.parametrize(
    ("keys", "value", "line"),
    [
        (("leaning",), "prompt", "leaning"),
        (("test_rows", "answered"), 49, "test rows: answered"),
        (("test_rows", "of"), 51, "test rows: in all"),
    ],
)
def test_a_number_that_was_changed_is_seen(
    keys: tuple[str, ...], value: Any, line: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(real_run(), run)
    verdict = json.loads((run / "verdict.json").read_text())
    inner = verdict
    for key in keys[:-1]:
        inner = inner[key]
    assert inner[keys[-1]] != value
    inner[keys[-1]] = value
    (run / "verdict.json").write_text(json.dumps(verdict))
    found = rescored(run)
    assert found.returncode == 1
    assert f"\n- {line}" in found.stdout


@pytest.mark.parametrize("kind", ["classify", "answer"])
def test_numbers_of_grouped_rows_are_reached_too(kind: str, tmp_path: Path) -> None:
    task = write_task(tmp_path, kind, num=400)
    read = "examples: {file: examples.jsonl, input: input, output: output, group: shelf}"
    rows = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    shelved = [json.dumps(row | {"shelf": str(at // 5)}) for at, row in enumerate(rows)]
    (tmp_path / "examples.jsonl").write_text("\n".join(shelved) + "\n")
    task.write_text(task.read_text().replace("examples: examples.jsonl", read))
    run = compare(task).run
    assert run.info["unit"] == "group"
    found = rescored(run.folder)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.real
def test_every_number_of_luma_with_the_real_model_is_reached(tmp_path: Path) -> None:
    luma = tmp_path / "luma"
    source = SCRIPT.parents[1] / "examples" / "luma"
    shutil.copytree(source, luma, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    run = compare(luma / "task.yaml", budget=120).run
    found = rescored(run.folder)
    assert found.returncode == 0, found.stdout + found.stderr
