"""Everything that is fixed before the first method is fitted: run, split, metric, power and plan."""

from __future__ import annotations

import hashlib
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

from etude import __version__
from etude.assistant import Assistant
from etude.compare.events import OnEvent, Said
from etude.compare.plan import Plan, Workload, in_words, make_plan
from etude.compare.timing import measure
from etude.dataset import Dataset
from etude.errors import Declined, Fault, InputError
from etude.evaluate import unit
from etude.files import Json, read_json, write_json, write_lines
from etude.methods import ladder
from etude.metrics import Metric
from etude.models.registry import Models
from etude.runs import FORMAT, Run, find_runs
from etude.splits import Split, split
from etude.stats.power import smallest_difference
from etude.task import Task
from etude.types import Example, Model, Side

LONG = 3600.0
"""Seconds above which the user is asked before a comparison without a budget begins."""
DISAGREEMENT = (0.1, 0.2, 0.3)
"""Shares of rows on which two methods may disagree, for which the smallest difference is told."""
PACKAGES = ("torch", "transformers", "scikit-learn", "scipy", "numpy", "safetensors")

Confirm = Callable[[str], bool]
"""Asks the user a yes-or-no question."""


def with_budget(task: Task, budget: float | None) -> Task:
    """The task under another budget in seconds: None keeps its own, infinity is none."""
    if budget is None:
        return task
    return replace(task, budget_seconds=None if math.isinf(budget) else budget)


def fingerprints(task: Task, dataset: Dataset, test: Dataset | None) -> dict[str, str]:
    """Hashes of all that a comparison depends on; equal ones share a run."""
    digest = hashlib.sha256(
        f"{__version__} {task.budget_seconds}\n{task.instructions}\n{task.contract}".encode()
    )
    for file in [task.file, *_beside(task)]:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return {
        "task": digest.hexdigest(),
        "examples": dataset.fingerprint,
        "test": test.fingerprint if test else "",
    }


def _beside(task: Task) -> list[Path]:
    """Files that the check function may read: Python files beside it, and the documents."""
    found = list(task.check.file.parent.glob("*.py")) if task.check else []
    if task.documents:
        found += task.documents.rglob("*") if task.documents.is_dir() else [task.documents]
    return sorted(path for path in found if path.is_file())


def begin(run: Run, task: Task) -> None:
    """Starts run.json and keeps a copy of the task file; an interrupted run becomes a running one."""
    if not (run.folder / "run.json").exists():
        (run.folder / "task.yaml").write_bytes(task.file.read_bytes())
    run.update(
        format=FORMAT,
        name=task.name,
        task_file=task.file.name,
        status="running",
        etude=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        packages=dict(_packages()),
        machine=_machine(),
        seed=task.seed,
        model=task.model,
        prompt_model=task.prompt_model,
        kind=task.kind,
        margin=task.margin,
        target=task.target,
        budget_seconds=task.budget_seconds,
        methods=list(task.methods),
    )


def split_once(run: Run, task: Task, dataset: Dataset, test: Dataset | None) -> Split:
    """The run's split: as it was when the run began, or else in line with the task's other runs."""
    file = run.folder / "split.json"
    previous = _assignments(file) if file.exists() else _earlier_assignments(run, task)
    parts = split(dataset, task.kind, task.seed, test, previous)
    if not file.exists():
        sides = {"train": parts.train, "dev": parts.dev, "test": parts.test}
        ids = {side: [example.id for example in rows] for side, rows in sides.items()}
        write_json(file, {"seed": task.seed, **ids, "assignments": dict(parts.assignments)})
        write_lines(run.folder / "findings.jsonl", [asdict(finding) for finding in parts.findings])
    return parts


def describe(run: Run, task: Task, parts: Split, metric: Metric, on_event: OnEvent) -> None:
    """Tells rows, sizes, the metric and the smallest difference the test can show; keeps them in run.json."""
    sizes = {"train": len(parts.train), "dev": len(parts.dev), "test": len(parts.test)}
    power = [{"disagree": d, "difference": shown_by(parts.test, d)} for d in DISAGREEMENT]
    notes = [*task.notes, *parts.test.notes, *parts.notes]
    run.update(
        fingerprints={"examples": parts.train.fingerprint, "test": parts.test.fingerprint},
        split={**sizes, "notes": list(parts.notes)},
        metric={"name": metric.name, "label": metric.label, "form_only": metric.form_only},
        unit="group" if any(example.group is not None for example in parts.test) else "row",
        power=power,
        notes=notes,
        findings=[asdict(finding) for finding in parts.findings],
    )
    told = ", ".join(f"{rows} {side}" for side, rows in sizes.items())
    on_event(Said(f"{sum(sizes.values())} rows: {told}. Metric: {metric.label}."))
    shown = ", ".join(
        f"{100 * line['difference']:.1f} points if two methods disagree on {line['disagree']:.0%} of rows"
        for line in power
    )
    on_event(Said(f"This test can show: {shown}."))
    for note in [*notes, *(finding.message for finding in parts.findings)]:
        on_event(Said(f"Note: {note}"))


def shown_by(test: Dataset, disagree: float) -> float:
    """The smallest difference that the test shows in 80% of cases, when two methods disagree on this share
    of its rows. Rows of one group are taken to agree with each other, so that grouped tests show no less."""
    return smallest_difference(len({unit(example) for example in test}), disagree)


def planned(
    run: Run,
    task: Task,
    parts: Split,
    start: Assistant,
    models: Models,
    on_event: OnEvent,
    confirm: Confirm,
) -> Plan:
    """The run's plan: as it was first made, or made now from a few timed steps and kept in run.json."""
    if saved := run.info.get("plan"):
        return Plan.from_dict(saved)
    check_lengths(start, models.get(start.model), (parts.train, parts.dev, parts.test))
    on_event(Said("Timing a few steps ..."))
    methods = ladder(task.methods)
    tries = {method.name: method.tries(task, parts.train, start) for method in methods}
    tuned = [method.name for method in methods if method.tuned]
    work = Workload(
        tries={name: count for name, count in tries.items() if count},
        tuned=tuned,
        train=min(len(parts.train), int(task.train.get("max_rows", len(parts.train)))),
        dev=len(parts.dev),
        test=len(parts.test),
    )
    plan = make_plan(work, measure(task, start, parts.train, models, bool(tuned)), task.budget_seconds)
    for line in plan_lines(plan, task.budget_seconds):
        on_event(Said(line))
    if (question := _question(plan, task.budget_seconds)) and not confirm(question):
        raise Declined("Nothing was run. Set `budget:` in the task file, such as budget: 15m.")
    run.update(plan=plan.to_dict() | {"minutes": plan.total / 60, "lines": list(plan_lines(plan, None))})
    return plan


def plan_lines(plan: Plan, budget: float | None) -> Iterator[str]:
    """The plan in words."""
    parts = ", ".join(f"{name} {in_words(seconds)}" for name, seconds in plan.seconds.items())
    yield f"Plan: {in_words(plan.total)} ({parts})."
    if plan.shrunk:
        limit = f" of {in_words(budget)}" if budget else ""
        yield f"To fit the budget{limit}: {'; '.join(plan.shrunk)}."
    if budget is not None and plan.total > budget:
        yield "Even cut as far as it goes it takes longer than the budget."


def check_lengths(start: Assistant, model: Model, parts: tuple[Dataset, ...]) -> None:
    """Raises InputError listing every row whose prompt and answer exceed what the model can read."""
    room = model.context - start.max_tokens
    faults = []
    for example in (example for part in parts for example in part):
        if len(example.text.encode()) + len(start.instructions.encode()) < room // 2:
            continue  # a token is at least a byte, and the template adds little: no need to count
        tokens = model.count_tokens(start.messages(example.input))
        if tokens > room:
            faults.append(_too_long(example, tokens, room))
    if faults:
        raise InputError(faults)


def _too_long(example: Example, tokens: int, room: int) -> Fault:
    what = f"the prompt is longer than the {room} tokens the model can read before its answer"
    return Fault(
        example.where or example.id, what, f"{tokens} tokens", "shorten the row or take another model"
    )


def _question(plan: Plan, budget: float | None) -> str | None:
    """What to ask before starting: only when a limit is exceeded."""
    if budget is not None and plan.total > budget:
        return f"Even cut as far as it goes this takes {in_words(plan.total)}, over the budget. Go on?"
    if budget is None and plan.total > LONG:
        return f"This takes {in_words(plan.total)}. Go on?"
    return None


def _earlier_assignments(run: Run, task: Task) -> Mapping[str, Side] | None:
    """Which side each input stood on in the latest other run of this task with the same seed."""
    files = (other.folder / "split.json" for other in find_runs(run.folder.parent) if _sibling(run, other))
    splits = (read_json(file) for file in files if file.exists())
    return next((found["assignments"] for found in splits if found["seed"] == task.seed), None)


def _sibling(run: Run, other: Run) -> bool:
    """Whether `other` is another run of the same task."""
    return other.name != run.name and other.name.rpartition("-")[0] == run.name.rpartition("-")[0]


def _assignments(file: Path) -> Mapping[str, Side]:
    found: Mapping[str, Side] = read_json(file)["assignments"]
    return found


def _packages() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _machine() -> Json:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {"cpu": _processor(), "cores": os.cpu_count(), "memory_gb": round(memory)}


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    if file.exists():
        names = [line for line in file.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0].partition(":")[2].strip()
    return platform.processor() or platform.machine()
