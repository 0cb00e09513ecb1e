"""Which assistant of a run answers, and loading it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from etude import assistant
from etude.assistant import Assistant
from etude.base.wording import command
from etude.errors import RunError
from etude.evaluate import outcome_of, sample_of
from etude.metrics import Metric
from etude.runs.folder import FOLDER, Run, find_run, find_runs
from etude.stats.ladder import choose
from etude.task import Endpoint, load_task
from etude.task.endpoint import is_url


def load(place: Path | str, method: str | None = None) -> Assistant:
    """Load the recommended assistant of a run or the one of a `method`, or a saved assistant.

    `place` is a run folder, a task file or its folder (the run worked on last), the name of a run or the
    beginning of it beside the task file ("NAME-1a2b" or "runs/NAME-1a2b"), or an assistant's folder. If the
    verdict recommends no method, it is the one the verdict leans to, else the best on dev; `.method` names it.
    The weights are loaded with the first answer. Raises RunError if there is no run or no assistant in it.
    """
    place = Path(place)
    if (place / assistant.FILE).exists():
        return assistant.load(place)
    run = run_at(place)
    return assistant.load(run.assistant(method or recommended(run)[0]))


def run_at(place: Path, complete: bool = False) -> Run:
    """The run that a place means, as `load` has it; of a task, with `complete`, the latest that is, if there is one."""
    if (place / "run.json").exists():
        return Run(place)
    if place.exists():
        root = (place if place.is_dir() else place.parent) / FOLDER
        ended = (run for run in find_runs(root) if complete and run.complete)
        return next(ended, None) or find_run(root, None)
    beside = place.parent if place.parent.name == FOLDER else place.parent / FOLDER
    return find_run(beside, place.name)


def run_of(place: Path) -> Run | None:
    """The run of a place, an assistant's folder in a run among them; None for an assistant that was saved elsewhere."""
    if not (place / assistant.FILE).exists():
        return run_at(place)
    run = Run(place.resolve().parent.parent.parent)
    return run if (run.folder / "run.json").exists() else None


def columns_of_examples(run: Run | None) -> tuple[str, ...]:
    """The input columns that the task file of a run names now; none without the file."""
    if run is None or not run.task_file.exists():
        return ()
    return load_task(run.task_file, needs_model=False).examples.input


def endpoints_for(answering: Assistant, run: Run | None) -> Mapping[str, Endpoint]:
    """How the task file of an assistant's run has endpoints asked now (pace, limits, prices), for `Models`; none for
    other models, or without the file. Raises InputError for a task file that cannot be read."""
    name = answering.model.name
    if run is None or not is_url(name) or name not in (run.info["model"], run.info["prompt_model"]):
        return {}
    return load_task(run.task_file, needs_model=False).endpoints if run.task_file.exists() else {}


def recommended(run: Run) -> tuple[str, str]:
    """The method whose assistant answers, and a sentence on why unless the verdict recommends it.

    It is the one the verdict recommends, else the one it leans to, else the best on dev of those that are
    fitted. Raises RunError if the run has none.
    """
    if verdict := run.verdict:
        unsure = "" if verdict.recommended else " No assistant is recommended; the verdict leans to it."
        return verdict.leaning, unsure
    if not run.methods:
        again = command(run.command, run.folder.parent.parent)
        raise RunError(f"Run {run.name} has no assistant yet. Run `{again}`, which goes on with it.")
    if run.command == "train":
        return run.methods[-1], ""
    name, why = best_on_dev(run)
    return name, f" The run has no verdict yet; of the {len(run.methods)} that are fitted, {why}."


def best_on_dev(run: Run) -> tuple[str, str]:
    """The method that a comparison would choose by the dev rows that all fitted methods have answered, and
    the rule in words. See `stats.ladder.choose`."""
    metric = Metric(run.info["metric"]["name"], run.info["kind"])
    answered = {
        name: {line["id"]: line for line in run.predictions(name) if line["side"] == "dev"}
        for name in run.methods
    }
    rows = [row for row in answered[run.methods[0]] if all(row in lines for lines in answered.values())]
    samples = [
        (name, sample_of(metric, [outcome_of(lines[row]) for row in rows]))
        for name, lines in answered.items()
    ]
    choice = choose(samples)
    return run.methods[choice.index], choice.reason
