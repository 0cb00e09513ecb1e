"""Finds a run from a path or name, loads its recommended assistant, and promotes runs.

RUNS/promoted-TASK.jsonl has a line for each promotion, the latest last. Going back removes it. The
file is replaced as a whole, so a kill leaves the old or the new one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from etude import assistant
from etude.assistant import Assistant, get_shared_models
from etude.base.files import hold_lock, read_json, read_lines, write_lines
from etude.base.formatting import format_command
from etude.errors import Declined, RunError
from etude.evaluate import build_sample, parse_outcome
from etude.metrics import restore_metric
from etude.models.registry import Models, find_backend
from etude.runs.folder import FOLDER, TESTS, Run, find_run, find_task_runs
from etude.stats.ladder import choose
from etude.task import Endpoint, load_task

_KEYS_WITHOUT_EFFECT = ("suite", "gates", "usage", "prices", "margin", "target", "budget", "where")
"""Keys of the task file that change no assistant."""


def load(path: Path | str, method: str | None = None) -> Assistant:
    """Load the recommended assistant of a run, the one of a `method`, or a saved assistant.

    `path` is a run folder; a task file or its folder (the latest run); the name of a run or its
    beginning, next to the task file ("NAME-1a2b" or "runs/NAME-1a2b"); or an assistant's folder. If
    the verdict recommends no method, the assistant is that of the method that the verdict leans to;
    without a verdict, of the best method on dev. `.method` is the method's name. Weights are loaded
    for the first answer. Raises RunError without a run or an assistant.
    """
    return assistant.load(find_assistant_folder(Path(path), method))


def load_to_ask(path: Path, method: str | None = None) -> tuple[Assistant, Models]:
    """Load an assistant as `load` does, and models with the endpoints of its task file, to ask it
    unattended.

    Raises Declined if rows would leave this machine or be paid.
    """
    answering = load(path, method)
    endpoints = load_endpoints(answering, find_run_of(path))
    models = Models(endpoints=endpoints) if endpoints else get_shared_models()
    service = models.find_service(answering.model.name)
    if service and service.needs_consent:
        raise Declined(
            f"Nothing was sent to {service.title}. Use etude chat, or etude predict, which asks "
            "you first."
        )
    return answering, models


def find_assistant_folder(path: Path, method: str | None = None) -> Path:
    """Find the folder of the assistant that `load` loads."""
    if (path / assistant.FILE).exists():
        return path
    run = find_run_at(path)
    return run.assistant_folder(method or choose_method(run)[0])


def find_run_at(path: Path, prefer_complete: bool = False) -> Run:
    """Find the run of a path, as in `load`. With `prefer_complete`, the latest complete run of a
    task is preferred to a later run that is not complete.
    """
    if (path / "run.json").exists():
        return Run(path)
    if path.exists():
        # Runs are sorted, so the first complete one is the latest.
        complete_runs = (run for run in find_task_runs(path) if prefer_complete and run.is_complete)
        return next(complete_runs, None) or find_run(path)
    return find_run(path.parents[1] if path.parent.name == FOLDER else path.parent, path.name)


def find_served(path: Path, method: str | None = None) -> tuple[Run, str, str]:
    """Find the run and the method of a path that `etude serve` serves, and a sentence on why, as in
    `choose_method`.

    For a task it is the promoted run, or else the latest complete one. Raises RunError.
    """
    file = get_promotions_file(path)
    names = read_promotions(file)
    run = _find_complete(file, names) if names else find_run_at(path, prefer_complete=True)
    return run, *((method, "") if method else choose_method(run))


def get_promotions_file(task: Path) -> Path:
    """Return the path of the promotions of a task file, or of the task.yaml in a folder."""
    file = task / "task.yaml" if task.is_dir() else task
    return file.parent / FOLDER / f"promoted-{file.stem}.jsonl"


def read_promotions(file: Path) -> list[str]:
    """Read the names of the promoted runs, the latest last; none without a file. Raises
    RunError.
    """
    remedy = "Delete the file, and promote a run again with `etude runs promote`."
    return [str(line.get("run")) for line in read_lines(file, remedy)] if file.exists() else []


def promote(task: Path, run: Run | None) -> Run:
    """Promote a run or, without one, go back to the run of the task that was promoted before, and
    return it.

    Raises RunError if none was, if the run is not complete, or if its assistant cannot be read.
    """
    file = get_promotions_file(run.task_file if run else task)
    with hold_lock(file.with_suffix(".lock")):
        names = read_promotions(file)
        if run is None:
            names = names[:-1]
        elif names[-1:] != [run.name]:
            names.append(run.name)
        if not names:
            remedy = "Name the run to serve: `etude runs promote TASK RUN`."
            raise RunError(f"No other run of {task} was promoted before. {remedy}")
        promoted = _find_complete(file, names)
        assistant.load(promoted.assistant_folder(choose_method(promoted)[0]))
        write_lines(file, [{"run": name} for name in names])
    return promoted


def _find_complete(file: Path, names: Sequence[str]) -> Run:
    run = Run(file.parent / names[-1])
    if not run.is_complete:
        remedy = "Complete it, or promote another one: `etude runs promote TASK RUN`."
        raise RunError(f"{run.name} is not a complete run, so it cannot be served. {remedy}")
    return run


def find_run_of(path: Path) -> Run | None:
    """Find the run of a path, also of an assistant's folder within it; None for an assistant saved
    elsewhere.
    """
    if not (path / assistant.FILE).exists():
        return find_run_at(path)
    # An assistant's folder is RUN/methods/NAME/assistant.
    run = Run(path.resolve().parent.parent.parent)
    return run if (run.folder / "run.json").exists() else None


def read_input_columns(run: Run | None) -> tuple[str, ...]:
    """Read the input columns from the current task file of a run; none if the file does not
    exist.
    """
    if run is None or not run.task_file.exists():
        return ()
    return load_task(run.task_file, needs_model=False).examples.input


def read_where(run: Run | None) -> str:
    """Return the key `where` of a run's current task file; "local" without the file."""
    if run is None or not run.task_file.exists():
        return "local"
    return load_task(run.task_file, needs_model=False).where


def load_endpoints(answering: Assistant, run: Run | None) -> Mapping[str, Endpoint]:
    """Load the settings of endpoints (request rate, limits, prices), for `Models`, from the current
    task file of an assistant's run. None for other models, or without the file. Raises InputError
    for a wrong task file.
    """
    if run is None or find_backend(answering.model.name).service is None:
        return {}
    return load_task(run.task_file, needs_model=False).endpoints if run.task_file.exists() else {}


def choose_method(run: Run) -> tuple[str, str]:
    """Choose the method whose assistant answers; return also a sentence on why, unless the verdict
    recommends it.

    Chooses the method that the verdict recommends or leans to; without a verdict, the best fitted
    method on dev. Raises RunError if no method is fitted.
    """
    if verdict := run.verdict:
        note = (
            ""
            if verdict.recommended
            else " The verdict recommends no method, but leans to this one."
        )
        return verdict.leaning, note
    if not run.fitted_methods:
        resume_command = format_command(run.command, run.folder.parent.parent)
        raise RunError(f"Run {run.name} has no assistant yet. Run `{resume_command}` to resume it.")
    # A training has one method and no verdict.
    if run.command == "train":
        return run.fitted_methods[-1], ""
    name, reason = choose_on_dev(run)
    return (
        name,
        f" The run has no verdict yet; of its {len(run.fitted_methods)} fitted methods, {reason}.",
    )


def describe_changes(run: Run) -> str:
    """Describe which keys of the task file have changed since the run, so its assistants lack the
    changes; "" if none, or if a file cannot be read.
    """
    files = (run.folder / "task.yaml", run.task_file)
    try:
        before, now = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in files)
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    except (OSError, TypeError, ValueError, yaml.YAMLError):
        return ""
    changed = ", ".join(str(key) for key in keys if key not in _KEYS_WITHOUT_EFFECT)
    command = format_command(run.command, run.task_file)
    return (
        changed
        and f"{run.task_file.name} has other {changed} than {run.name}. Run `{command}` to use "
        "them."
    )


def describe_failed_gates(run: Run, method: str) -> str:
    """Describe which gates the last `etude test` of a method failed; "" if none, or without a
    test.
    """
    report = read_json(run.folder / TESTS / method / "test.json", {"gates": []})
    gates = report["gates"]
    failed = [gate["gate"] for gate in gates if gate["outcome"] == "failed"]
    if not failed:
        return ""
    limits = run.info["inputs"].get("limits")
    before = "" if report.get("limits", limits) == limits else ", which had other limits,"
    return (
        f"The last test of {method}{before} failed {len(failed)} of {len(gates)} gates: "
        f"{'; '.join(failed)}."
    )


def choose_on_dev(run: Run) -> tuple[str, str]:
    """Choose a method as a comparison does, on the dev rows that all fitted methods have answered;
    return also the reason. See `stats.ladder.choose`.
    """
    metric = restore_metric(run.info["metric"], run.info["kind"])
    methods = run.fitted_methods
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
    choice = choose(samples, run.info["margin"])
    return methods[choice.index], choice.reason
