"""The whole path of one comparison, top to bottom: read, split, plan, climb, decide, open the test, say.

task.yaml + examples  ->  a run folder with verdict.json, report.html, report.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path

from etude.base.files import Json, write_json
from etude.comparison.climb import Climb
from etude.comparison.outcome import decided_on_dev, final_verdict, tell_planned_power, tell_power
from etude.comparison.prepare import Confirm, describe, planned, split_once, with_budget
from etude.comparison.vetting import agreed, vetted
from etude.data.dataset import Dataset, load_dataset, load_test
from etude.errors import EtudeError, RunError
from etude.methods import Method, asks_a_model, ladder, own_ladder
from etude.methods.fit_context import blank
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.report import write_report
from etude.runs import FOLDER, Run, check_whole, forget, run_for, set_aside
from etude.runs.events import OnEvent, Opened, Said
from etude.runs.fingerprints import fingerprints
from etude.runs.openings import open_test, read_openings
from etude.runs.record import begin
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
    methods: Sequence[Method] | None = None,
    on_event: OnEvent = lambda event: None,
    confirm: Confirm = agreed,
) -> Comparison:
    """Compares the task's methods on one sealed test and writes the run folder beside the task file.

    `budget` (seconds; infinity for none) overrules the task's. The same call on the same inputs goes
    on where an earlier one stopped, and returns at once where it had finished; `fresh` starts anew and
    keeps what an earlier one has fitted as a run of its own. `methods`, lowest step first, overrule the
    task's: `[*LADDER, Own()]` runs a step of your own next to the built-in ones. Their names and settings
    tell runs apart, their code does not.
    Raises InputError for faults of the task or its data (all of them), ModelError for weights, RunError
    for the run folder, Declined when `confirm` says no. A KeyboardInterrupt leaves a partial report.
    """
    task, dataset = load_dataset(with_budget(load_task(Path(task_file)), budget))
    test = load_test(task)
    steps = ladder(task) if methods is None else own_ladder(methods)
    task = replace(task, methods=tuple(step.name for step in steps))
    inputs = fingerprints(task, dataset, test) | _named(methods)
    run = run_for(task.folder / FOLDER, task.name, inputs)
    read_openings(run.folder.parent)  # what is wrong there is told before hours are spent
    if fresh:
        start_anew(run, on_event)
    with run.locked():
        check_whole(run)
        if not run.complete:
            begin(run, task, inputs, on_event)
            on_event(Opened(run.folder))
            # asked beforehand: the half-done work of an earlier attempt is to stay
            before = any(run.folder.glob("methods/*"))
            kept_on_stop(
                run,
                lambda: _climb(run, task, steps, dataset, test, on_event, confirm),
                lambda: before or bool(run.methods),
            )
        elif not all((run.folder / name).exists() for name in ("report.html", "report.md")):
            write_report(run.folder)
    return Comparison(run)


def _named(methods: Sequence[Method] | None) -> dict[str, str]:
    """What tells runs of the caller's own methods apart."""
    if methods is None:
        return {}
    named = [repr(each) if is_dataclass(each) else type(each).__qualname__ for each in methods]
    return {"own methods": ", ".join(named)}


def start_anew(run: Run, on_event: OnEvent) -> None:
    """Makes room for a run that does not go on; says where an earlier one is kept."""
    with run.locked():
        kept = set_aside(run)
    if kept:
        on_event(Said(f"Starting anew. The earlier run is kept as {kept.name}."))


def _climb(
    run: Run,
    task: Task,
    methods: Sequence[Method],
    dataset: Dataset,
    test: Dataset | None,
    on_event: OnEvent,
    confirm: Confirm,
) -> None:
    """From the split to the verdict. Up to `open_test` nothing has answered a test row."""
    checked = vetted(run, task, dataset, test, on_event, confirm)
    parts = split_once(run, task, dataset, test, checked)
    metric = choose_metric(task, parts.train)
    describe(run, task, parts, metric, on_event)
    models = Models()
    start = blank(task, parts.train, models if asks_a_model(methods) else None)
    plan = planned(run, task, methods, parts, start, models, on_event, confirm)
    climb = Climb(task, parts, run, models, metric, plan, on_event, methods)
    tell_planned_power(climb)

    fitted = climb.fit_all(start)
    run.update(decided=decided_on_dev(climb, fitted))
    tell_power(climb)

    openings = open_test(run.folder.parent, run.info["id"], climb.test_rows)
    run.update(openings=openings)
    climb.answer_test(fitted)
    write_json(run.folder / "verdict.json", final_verdict(climb, fitted, openings))
    run.update(status="complete")


def kept_on_stop(run: Run, work: Callable[[], None], begun: Callable[[], bool]) -> None:
    """Does the work and writes the report, also the partial one that a Ctrl-C or a fault leaves.

    `begun` says whether there is anything to keep: a fault before that leaves the folder as it was. What else
    goes wrong behind a fault is a note of the fault, which is raised as it came.
    """
    try:
        work()
    except BaseException as error:
        try:
            _stopped(run, error, begun)
        except (OSError, RunError) as later:
            error.add_note(f"What was done until then could not be reported: {later}")
        raise
    write_report(run.folder)


def _stopped(run: Run, error: BaseException, begun: Callable[[], bool]) -> None:
    """Keeps what there is of a run that did not end, or forgets it."""
    if begun():
        run.update(status="interrupted")
        write_report(run.folder)
    elif isinstance(error, EtudeError):
        forget(run)
    else:
        run.update(status="interrupted")
