"""The whole path of one comparison, top to bottom: read, split, plan, climb, decide, open the test, say.

task.yaml + examples  ->  a run folder with verdict.json, report.html, report.md
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from etude.compare.climb import Climb, fitted_before
from etude.compare.events import OnEvent
from etude.compare.outcome import decided_on_dev, final_verdict, tell_planned_power, tell_power
from etude.compare.prepare import (
    Confirm,
    begin,
    describe,
    fingerprints,
    planned,
    split_once,
    with_budget,
)
from etude.dataset import Dataset, load_dataset, load_test
from etude.files import Json, write_json
from etude.methods.workshop import blank
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.report import write_report
from etude.runs import FOLDER, Run, clear, opened, run_for
from etude.task import Task, load_task


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: its run folder, and the verdict in it."""

    run: Run

    @property
    def verdict(self) -> Json:
        """verdict.json."""
        verdict = self.run.verdict
        assert verdict is not None, "a finished comparison has a verdict"
        return verdict


def compare(
    task_file: Path | str,
    *,
    budget: float | None = None,
    fresh: bool = False,
    on_event: OnEvent = lambda event: None,
    confirm: Confirm = lambda question: True,
) -> Comparison:
    """Compares the task's methods on one sealed test and writes the run folder beside the task file.

    `budget` (seconds; infinity for none) overrules the task's. The same call on the same inputs goes
    on where an earlier one stopped, and returns at once where it had finished; `fresh` starts anew.
    Raises InputError for faults of the task or its data (all of them), ModelError for weights, RunError
    for the run folder, Declined when `confirm` says no. A KeyboardInterrupt leaves a partial report.
    """
    task, dataset = load_dataset(with_budget(load_task(Path(task_file)), budget))
    test = load_test(task)
    run = run_for(task.folder / FOLDER, task.name, fingerprints(task, dataset, test))
    with run.locked():
        if fresh:
            clear(run)
        if not run.complete:
            begin(run, task)
            _told_on_stop(run, lambda: _climb(run, task, dataset, test, on_event, confirm))
        elif not (run.folder / "report.html").exists():
            write_report(run.folder)
    return Comparison(run)


def _climb(
    run: Run, task: Task, dataset: Dataset, test: Dataset | None, on_event: OnEvent, confirm: Confirm
) -> None:
    """From the split to the verdict. Up to `opened` nothing has answered a test row."""
    parts = split_once(run, task, dataset, test)
    metric = choose_metric(task, parts.train)
    describe(run, task, parts, metric, on_event)
    models = Models()
    start = blank(task, parts.train, models)
    plan = planned(run, task, parts, start, models, on_event, confirm)
    climb = Climb(task, parts, run, models, metric, plan, on_event)
    tell_planned_power(climb)

    fitted = climb.fit_all(start)
    run.update(decided=decided_on_dev(climb, fitted))
    tell_power(climb)

    openings = opened(run.folder.parent, run, parts.test.fingerprint)
    run.update(openings=openings)
    climb.answer_test(fitted)
    write_json(run.folder / "verdict.json", final_verdict(climb, fitted, openings))
    run.update(status="complete")


def _told_on_stop(run: Run, work: Callable[[], None]) -> None:
    """Does the work and writes the report, also the partial one that a Ctrl-C or a fault leaves."""
    try:
        work()
    except BaseException:
        run.update(status="interrupted")
        raise
    finally:
        if fitted_before(run):
            write_report(run.folder)
