"""The whole path of one comparison, top to bottom: read, split, plan, climb, decide, open the test, say.

task.yaml + examples  ->  a run folder with verdict.json, report.html, report.md
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path

from etude.checks.quick_checks import run_quick_checks
from etude.comparison.equal_rows import answer_equal, fit_equal
from etude.comparison.evidence import answer_evidence, fit_evidence
from etude.comparison.ladder_run import LadderRun
from etude.comparison.outcome import decided_on_dev, final_verdict, tell_planned_power, tell_power
from etude.comparison.prepare import describe, planned
from etude.methods import Method, asks_a_model, ladder, own_ladder, possible
from etude.methods.fit_context import blank
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.report import write_report
from etude.runs import Run
from etude.runs.events import OnEvent
from etude.runs.fingerprints import fingerprints
from etude.runs.folder import REQUESTS
from etude.runs.lifecycle import TaskRun, carry_out, read_task
from etude.runs.openings import open_test
from etude.runs.questions import Confirm, agreed
from etude.runs.split import split_once
from etude.runs.verdict import Verdict, write_verdict
from etude.task import METHOD_NAMES, EvidenceLevel


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: its run folder, and the verdict in it."""

    run: Run

    @property
    def verdict(self) -> Verdict:
        """Which method to use and why."""
        verdict = self.run.verdict
        assert verdict is not None, "a finished comparison has a verdict"
        return verdict


def compare(
    task_file: Path | str,
    *,
    budget: float | None = None,
    evidence: EvidenceLevel | None = None,
    fresh: bool = False,
    methods: Sequence[Method] | None = None,
    on_event: OnEvent = lambda event: None,
    confirm: Confirm = agreed,
) -> Comparison:
    """Compares the task's methods on one sealed test and writes the run folder beside the task file.

    `budget` (seconds; infinity for none) and `evidence` overrule the task's. The same call on the same inputs goes
    on where an earlier one stopped, and returns at once where it had finished; `fresh` starts anew and
    keeps what an earlier one has fitted as a run of its own. `methods`, lowest step first, overrule the
    task's: `[*LADDER, Own()]` runs a step of your own next to the built-in ones. Their names and settings
    tell runs apart, their code does not.
    Raises InputError for faults of the task or its data (all of them), ModelError for weights, RunError
    for the run folder, Declined when `confirm` says no. A KeyboardInterrupt leaves a partial report.
    """
    started = time.monotonic()
    task, dataset, test = read_task(task_file, budget)
    task = replace(task, evidence=evidence or task.evidence)
    given = ladder(task.methods) if methods is None else own_ladder(methods)
    steps = possible(given, task, named=methods is None and task.methods != METHOD_NAMES)
    task = replace(task, methods=tuple(step.name for step in steps))
    inputs = fingerprints(task, dataset, test) | _named(methods)
    task_run = TaskRun(task, dataset, test, inputs)

    def work(run: Run, on_event: OnEvent) -> None:
        before = run.info.get("taken_seconds", 0.0)
        try:
            _climb(task_run, steps, confirm, started, run, on_event)
        finally:
            run.update(taken_seconds=before + time.monotonic() - started)

    return Comparison(carry_out(task_run, work, write_report, fresh=fresh, on_event=on_event))


def _named(methods: Sequence[Method] | None) -> dict[str, str]:
    """What tells runs of the caller's own methods apart."""
    if methods is None:
        return {}
    named = [repr(each) if is_dataclass(each) else type(each).__qualname__ for each in methods]
    return {"own methods": ", ".join(named)}


def _climb(
    task_run: TaskRun,
    methods: Sequence[Method],
    confirm: Confirm,
    started: float,
    run: Run,
    on_event: OnEvent,
) -> None:
    """From the split to the verdict. Up to `open_test` nothing has answered a test row."""
    task, dataset, test = task_run.task, task_run.dataset, task_run.test
    checked = run_quick_checks(run, task, dataset, test, on_event, confirm)
    parts = split_once(run, task, dataset, test, checked)
    metric = choose_metric(task, parts.train)
    describe(run, task, parts, metric, on_event)
    models = Models(endpoints=task.endpoints, journal=run.folder / REQUESTS)
    start = blank(task, parts.train, models if asks_a_model(methods) else None)
    plan, pacing = planned(run, task, methods, parts, start, models, started, on_event, confirm)
    methods = [method for method in methods if method.name not in plan.left_out]
    climb = LadderRun(task, parts, run, models, metric, plan, on_event, methods, pacing)
    tell_planned_power(climb)

    fitted = climb.fit_all(start)
    run.update(decided=decided_on_dev(climb, fitted))
    equal = fit_equal(climb, start)
    waiting = fit_evidence(climb, fitted, start)
    climb.shorten("")
    if climb.plan is not plan:
        tell_planned_power(climb)
    tell_power(climb)

    openings = open_test(run.folder.parent, run.info["id"], climb.test_rows)
    run.update(openings=openings)
    climb.answer_test(fitted)
    run.update(notes=[*run.info["notes"], *models.notes])
    beside = answer_equal(climb, equal)
    evidence, further = answer_evidence(climb, waiting)
    found = final_verdict(climb, fitted, openings, beside, evidence, further)
    write_verdict(run.folder / "verdict.json", found)
