"""bench/rescore.py, a second implementation, reaches every number of a run; and it can fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etude.compare import compare
from small_task import KINDS, write_task

ROOT = Path(__file__).parents[1]


def rescored(run: Path) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(ROOT / "bench" / "rescore.py"), str(run)]
    return subprocess.run(script, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_a_run_is_reached_from_its_raw_answers(kind: str, tmp_path: Path) -> None:
    run = compare(write_task(tmp_path, kind, more="margin: 0.05\ntarget: 0.8\n")).run
    found = rescored(run.folder)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 do not agree" in found.stdout


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


def test_a_changed_number_of_the_verdict_is_noticed(tmp_path: Path) -> None:
    run = compare(write_task(tmp_path, "classify")).run
    file = run.folder / "verdict.json"
    verdict = json.loads(file.read_text())
    verdict["ladder"][0]["estimate"]["value"] += 0.01
    file.write_text(json.dumps(verdict))
    found = rescored(run.folder)
    assert found.returncode == 1, found.stdout + found.stderr


@pytest.mark.real
def test_every_number_of_luma_with_the_real_model_is_reached(tmp_path: Path) -> None:
    luma = tmp_path / "luma"
    shutil.copytree(ROOT / "examples" / "luma", luma, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    run = compare(luma / "task.yaml", budget=120).run
    found = rescored(run.folder)
    assert found.returncode == 0, found.stdout + found.stderr
