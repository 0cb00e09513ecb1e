"""Whole comparisons with the fake model: what is written, what is said, what is counted."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from etude.assistant import load
from etude.compare import compare
from etude.compare.events import Ended, Event, Said
from etude.errors import Declined, RunError
from etude.models.registry import Models
from etude.runs import Run
from small_task import KINDS, write_task


def events_of(task: Path, **more: object) -> tuple[Run, list[Event]]:
    """Compares and keeps what was told."""
    told: list[Event] = []
    return compare(task, on_event=told.append, **more).run, told  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_reaches_a_verdict(kind: str, tmp_path: Path) -> None:
    run, told = events_of(write_task(tmp_path, kind))
    assert run.complete
    assert run.methods == ["baseline", "prompt", "clear_prompt", "few_shot", "fine_tune"]
    verdict = run.verdict
    assert verdict is not None
    assert {step["method"] for step in verdict["ladder"]} == set(run.methods)
    sides = [(event.method, event.side) for event in told if isinstance(event, Ended)]
    assert sides == [(name, "dev") for name in run.methods] + [(name, "test") for name in run.methods]
    for name in ("run.json", "task.yaml", "split.json", "findings.jsonl", "report.html", "report.md"):
        assert (run.folder / name).exists()


@pytest.mark.parametrize("more", ["", "check: checks.py:fits\n"])
def test_form_and_check_are_told_as_the_estimates_of_the_verdict(more: str, tmp_path: Path) -> None:
    task = write_task(tmp_path, more=more)
    (tmp_path / "checks.py").write_text("def fits(example, answer):\n    return answer == example.output\n")
    run, told = events_of(task)
    assert run.verdict is not None
    for event in (event for event in told if isinstance(event, Ended) and event.side == "test"):
        stored = run.verdict["forms"][event.method]
        assert (event.form and asdict(event.form), event.check and asdict(event.check)) == (
            stored["form"],
            stored["check"],
        )
        assert (event.form is None, event.check is None) == (False, not more)


def test_every_test_row_is_predicted_once_by_every_method(tmp_path: Path) -> None:
    run, _ = events_of(write_task(tmp_path))
    split = json.loads((run.folder / "split.json").read_text())
    for name in run.methods:
        for side in ("dev", "test"):
            ids = [line["id"] for line in run.predictions(name) if line["side"] == side]
            assert ids == split[side]


def test_choices_are_on_disk_before_the_test_is_opened(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    seen: list[bool] = []

    def watch(event: Event) -> None:
        if isinstance(event, Ended) and event.side == "test":
            (folder,) = (tmp_path / "runs").glob("small-*")
            seen.append("decided" in json.loads((folder / "run.json").read_text()))

    compare(task, on_event=watch)
    assert seen == [True] * 5


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    first, _ = events_of(task)
    before = (first.folder / "verdict.json").read_bytes()
    second, told = events_of(task)
    assert (second.folder, told) == (first.folder, [])
    assert (second.folder / "verdict.json").read_bytes() == before


def test_openings_of_one_test_are_counted_across_runs(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    assert events_of(task)[0].info["openings"] == 1
    assert events_of(task, fresh=True)[0].info["openings"] == 1
    task.write_text(task.read_text() + "margin: 0.03\n")
    second, _ = events_of(task)
    assert second.info["openings"] == 2
    assert any("second time" in caveat or "2 times" in caveat for caveat in second.verdict["caveats"])  # type: ignore[index]


def test_a_corrected_answer_stays_on_its_side(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    first, _ = events_of(task)
    rows = (tmp_path / "examples.jsonl").read_text().splitlines()
    corrected = json.loads(rows[3]) | {"output": "Title: Corrected\nAges: 4"}
    (tmp_path / "examples.jsonl").write_text("\n".join([*rows[:3], json.dumps(corrected), *rows[4:]]) + "\n")
    second, _ = events_of(task)
    assert first.folder != second.folder
    old, new = (json.loads((run.folder / "split.json").read_text())["assignments"] for run in (first, second))
    assert old == new


def test_a_reloaded_assistant_answers_as_it_was_measured(tmp_path: Path) -> None:
    run, _ = events_of(write_task(tmp_path))
    models = Models()
    from etude.types import Message

    for name in run.methods:
        if name == "baseline":
            continue  # its dev results are those of the fit on train alone
        assistant = load(run.assistant(name))
        lines = [line for line in run.predictions(name) if line["side"] == "dev"]
        answers = assistant.answer([[Message("user", line["input"])] for line in lines], models)
        assert [answer.text for answer in answers] == [line["answer"] for line in lines]


def test_a_budget_shrinks_the_plan_and_says_so(tmp_path: Path) -> None:
    task = write_task(tmp_path, model="fake:delay=0.2", more="methods: [baseline, prompt, few_shot]\n")
    run, told = events_of(task, budget=2.0)
    said = " ".join(event.text for event in told if isinstance(event, Said))
    assert "To fit the budget" in said
    assert run.info["plan"]["shrunk"]


def test_a_no_to_the_question_runs_nothing(tmp_path: Path) -> None:
    task = write_task(tmp_path, model="fake:delay=0.2", more="methods: [baseline, prompt]\n")
    with pytest.raises(Declined, match="Nothing was run"):
        compare(task, budget=0.01, confirm=lambda question: False)
    assert not list((tmp_path / "runs").glob("*/methods"))


def test_ctrl_c_leaves_a_partial_report_and_the_same_call_goes_on(tmp_path: Path) -> None:
    task = write_task(tmp_path)

    def stop(event: Event) -> None:
        if isinstance(event, Ended) and event.method == "few_shot":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(task, on_event=stop)
    (folder,) = [path.parent for path in (tmp_path / "runs").glob("*/run.json")]
    assert Run(folder).info["status"] == "interrupted"
    assert "clear_prompt" in (folder / "report.html").read_text()
    assert compare(task).run.complete


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    run, _ = events_of(write_task(tmp_path))
    with run.locked(), pytest.raises(RunError, match="Another process"), run.locked():
        pass


def test_a_run_folder_that_is_broken_says_what_to_do(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    run, _ = events_of(task)
    (run.folder / "run.json").write_text("{ half")
    with pytest.raises(RunError, match=r"run\.json cannot be read.*Delete the run"):
        compare(task)
