"""What is shown in a terminal and a notebook to people who use Étude from Python."""

import json
import sys
from pathlib import Path

import pytest

from etude.checks import check
from etude.comparison import compare
from etude.runs import progress
from etude.runs.events import BatchAnswered, MethodFailed, StepTrained
from small_task import write_task


def test_findings_are_a_sequence_and_a_table(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    with (tmp_path / "examples.jsonl").open("a") as file:
        file.write(json.dumps({"input": "<b>", "output": ""}) + "\nnothing\n")
    findings = check(task)
    assert findings[0] == next(iter(findings))
    assert findings[:2] == findings.items[:2]
    assert findings[-1] in findings
    page = findings._repr_html_()
    assert page.count("<tr>") == len(findings)
    assert "<b>" not in page


@pytest.mark.parametrize("is_watched", [False, True])
def test_compare_prints_its_progress_if_somebody_watches(
    is_watched: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_watched)
    verdict = compare(write_task(tmp_path, more="methods: [prompt, few_shot]\n")).verdict
    lines = capsys.readouterr().err.splitlines()
    assert ("prompt: answering the test ..." in lines) == is_watched
    assert bool(lines) == is_watched
    assert verdict._repr_html_().count("<tr>") == 2
    assert verdict.ladder[0].method in verdict._repr_html_()


def test_progress_is_a_line_in_five_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    show = progress.ProgressPrinter()
    for second in range(12):
        clock[0] = float(second)
        show(BatchAnswered("prompt", second, 12, 3.0))
    show(MethodFailed("prompt", "No memory."))
    clock[0] = 60.0
    show(StepTrained("fine_tune", 3, 9, 1, 1, 0.5, 10.0, 3.0, 0))
    assert capsys.readouterr().err.splitlines() == [
        "prompt: 5 of 12 rows, 3 s left",
        "prompt: 10 of 12 rows, 3 s left",
        "prompt failed: No memory.",
        "fine_tune: step 3/9, loss 0.500, 10 tokens/s, 3 s left",
    ]
