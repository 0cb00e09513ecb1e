"""A comparison whose rows and methods are shared out equals one in this process, and the test stays
sealed.
"""

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from etude.base.files import read_json, read_lines
from etude.comparison import compare
from etude.methods import get_methods
from etude.methods.fine_tune import FineTune
from etude.runs import Run
from etude.runs.events import BatchAnswered, Event, MethodEnded, NoteEvent
from etude.runs.lifecycle import load_task_rows
from etude.task import EvidenceLevel
from far_workers import FarWorkers, kill_worker, open_far
from small_task import library, write_task

CLOCK = ("seconds", "answer_seconds", "train_seconds", "created", "elapsed_seconds")


class Again(FineTune):
    """A second method that builds on no other."""

    name = "again"


METHODS = [*get_methods(("baseline", "prompt", "few_shot", "fine_tune")), Again()]


def strip_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: strip_times(item) for key, item in value.items() if key not in CLOCK}
    return [strip_times(item) for item in value] if isinstance(value, list) else value


def read_results(run: Run) -> dict[str, Any]:
    """All answers of a run, row by row, and what each method chose."""
    results: dict[str, Any] = {
        "recommended": run.verdict.recommended,
        "sentence": run.verdict.sentence,
    }
    if evidence := run.verdict.evidence:
        results["evidence"] = (evidence.curve, evidence.doubling)
    for name in run.fitted_methods:
        folder = run.method_folder(name)
        results[name] = strip_times(list(read_lines(folder / "predictions.jsonl")))
        results[f"{name} tried"] = strip_times(list(read_lines(folder / "tried.jsonl")))
        record = read_json(folder / "method.json")
        results[f"{name} choice"] = [
            (trial["name"], trial["is_chosen"]) for trial in record["candidates"]
        ]
    return results


def share_out(monkeypatch: pytest.MonkeyPatch) -> FarWorkers:
    workers = FarWorkers()
    monkeypatch.setattr(
        sys.modules["etude.comparison.compare"], "open_workers", partial(open_far, workers)
    )
    return workers


@pytest.mark.parametrize("kind", ["answer", pytest.param("classify", marks=pytest.mark.real)])
def test_workers_change_no_answer_and_no_choice(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence: EvidenceLevel = "full" if kind == "answer" else "one_run"
    here = compare(write_task(tmp_path / "here", kind), methods=METHODS, evidence=evidence).run
    workers = share_out(monkeypatch)
    events: list[Event] = []
    there = compare(
        write_task(tmp_path / "there", kind),
        methods=METHODS,
        evidence=evidence,
        on_event=events.append,
    ).run
    assert workers.sent
    results = read_results(there)
    assert results == read_results(here)
    together = [
        event.text for event in events if isinstance(event, NoteEvent) and "same time" in event.text
    ]
    assert together == ["Fitting at the same time: fine_tune, again ..."]
    ended = [(event.method, event.side) for event in events if isinstance(event, MethodEnded)]
    assert len(set(ended)) == len(ended) == (10 if evidence == "one_run" else 12)
    assert results["evidence"] if evidence == "full" else "evidence" not in results


def test_a_method_that_fails_on_a_worker_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_out(monkeypatch)
    monkeypatch.setattr(Again, "fit", lambda *_: 1 / 0)
    run = compare(write_task(tmp_path), methods=METHODS).run
    assert run.info["failures"] == {"again": "division by zero"}
    assert "ZeroDivisionError" in (run.method_folder("again") / "error.txt").read_text()
    assert "fine_tune" in run.fitted_methods


def test_no_worker_gets_a_test_row_before_the_test_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = share_out(monkeypatch)
    num_sent = 0

    def mark_opening(root: Path, *_: Any) -> int:
        nonlocal num_sent
        num_sent = len(workers.sent)
        return 1

    monkeypatch.setattr(sys.modules["etude.comparison.compare"], "open_test", mark_opening)
    task = write_task(tmp_path)
    run = compare(task, methods=METHODS).run
    inputs = {row.id: row.text for row in load_task_rows(task, None)[1]}
    counts = Counter(inputs.values())
    tests = [
        inputs[row]
        for row in read_json(run.folder / "split.json")["test"]
        if counts[inputs[row]] == 1
    ]
    before = b"".join(workers.sent[:num_sent])
    after = b"".join(workers.sent[num_sent:])
    assert num_sent > 3
    assert tests
    assert not [text for text in tests if text.encode() in before]
    assert [text for text in tests if text.encode() in after]


@pytest.mark.real
def test_two_nodes_of_which_one_loses_a_worker_give_the_same_run(
    two_nodes: Any, tmp_path: Path
) -> None:
    more = "methods: [baseline, prompt, retrieval, constrained, fine_tune]\n"
    here = compare(write_task(tmp_path / "here", more=more + library(tmp_path / "here"))).run
    killed: list[int] = []

    def kill_once(event: Event) -> None:
        if isinstance(event, BatchAnswered) and not killed:
            killed.append(kill_worker())

    task = write_task(tmp_path / "there", more=more + library(tmp_path / "there") + "where: ray\n")
    there = compare(task, on_event=kill_once).run
    assert killed
    assert read_results(there) == read_results(here)
