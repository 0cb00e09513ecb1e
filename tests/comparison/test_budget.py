"""A comparison under a budget: steps left out by name, a late run, the time that is told, and equal rows."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from test_rescore import check_rescored

from etude.assistant import Assistant
from etude.base.files import read_lines
from etude.comparison import compare, prepare
from etude.comparison.prepare import CLOSING_SECONDS
from etude.data.dataset import Dataset
from etude.errors import Declined
from etude.estimates.timing import Rates
from etude.methods import METHODS, FitContext
from etude.methods.prompt import Prompt
from etude.runs import Run
from etude.runs.events import Event, MethodEnded, StepTrained
from etude.runs.training_log import MIN_STEPS, TrainingLog
from etude.task import Task
from real_runs import LEAST, real_run
from small_task import write_task

STEPS = "methods: [baseline, prompt, few_shot, fine_tune]\n"


def test_steps_are_left_out_by_name_and_the_run_says_so(tmp_path: Path) -> None:
    task, asked = write_task(tmp_path, model="fake:delay=0.02", more=STEPS), list[str]()
    run = compare(task, budget=LEAST, confirm=lambda question: asked.append(question) is None).run
    assert len(asked) == 1
    assert asked[0].startswith(
        "The budget of 1 ms is too small for all methods: even with the largest cuts they take under a minute "
    )
    assert re.search(
        r"Without (few_shot and prompt|prompt and few_shot), the run takes under a minute", asked[0]
    )
    assert run.fitted_methods == ["baseline", "fine_tune"]
    assert set(run.info["plan"]["left_out"]) == {"prompt", "few_shot"}
    assert run.verdict is not None
    assert [step.method for step in run.verdict.ladder] == ["baseline", "fine_tune"]
    assert "were not measured" in run.verdict.sentence
    assert "2 methods, without" in (run.folder / "report.html").read_text()
    assert re.search(r"Planned time: .+\. Actual time: .+ s\.", (run.folder / "report.md").read_text())
    assert compare(task, budget=LEAST, confirm=lambda question: False).run == run, (
        "a finished run is not asked about"
    )
    check_rescored(run.folder)


def test_a_run_that_goes_on_keeps_what_was_left_out(tmp_path: Path) -> None:
    task = write_task(tmp_path, model="fake:delay=0.02", more=STEPS)

    def stop(event: Event) -> None:
        if isinstance(event, MethodEnded):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(task, budget=LEAST, on_event=stop)
    (folder,) = (tmp_path / "runs").glob("small-*")
    before = Run(folder).info["elapsed_seconds"]
    run = compare(task, budget=LEAST).run
    assert run.is_complete
    assert run.fitted_methods == ["baseline", "fine_tune"]
    assert run.info["elapsed_seconds"] > before > 0, "all attempts together"


def test_who_does_not_want_to_leave_steps_out_runs_nothing(tmp_path: Path) -> None:
    task = write_task(tmp_path, model="fake:delay=0.02", more=STEPS)
    with pytest.raises(Declined, match="Set `budget:`"):
        compare(task, budget=LEAST, confirm=lambda question: "Leave them out" not in question)


def test_a_timing_that_takes_longer_than_the_budget_drops_no_cheap_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, read_clock, late = prepare.measure_rates, time.monotonic, [0.0]

    def measure_slowly(*arguments: Any) -> Rates:
        late[0] += 90.0  # seconds
        return measure(*arguments)

    monkeypatch.setattr(prepare, "measure_rates", measure_slowly)
    monkeypatch.setattr(time, "monotonic", lambda: read_clock() + late[0])
    run = compare(write_task(tmp_path, more=STEPS), budget=60.0).run
    assert run.info["plan"]["left_out"] == []
    assert "baseline" in run.info["plan"]["cheap"]
    assert run.info["plan"]["budget"] == pytest.approx(prepare.LEAST_SHARE * 60.0)
    assert run.fitted_methods == ["baseline", "prompt", "few_shot", "fine_tune"]


@dataclass(frozen=True)
class Late(Prompt):
    """A step that takes longer than anybody could foresee."""

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Sleeps first."""
        # Of about 3.7 s: even in a process that has all imports, few_shot needs more than is left.
        time.sleep(3)
        return super().fit(task, train, dev, start, context)


@pytest.mark.real
def test_when_a_method_is_late_those_after_it_get_less_and_a_resumed_run_keeps_the_efforts(
    tmp_path: Path,
) -> None:
    task = write_task(tmp_path, model="fake:delay=0.02", num=700)
    later = (method for method in METHODS if method.name in ("few_shot", "fine_tune"))
    methods, budget = [METHODS[0], Late(), *later], CLOSING_SECONDS + 4
    stops = [True]

    def stop(event: Event) -> None:
        if isinstance(event, MethodEnded) and (event.method, event.side) == ("few_shot", "dev") and stops:
            stops.clear()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(task, budget=budget, methods=methods, on_event=stop)
    (folder,) = (tmp_path / "runs").glob("small-*")
    before = Run(folder).info
    run = compare(task, budget=budget, methods=methods).run
    efforts = run.info["efforts"]
    assert {name: efforts[name] for name in before["efforts"]} == before["efforts"]
    planned = before["plan"]["efforts"]["few_shot"]
    rows = 70 if planned["dev_rows"] is None else planned["dev_rows"]
    assert efforts["few_shot"]["dev_rows"] <= rows
    assert run.verdict is not None
    assert any("few_shot: " in caveat for caveat in run.verdict.caveats if "Cut to fit" in caveat)
    check_rescored(run.folder)


def test_the_time_left_is_what_was_foreseen_until_ten_steps_are_done(tmp_path: Path) -> None:
    told: list[Event] = []
    log = TrainingLog("own", tmp_path / "train.jsonl", told.append, lambda: 40.0)
    for step in range(1, 21):
        seconds = 30.0 if step == 1 else 1.0
        log(
            {"step": step, "steps": 20, "epoch": 1, "epochs": 1, "loss": 1.0, "tokens": 8, "seconds": seconds}
        )
    left = [event.remaining_seconds for event in told if isinstance(event, StepTrained)]
    assert left[: MIN_STEPS - 1] == [40.0 * (20 - step) / 20 for step in range(1, MIN_STEPS)]
    assert left[MIN_STEPS - 1 :] == [20 - step for step in range(MIN_STEPS, 21)]


def test_fewer_rows_are_named_in_verdict_and_ladder_with_the_baseline_on_as_many() -> None:
    folder = real_run("classify", more="train: {max_rows: 30}\n")
    run = Run(folder)
    assert run.verdict is not None
    assert "30 of 70 rows" in run.verdict.sentence
    assert run.verdict.baseline_on_equal_rows is not None
    lines = list(read_lines(folder / "methods/baseline/equal_rows/predictions.jsonl"))
    right = sum(line["score"] for line in lines) / len(lines)
    assert run.verdict.baseline_on_equal_rows.estimate.value == pytest.approx(right)
    report = (folder / "report.md").read_text()
    assert "baseline on equal rows" in report
    assert report.count("30 of 70") >= 3
    assert "baseline on equal rows" in (folder / "report.html").read_text()


def test_without_a_cut_no_second_baseline_is_fitted() -> None:
    run = Run(real_run("classify"))
    assert run.verdict is not None
    assert run.verdict.baseline_on_equal_rows is None
    assert not (run.method_folder("baseline") / "equal_rows").exists()
