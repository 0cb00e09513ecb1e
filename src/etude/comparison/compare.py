"""`etude compare`: from a task file to a run folder. `run_comparison` has all steps in order.

task.yaml + examples  ->  runs/NAME/ with verdict.json, report.html and report.md

The ladder is the list of methods that are compared, simplest first. The test is sealed: its rows
are opened only after every choice is made on train and dev.
"""

import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path

from etude.checks.quick_checks import run_quick_checks
from etude.cluster import Workers, open_workers, parse_where
from etude.comparison.clock import Clock
from etude.comparison.evidence import (
    answer_arms,
    answer_baseline_on_equal_rows,
    fit_arms,
    fit_baseline_on_equal_rows,
    fit_evidence,
)
from etude.comparison.ladder_run import LadderRun
from etude.comparison.looks import Looks
from etude.comparison.outcome import choose_pair_on_dev, compute_verdict, report_expected_power
from etude.comparison.prepare import check_and_ask, report_data
from etude.comparison.scope_check import add_limits, fit_limits
from etude.comparison.sealed_test import AnswerRounds, check_stored_answers
from etude.data.dataset import COMPARE_MIN
from etude.errors import Declined, InputError, ModelError, RunError
from etude.methods import (
    Method,
    check_methods,
    get_methods,
    leave_out_unfit,
    needs_model,
    resolve_methods,
)
from etude.methods.shared.fit_context import initial_assistant
from etude.metrics import choose_metric
from etude.models.registry import Models, get_title
from etude.report import report_while_running, write_report
from etude.runs import Run
from etude.runs.events import NoteEvent, OnEvent
from etude.runs.fingerprints import compute_fingerprints
from etude.runs.folder import REQUESTS
from etude.runs.lifecycle import TaskRun, load_task_rows, run_to_end
from etude.runs.openings import open_test
from etude.runs.progress import choose_reporter
from etude.runs.questions import Confirm, answer_unasked
from etude.runs.split import load_split
from etude.runs.verdict import Verdict, write_verdict
from etude.task import METHOD_NAMES, EvidenceLevel
from etude.task.urls import parse_engine


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: its run folder, and the verdict in it."""

    run: Run

    @property
    def verdict(self) -> Verdict:
        verdict = self.run.verdict
        assert verdict is not None, "a finished comparison has a verdict"
        return verdict

    def __repr__(self) -> str:
        return f"{self.verdict}\n\nReport: {self.run.folder / 'report.html'}"


def compare(
    task_file: Path | str,
    *,
    budget: float | None = None,
    evidence: EvidenceLevel | None = None,
    on: str | None = None,
    engine: str | None = None,
    fresh: bool = False,
    methods: Sequence[Method] | None = None,
    on_event: OnEvent | None = None,
    confirm: Confirm = answer_unasked,
    stop: threading.Event | None = None,
) -> Comparison:
    """Compare the task's methods on one sealed test and write the run folder next to the task file.

    `budget` (seconds; infinity for none), `evidence` and `engine` override the task file. `methods`
    (simplest first) replace its methods: `[*LADDER, Own()]` adds one of your own. The same call
    with the same inputs resumes a run that was stopped, and returns at once if the run is complete.
    A method that fails is left out, and the next call tries it again. `fresh` starts a new run and
    keeps the old one. The names and settings of methods identify a run; their code does not. `on`
    (default: the task's `where`) is local, or a Ray cluster whose workers answer rows and fit
    methods that do not build on each other; it changes no result.

    When `stop` is set, no further method is fitted, and the methods answer the test for about a
    minute, after the rows in progress: the run is then complete, with fewer rows.

    Without `on_event`, progress is printed in a terminal or a notebook, and nowhere else.

    Raises InputError with all errors of the task and its rows, ModelError for missing weights,
    RunError for an unusable run folder, Declined if `confirm` returns False. A KeyboardInterrupt
    leaves a partial report.
    """
    started = time.monotonic()
    on_event = on_event or choose_reporter()
    task, dataset, test = load_task_rows(task_file, budget)
    task = replace(task, evidence=evidence or task.evidence)
    if engine:
        task = replace(task, engine=parse_engine(engine, "engine"))
    ladder = get_methods(task.methods) if methods is None else check_methods(methods)
    # Skip methods for which the task lacks something, such as documents; that is an error if the
    # user chose them.
    missing = {
        method.name: method.missing_key(task) for method in ladder if method.names_missing_key
    }
    left_out = [f"{name} was left out: it needs {key}." for name, key in missing.items() if key]
    ladder = resolve_methods(
        ladder, task, is_explicit=methods is None and task.methods != METHOD_NAMES
    )
    task = replace(
        task, methods=tuple(method.name for method in ladder), notes=(*task.notes, *left_out)
    )
    # The fingerprints name the run folder: same inputs, same folder, so a second call resumes.
    inputs = compute_fingerprints(task, dataset, test)
    if methods is not None:
        names = [repr(own) if is_dataclass(own) else type(own).__qualname__ for own in methods]
        inputs = inputs | {"own methods": ", ".join(names)}
    parse_where(on or task.where)  # also for a run that is complete
    task_run = TaskRun(task, dataset, test, inputs)
    clock = Clock(task.budget_seconds, started, stop)

    def run_once(run: Run, on_event: OnEvent) -> None:
        earlier_seconds = run.info.get("elapsed_seconds", 0.0)
        clock.started = (
            started - earlier_seconds
        )  # a resumed run gets the time that earlier attempts left
        try:
            with open_workers(on or task.where) as workers:
                run_comparison(task_run, run, ladder, on_event, confirm, clock, workers)
        finally:
            run.update(elapsed_seconds=earlier_seconds + time.monotonic() - started)

    # Locks the folder, calls `run_once` unless the run is complete, and writes report.html and
    # report.md.
    return Comparison(run_to_end(task_run, run_once, write_report, fresh=fresh, on_event=on_event))


def run_comparison(
    task_run: TaskRun,
    run: Run,
    ladder: Sequence[Method],
    on_event: OnEvent,
    confirm: Confirm,
    clock: Clock,
    workers: Workers,
) -> None:
    """Run every step from the split to verdict.json. Nothing answers a test row before
    `open_test`.
    """
    task = task_run.task
    dataset = task_run.dataset
    test = task_run.test
    # 1. Check the rows and split them once: findings.jsonl, split.json (seconds).
    findings = run_quick_checks(run, task, dataset, test, on_event, confirm)
    split = load_split(run, task, dataset, test, findings, (COMPARE_MIN,))
    check_stored_answers(task, split.test, task.methods)
    # 2. Choose the metric from the training rows; report sizes and the smallest detectable
    # difference: run.json.
    metric = choose_metric(task, split.train.real)
    ladder, left_out = leave_out_unfit(ladder, task, split.train.examples)
    report_data(run, task, split, metric, on_event, left_out)
    # 3. Fit the methods that take seconds, for a first figure before the language model is loaded.
    # Then check the lengths of rows, and ask before anything is sent to a service.
    models = Models(endpoints=task.endpoints, journal=run.folder / REQUESTS)
    models.workers = workers
    ladder_run = LadderRun(task, split, run, models, metric, on_event, ladder, clock)
    ladder_run.on_result = report_while_running(run)
    Looks(ladder_run).fit_quick(initial_assistant(task, split.train, None))
    if needs_model(ladder):
        on_event(NoteEvent(f"Loading {get_title(task.prompt_model or task.model)} ..."))
    try:
        start = initial_assistant(task, split.train, models if needs_model(ladder) else None)
        if "asked" not in run.info:
            check_and_ask(task, ladder, split, start, models, on_event, confirm)
            run.update(asked=True)
    except (InputError, ModelError, Declined):
        if (
            "asked" not in run.info
        ):  # with other rows or another model, nothing of this run can be used
            shutil.rmtree(run.folder / "methods", ignore_errors=True)
        raise

    # Fit the `limits:` now: later, their seconds would be missing from the time that is kept for
    # the test.
    limits = fit_limits(ladder_run)
    # 4. Fit every method on train and dev: methods/NAME (almost all of the time, most of it
    # training). Under a budget, every method first has a short look; then time goes to what could
    # still change the decision. A method starts from the best prompt of the simpler methods.
    fitted = Looks(ladder_run).fit_all(start)
    if not fitted:
        raise RunError("The run ended before a method had a result. Run it again, with more time.")
    # 5. From dev alone, choose the headline pair: the untuned and the tuned method whose difference
    # on the test says whether fine-tuning helps: run.json, `decided`.
    run.update(decided=choose_pair_on_dev(ladder_run, fitted))
    # 6. Extra fits for the report: the baseline on as few rows as tuning used, if the time was too
    # short for all, so that both can be compared on equal terms; with `evidence: full`, the points
    # of the learning curve; with made rows, fits without them.
    baseline = fit_baseline_on_equal_rows(ladder_run, start)
    evidence = fit_evidence(ladder_run, fitted, start)
    arms = fit_arms(ladder_run, fitted, start)
    # 7. Let the assistants turn away questions outside the task: assistant.json. All methods are
    # compared without limits, so this changes no answer of step 10.
    limited = add_limits(ladder_run, fitted, limits)
    # 8. The headline pair and all methods that did not clearly lose on dev are contenders: they
    # answer as many test rows as time allows, the others only a few. Report what such a test can
    # show.
    contenders = ladder_run.find_contenders(run.info["decided"].values())
    run.update(contenders=contenders)
    report_expected_power(ladder_run, contenders)

    # 9. Open the test and count the opening: runs/openings.jsonl. From here on no choice is made.
    num_openings = open_test(run.folder.parent, run.info["id"], ladder_run.test_rows)
    run.update(openings=num_openings, ended_early=ladder_run.is_ending)
    # 10. The methods answer the test, resumable batch by batch: methods/NAME/predictions.jsonl.
    baseline_result = answer_baseline_on_equal_rows(ladder_run, baseline)
    AnswerRounds(ladder_run).answer(fitted, contenders)
    made_rows = answer_arms(ladder_run, arms)
    if not ladder_run.failures.keys().isdisjoint(
        limited
    ):  # chosen on dev again, without those that failed
        limited = {
            name: assistant
            for name, assistant in limited.items()
            if name not in ladder_run.failures
        }
        pair = choose_pair_on_dev(ladder_run, limited)
        contenders = [name for name in limited if name in contenders or name in pair.values()]
        run.update(decided=pair, contenders=contenders)
        baseline_result = evidence = None  # about the method that was compared before
    run.update(notes=[*run.info["notes"], *models.notes])
    # 11. Compute intervals, statuses and the verdict from these files; ask a few probe questions,
    # and the judge if there is one: verdict.json (seconds, unless a judge is asked).
    verdict = compute_verdict(
        ladder_run, limited, num_openings, baseline_result, evidence, made_rows
    )
    write_verdict(run.folder / "verdict.json", verdict)
