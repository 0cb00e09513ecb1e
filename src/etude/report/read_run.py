"""A run folder read once, for everything that a report shows.

Test numbers are taken from `verdict.json` as they stand. Two things are worked out here, both on
dev, whose rows may be read: each method's estimate, and how often each kind of failure occurs.
Texts of test rows are never read into the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from etude.base.files import Json, read_json, read_lines
from etude.base.typed_json import from_json
from etude.evaluate import outcome_of, sample_of
from etude.methods.fit_context import Tried
from etude.metrics import GRADED, Metric
from etude.models.registry import title
from etude.report.contents import Curve, Epoch, Plan, Report, Rung
from etude.runs import Run
from etude.runs.training_log import last_epochs
from etude.runs.verdict import Verdict
from etude.stats import estimate_sample
from etude.task import METHOD_NAMES
from etude.types import Estimate, Finding

CHECK = "check"
"""The kind of failure of an answer that keeps the contract and that the check function gives 0."""
WRONG = {
    "classify": "wrong label",
    "extract": "wrong value",
    "answer": "wrong answer",
    "rewrite": "wrong answer",
}
"""The kind of failure, by kind of task, of an answer that neither breaks the contract nor the check, and that a
metric of right and wrong gives 0."""


def read_report(run_folder: Path) -> Report:
    """Reads a run folder, complete or not. Raises RunError when `run.json` is absent or a file is
    not JSON; a torn last line, which a kill leaves behind, is passed over."""
    run, verdict = Run(run_folder).info, Run(run_folder).verdict
    names = _method_names(run_folder, verdict)
    wrong = _wrong(run)
    predictions = {name: _dev_predictions(run_folder / "methods" / name, wrong) for name in names}
    metric = run.get("metric") or {}
    decided = run.get("decided") or {}
    split = run.get("split") or {}
    split_notes = _texts(split.get("notes"))
    return Report(
        name=run["name"],
        command=run.get("command", "compare"),
        status=run["status"],
        metric=metric.get("name", "score"),
        metric_label=metric.get("label") or "mean score",
        metric_why=metric.get("why", ""),
        unit=run.get("unit", "row"),
        margin=run.get("margin", 0.02),
        target=run.get("target"),
        split={side: split.get(side, 0) for side in ("train", "dev", "test")},
        answered=_answered(run, verdict),
        split_notes=split_notes,
        power=tuple((line["disagree"], line["difference"]) for line in run.get("power") or ()),
        shown_on_dev=(run.get("power_on_dev") or {}).get("difference"),
        plan=_plan(run.get("plan") or {}, run.get("taken_seconds")),
        notes=tuple(note for note in _texts(run.get("notes")) if note not in split_notes),
        findings=_findings(run_folder, run),
        openings=run.get("openings", 0),
        versions=_versions(run),
        fingerprints=run.get("fingerprints") or {},
        untuned=decided.get("untuned"),
        tuned=decided.get("tuned"),
        reasons=_texts(decided.get("reasons")),
        verdict=verdict,
        rungs=tuple(
            _rung(run_folder / "methods" / name, run, verdict, list(predictions[name].values()))
            for name in names
        ),
        dev=_dev_rows(predictions),
        curve=_curve(run_folder, decided.get("tuned")),
    )


def _json(file: Path) -> Json:
    return read_json(file) if file.exists() else {}


def _lines(file: Path) -> list[Json]:
    return list(read_lines(file)) if file.exists() else []


def _texts(values: Iterable[object] | None) -> tuple[str, ...]:
    return tuple(str(value) for value in values or ())


def _method_names(run_folder: Path, verdict: Verdict | None) -> list[str]:
    """In ladder order: the verdict's, else the design's; methods without a file are left out."""
    folder = run_folder / "methods"
    found = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    order = [step.method for step in verdict.ladder] if verdict else list(METHOD_NAMES)
    return [name for name in order if name in found] + sorted(found - set(order))


def _dev_predictions(folder: Path, wrong: str) -> dict[str, Json]:
    """The dev rows' lines by row id, each with what it `failed`; of a row that was answered twice, the later line."""
    lines = [line for line in _lines(folder / "predictions.jsonl") if line["side"] == "dev"]
    return {line["id"]: {**line, "failed": _failures_of(line, wrong)} for line in lines}


def _rung(folder: Path, run: Json, verdict: Verdict | None, dev: list[Json]) -> Rung:
    name = folder.name
    method = _json(folder / "method.json")
    step = next((step for step in verdict.ladder if step.method == name), None) if verdict else None
    forms = verdict.forms.get(name) if verdict else None
    return Rung(
        name=name,
        label=method.get("label", name),
        recommended=verdict is not None and verdict.recommended == name,
        test=step.estimate if step else None,
        status=step.status if step else None,
        target=verdict.target.mark(step.estimate) if verdict and verdict.target and step else None,
        learned=method.get("learned"),
        rows_to_decide=step.rows_to_decide if step else None,
        dev=_dev_estimate(run, dev),
        cost=verdict.costs.get(name) if verdict else None,
        fit_seconds=method.get("fit_seconds"),
        form=forms.form if forms else None,
        check=forms.check if forms else None,
        cut_test=forms.cut if forms else None,
        cut_dev=sum(bool(line["cut"]) for line in dev),
        num_dev=len(dev),
        others=verdict.others.get(name, {}) if verdict else {},
        failures=Counter(kind for line in dev for kind in set(line["failed"])),
        candidates=tuple(from_json(Tried, raw) for raw in method.get("candidates") or ()),
        notes=_texts(method.get("notes")),
        prompt=method.get("prompt") or "",
        params=method.get("params") or {},
    )


def _dev_estimate(run: Json, lines: Sequence[Json]) -> Estimate | None:
    if not lines:
        return None
    metric = Metric(run["metric"]["name"], run["kind"])
    return estimate_sample(sample_of(metric, [outcome_of(line) for line in lines]))


def _wrong(run: Json) -> str:
    """The kind of failure of a wrong answer; empty where none is wrong by itself: under a graded metric, and where
    an answer passes by its contract and check alone."""
    name = (run.get("metric") or {}).get("name")
    return "" if name in (*GRADED, "passes") else WRONG.get(run.get("kind", ""), "")


def _failures_of(line: Mapping[str, Any], wrong: str) -> tuple[str, ...]:
    """The contract's kinds of failure, else `check` where the check function gives 0, else `wrong` at a score of 0."""
    if line["failures"]:
        return tuple(line["failures"])
    if line["check"] == 0:
        return (CHECK,)
    return (wrong,) if wrong and line["score"] == 0 else ()


def _dev_rows(predictions: Mapping[str, Mapping[str, Json]]) -> tuple[Mapping[str, Json], ...]:
    """Every dev row that some method has reached, in the order of the predictions: method -> its line."""
    rows = dict.fromkeys(row for lines in predictions.values() for row in lines)
    return tuple({name: lines[row] for name, lines in predictions.items() if row in lines} for row in rows)


def _answered(run: Mapping[str, Any], verdict: Verdict | None) -> int:
    """As the verdict counted, else as planned, else all rows of the test."""
    planned = ((run.get("plan") or {}).get("limits") or {}).get("test_rows")
    counted = verdict.test_rows.answered if verdict else None
    return int(counted or planned or (run.get("split") or {}).get("test", 0))


def _plan(raw: Mapping[str, Any], taken: float | None) -> Plan:
    """The plan; a line that only repeats what was shrunk is left out."""
    lines, shrunk = _texts(raw.get("lines")), _texts(raw.get("shrunk"))
    kept = tuple(line for line in lines if not (shrunk and all(cut in line for cut in shrunk)))
    return Plan(raw.get("minutes"), taken and taken / 60, kept, shrunk)


def _findings(run_folder: Path, run: Mapping[str, Any]) -> tuple[Finding, ...]:
    lines = _lines(run_folder / "findings.jsonl") or run.get("findings") or []
    return tuple(from_json(Finding, line) for line in lines)


def _versions(run: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    machine = run.get("machine") or {}
    named = {
        "Model": run.get("model") and title(run["model"]),
        "Model of the prompts": run.get("prompt_model") and title(run["prompt_model"]),
        "Étude": run.get("etude"),
        "Python": run.get("python"),
        "Platform": run.get("platform"),
        "Processor": machine.get("cpu"),
        "Cores": machine.get("cores"),
        "Memory": f"{machine['memory_gb']:g} GB" if machine.get("memory_gb") else None,
        "Seed": run.get("seed"),
        **(run.get("packages") or {}),
    }
    return tuple((name, str(value)) for name, value in named.items() if value is not None)


def _curve(run_folder: Path, tuned: str | None) -> Curve | None:
    """The training log of the best tuned method, else of the first that has one."""
    files = sorted(run_folder.glob("methods/*/train.jsonl"), key=lambda file: file.parent.name != tuned)
    logs = ((file.parent.name, _lines(file)) for file in files)
    method, log = next((each for each in logs if any("loss" in line for line in each[1])), ("", []))
    if not log:
        return None
    last = max(at for at, line in enumerate(log) if "loss" in line)
    starts = [at for at, line in enumerate(log[:last]) if line.get("epoch") == 0]
    log = log[starts[-1] :] if starts else log  # of several trainings the last, whose weights are used
    steps = tuple((line["step"], line["loss"]) for line in log if "loss" in line)
    return Curve(method, steps, _epochs(log))


def _epochs(log: Sequence[Json]) -> tuple[Epoch, ...]:
    """An epoch's line follows those of its steps. Of all that were best so far, the last was kept."""
    found = last_epochs(log)
    kept = max((line["epoch"] for _, line in found if line.get("best")), default=None)
    return tuple(
        Epoch(
            line["epoch"],
            at,
            line.get("train_loss"),
            line["dev_loss"],
            Estimate(line["score"], line["low"], line["high"], line["n"]) if "score" in line else None,
            best=line["epoch"] == kept,
            overfits=line.get("overfits", False),
        )
        for at, line in found
    )
