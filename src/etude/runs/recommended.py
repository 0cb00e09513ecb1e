"""Finds a run from a path or name, and loads its recommended assistant."""

from collections.abc import Mapping
from pathlib import Path

from etude import assistant
from etude.assistant import Assistant
from etude.base.files import read_json
from etude.base.formatting import format_command
from etude.errors import RunError
from etude.evaluate import build_sample, parse_outcome
from etude.metrics import restore_metric
from etude.models.registry import find_backend
from etude.runs.folder import FOLDER, TESTS, Run, find_run, find_runs
from etude.stats.ladder import choose
from etude.task import Endpoint, load_task


def load(path: Path | str, method: str | None = None) -> Assistant:
    """Load the recommended assistant of a run, the one of a `method`, or a saved assistant.

    `path` is a run folder; a task file or its folder (the latest run); the name of a run or its beginning, next to the
    task file ("NAME-1a2b" or "runs/NAME-1a2b"); or an assistant's folder. If the verdict recommends no method, the
    assistant is that of the method that the verdict leans to; without a verdict, of the best method on dev. `.method`
    is the method's name. The weights are loaded for the first answer. Raises RunError if there is no run, or no
    assistant in it.
    """
    path = Path(path)
    if (path / assistant.FILE).exists():
        return assistant.load(path)
    run = find_run_at(path)
    return assistant.load(run.assistant_folder(method or choose_method(run)[0]))


def find_run_at(path: Path, prefer_complete: bool = False) -> Run:
    """Find the run of a path, as in `load`. With `prefer_complete`, the run of a task is its latest complete one, if
    there is one."""
    if (path / "run.json").exists():
        return Run(path)
    if path.exists():
        root = (path if path.is_dir() else path.parent) / FOLDER
        # Runs are sorted, so the first complete one is the latest.
        complete_runs = (run for run in find_runs(root) if prefer_complete and run.is_complete)
        return next(complete_runs, None) or find_run(root, None)
    return find_run(path.parent if path.parent.name == FOLDER else path.parent / FOLDER, path.name)


def find_run_of(path: Path) -> Run | None:
    """Find the run of a path, which may also be an assistant's folder within a run; None for an assistant that was
    saved elsewhere."""
    if not (path / assistant.FILE).exists():
        return find_run_at(path)
    # An assistant's folder is RUN/methods/NAME/assistant.
    run = Run(path.resolve().parent.parent.parent)
    return run if (run.folder / "run.json").exists() else None


def read_input_columns(run: Run | None) -> tuple[str, ...]:
    """Read the input columns from the current task file of a run; none if the file does not exist."""
    if run is None or not run.task_file.exists():
        return ()
    return load_task(run.task_file, needs_model=False).examples.input


def read_where(run: Run | None) -> str:
    """Read where to work from the current task file of a run; "local" if the file does not exist."""
    if run is None or not run.task_file.exists():
        return "local"
    return load_task(run.task_file, needs_model=False).where


def load_endpoints(answering: Assistant, run: Run | None) -> Mapping[str, Endpoint]:
    """Load the settings of endpoints (request rate, limits, prices), for `Models`, from the current task file of an
    assistant's run. None for other models, or without the file. Raises InputError for a task file that cannot be
    read."""
    if run is None or find_backend(answering.model.name).service is None:
        return {}
    return load_task(run.task_file, needs_model=False).endpoints if run.task_file.exists() else {}


def choose_method(run: Run) -> tuple[str, str]:
    """Choose the method whose assistant answers; return also a sentence on why, unless the verdict recommends it.

    Chooses the method that the verdict recommends or leans to; without a verdict, the best fitted method on dev. Raises
    RunError if no method is fitted.
    """
    if verdict := run.verdict:
        note = "" if verdict.recommended else " The verdict recommends no method, but leans to this one."
        return verdict.leaning, note
    if not run.fitted_methods:
        resume_command = format_command(run.command, run.folder.parent.parent)
        raise RunError(f"Run {run.name} has no assistant yet. Run `{resume_command}` to resume it.")
    # A training has one method and no verdict.
    if run.command == "train":
        return run.fitted_methods[-1], ""
    name, reason = choose_on_dev(run)
    return name, f" The run has no verdict yet; of its {len(run.fitted_methods)} fitted methods, {reason}."


def describe_failed_gates(run: Run, method: str) -> str:
    """Describe which gates the last `etude test` of a method failed; "" if none, or without a test."""
    file = run.folder / TESTS / method / "test.json"
    gates = read_json(file)["gates"] if file.exists() else []
    failed = [gate["gate"] for gate in gates if gate["outcome"] == "failed"]
    if not failed:
        return ""
    return f"The last test of {method} failed {len(failed)} of {len(gates)} gates: {'; '.join(failed)}."


def choose_on_dev(run: Run) -> tuple[str, str]:
    """Choose a method as a comparison does, on the dev rows that all fitted methods have answered; return also the
    reason. See `stats.ladder.choose`."""
    metric, methods = restore_metric(run.info["metric"], run.info["kind"]), run.fitted_methods
    answered = {
        name: {line["id"]: line for line in run.read_predictions(name) if line["side"] == "dev"}
        for name in methods
    }
    # Methods are comparable only on rows that all of them have answered.
    rows = [row for row in answered[methods[0]] if all(row in lines for lines in answered.values())]
    samples = [
        (name, build_sample(metric, [parse_outcome(lines[row]) for row in rows]))
        for name, lines in answered.items()
    ]
    choice = choose(samples)
    return methods[choice.index], choice.reason
