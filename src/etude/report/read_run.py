"""Read a run folder once, for everything that a report shows.

Test numbers come from `verdict.json`. Only numbers on dev are computed here: each method's
estimate, and how often each kind of failure occurs. Texts of test rows are never read into the
report.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from etude.base.files import Json, list_lines, read_json
from etude.base.typed_json import from_json
from etude.evaluate import build_sample, parse_outcome
from etude.methods.shared.fit_context import TrialResult
from etude.metrics import GRADED, restore_metric
from etude.models.registry import find_backend, get_title
from etude.report.contents import EpochResult, LossCurve, MethodView, Report
from etude.report.headline import read_headline
from etude.runs import Run, training_log
from etude.runs.details import PlayResult, list_expected, split_line
from etude.runs.folder import PLAYS
from etude.runs.recommended import describe_failed_gates
from etude.runs.verdict import Verdict
from etude.stats import estimate_sample
from etude.task import METHOD_NAMES
from etude.types import Estimate, Finding

# The kind of failure of an answer that keeps the contract and gets 0 from the check function.
CHECK = "check"
# Kind of task -> kind of failure of an answer that keeps the contract and passes the check, and
# that a right-or-wrong metric scores 0.
WRONG = {
    "classify": "wrong label",
    "extract": "wrong value",
    "answer": "wrong answer",
    "rewrite": "wrong answer",
}


def read_report(run_folder: Path) -> Report:
    """Read a run folder, complete or not. A torn last line, which a kill leaves behind, is skipped.

    Raises RunError if run.json is missing or a file is not JSON.
    """
    run = Run(run_folder).info
    verdict = Run(run_folder).verdict
    names = _list_methods(run_folder, verdict)
    predictions = {name: _read_dev(_find_folder(run_folder, name), run) for name in names}
    metric, decided, split = (run.get(key) or {} for key in ("metric", "decided", "split"))
    split_notes = _to_texts(split.get("notes"))
    findings = list_lines(run_folder / "findings.jsonl") or run.get("findings") or []
    num_answered = (verdict and verdict.test_rows.answered) or split.get("test", 0)
    # For each dev row that a method has answered: method -> its line.
    dev_rows = dict.fromkeys(row for lines in predictions.values() for row in lines)
    dev = tuple(
        {name: lines[row] for name, lines in predictions.items() if row in lines}
        for row in dev_rows
    )
    plays, play_notes = _read_plays(run_folder)
    return Report(
        name=run["name"],
        command=run.get("command", "compare"),
        status=run["status"],
        metric=metric.get("name", "score"),
        metric_label=metric.get("label") or "mean score",
        metric_reason=metric.get("reason", ""),
        unit=run.get("unit", "row"),
        margin=run.get("margin", 0.02),
        target=run.get("target"),
        split={side: split.get(side, 0) for side in ("train", "dev", "test")},
        num_test_answered=num_answered,
        failed_gates=describe_failed_gates(Run(run_folder), verdict.leaning) if verdict else "",
        headline=read_headline(Run(run_folder)),
        split_notes=split_notes,
        power=tuple((line["disagree"], line["difference"]) for line in run.get("power") or ()),
        power_on_dev=(run.get("power_on_dev") or {}).get("difference"),
        budget_seconds=run.get("budget_seconds"),
        elapsed_seconds=run.get("elapsed_seconds"),
        notes=(
            *(note for note in _to_texts(run.get("notes")) if note not in split_notes),
            *play_notes,
        ),
        findings=tuple(from_json(Finding, line) for line in findings),
        openings=run.get("openings", 0),
        versions=_list_versions(run),
        fingerprints=run.get("fingerprints") or {},
        untuned=decided.get("untuned"),
        tuned=decided.get("tuned"),
        reasons=_to_texts(decided.get("reasons")),
        verdict=verdict,
        methods=tuple(
            _read_method(run_folder, name, run, verdict, list(predictions[name].values()))
            for name in names
        ),
        dev=dev,
        curve=_read_curve(run_folder, decided.get("tuned")),
        plays=plays,
    )


def _read_plays(run_folder: Path) -> tuple[dict[str, PlayResult], tuple[str, ...]]:
    try:
        plays = read_json(run_folder / f"{PLAYS}.json", {})
        return {name: from_json(PlayResult, result) for name, result in plays.items()}, ()
    except ValueError:
        return {}, (
            "The plays were measured by an earlier version of Étude. Run etude play again to show "
            "them.",
        )


def _to_texts(values: Iterable[object] | None) -> tuple[str, ...]:
    return tuple(str(value) for value in values or ())


def _list_methods(run_folder: Path, verdict: Verdict | None) -> list[str]:
    # In the order of the verdict's ladder, else of the built-in one; methods without a folder are
    # left out.
    folder = run_folder / "methods"
    on_disk = (
        {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    )
    order = [row.method for row in verdict.ladder] if verdict else list(METHOD_NAMES)
    stored = {row.method for row in verdict.ladder if row.is_stored} if verdict else set()
    return [name for name in order if name in on_disk | stored] + sorted(on_disk - set(order))


def _read_dev(folder: Path, run: Json) -> dict[str, Json]:
    # By row id, each line with its failures under `failed`; if a row was answered twice, the later
    # line. With a graded metric, or with a metric of contract and check alone, there are no wrong
    # answers.
    metric = (run.get("metric") or {}).get("name")
    wrong = "" if metric in (*GRADED, "passes") else WRONG.get(run.get("kind", ""), "")
    # Failures are the contract's kinds, else `check` if the check function returned 0, else `wrong`
    # at a score of 0.
    lines = {}
    for line in list_lines(folder / "predictions.jsonl"):
        if line["side"] == "dev":
            is_wrong = wrong and line["score"] == 0
            failures = line["failures"] or (
                [CHECK] if line["check"] == 0 else [wrong] if is_wrong else []
            )
            lines[line["id"]] = {**line, "failed": tuple(failures)}
    return lines


def _find_folder(run_folder: Path, name: str) -> Path:
    """The folder of a method. A model with stored answers has none, but its name may contain
    slashes.
    """
    return run_folder / "methods" / name.replace("/", "-")


def _read_method(
    run_folder: Path, name: str, run: Json, verdict: Verdict | None, dev: list[Json]
) -> MethodView:
    method = read_json(_find_folder(run_folder, name) / "method.json", {})
    row = next((row for row in verdict.ladder if row.method == name), None) if verdict else None
    rates = verdict.contract_rates.get(name) if verdict else None
    metric = restore_metric(run["metric"], run["kind"]) if dev else None
    outcomes = [parse_outcome(line) for line in dev]
    return MethodView(
        name=name,
        label=f"Stored answers of {name}" if row and row.is_stored else method.get("label", name),
        has_language_model="model" not in method or find_backend(method["model"]).is_language_model,
        recommended=verdict is not None and verdict.recommended == name,
        test=row.estimate if row else None,
        status=row.status if row else "failed" if verdict and name in verdict.failures else None,
        target=verdict.target.mark(row.estimate) if verdict and verdict.target and row else None,
        learned=row.learned if row else method.get("learned"),
        rows_to_decide=row.rows_to_decide if row else None,
        dev=estimate_sample(build_sample(metric, outcomes)) if metric else None,
        cost=verdict.costs.get(name) if verdict else None,
        fit_seconds=method.get("fit_seconds"),
        keeps_contract=rates.keeps_contract if rates else None,
        passes_check=rates.passes_check if rates else None,
        num_truncated_test=rates.truncated if rates else None,
        num_truncated_dev=sum(bool(line["truncated"]) for line in dev),
        num_dev=len(dev),
        other_metrics=verdict.other_metrics.get(name, {}) if verdict else {},
        failures=Counter(kind for line in dev for kind in set(line["failed"])),
        confused=_group_confused(dev, metric.several)
        if metric and metric.kind == "classify"
        else {},
        candidates=tuple(from_json(TrialResult, raw) for raw in method.get("candidates") or ()),
        num_candidates=method.get("num_candidates") or len(method.get("candidates") or ()),
        notes=_to_texts(method.get("notes")),
        prompt=method.get("prompt") or "",
        params=method.get("params") or {},
    )


def _group_confused(dev: list[Json], several: bool) -> dict[tuple[str, str], tuple[str, ...]]:
    groups: dict[tuple[str, str], tuple[str, ...]] = {}
    for line in [part for row in dev for part in split_line(row)]:
        for label, _, wrong in list_expected(line, several):
            for answered in wrong:
                groups[label, answered] = (*groups.get((label, answered), ()), line["input"])
    return groups


def _list_versions(run: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    machine = run.get("machine") or {}
    values = {
        "Model": run.get("model") and get_title(run["model"]),
        "Model of the prompts": run.get("prompt_model") and get_title(run["prompt_model"]),
        "Engine": run.get("engine"),
        "Étude": run.get("etude"),
        "Python": run.get("python"),
        "Platform": run.get("platform"),
        "Processor": machine.get("cpu"),
        "Cores": machine.get("cores"),
        "Memory": f"{machine['memory_gb']:g} GB" if machine.get("memory_gb") else None,
        "Seed": run.get("seed"),
        **(run.get("packages") or {}),
    }
    return tuple((name, str(value)) for name, value in values.items() if value is not None)


def _read_curve(run_folder: Path, tuned: str | None) -> LossCurve | None:
    # The curve of the best tuned method, else of the first one with a log.
    files = sorted(
        run_folder.glob("methods/*/train.jsonl"), key=lambda file: file.parent.name != tuned
    )
    logs = ((file.parent.name, list_lines(file)) for file in files)
    method, log = next(
        ((name, log) for name, log in logs if any("loss" in line for line in log)), ("", [])
    )
    if not log:
        return None
    last = max(index for index, line in enumerate(log) if "loss" in line)
    starts = [index for index, line in enumerate(log[:last]) if line.get("epoch") == 0]
    log = (
        log[starts[-1] :] if starts else log
    )  # the last of several trainings, whose weights are used
    steps = tuple((line["step"], line["loss"]) for line in log if "loss" in line)
    # An epoch's line follows those of its steps. The last epoch that was best so far was kept.
    epochs = training_log.find_last_epochs(log)
    best = max((line["epoch"] for _, line in epochs if line.get("best")), default=None)
    results = tuple(
        EpochResult(
            line["epoch"],
            step,
            line.get("train_loss"),
            line["dev_loss"],
            Estimate(line["score"], line["low"], line["high"], line["n"])
            if "score" in line
            else None,
            best=line["epoch"] == best,
            overfits=line.get("overfits", False),
        )
        for step, line in epochs
    )
    return LossCurve(method, steps, results)
