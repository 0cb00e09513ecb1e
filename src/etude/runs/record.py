"""The record of a run: run.json with what it is of and where it is computed, method.json and predictions.jsonl."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

from etude import __version__
from etude.assistant import Assistant
from etude.base.files import Json, read_json, write_json
from etude.data.splits import Split
from etude.errors import RunError
from etude.evaluate import Scored, unit
from etude.methods.fit_context import FitContext
from etude.methods.method import Method
from etude.metrics import Metric
from etude.runs.events import NoteEvent, OnEvent
from etude.runs.fingerprints import changed
from etude.runs.folder import FORMAT, Run, siblings
from etude.runs.openings import seen_as_test
from etude.runs.split import sizes_of
from etude.task import Task
from etude.types import Side

PACKAGES = ("torch", "transformers", "scikit-learn", "scipy", "numpy", "safetensors")


def begin(run: Run, task: Task, inputs: Mapping[str, str], on_event: OnEvent) -> None:
    """Starts run.json with an id that no other run has, or goes on with it: then `resumed` gains an entry
    when versions or machine are others than they last were. Says why a run is new beside older ones."""
    if (run.folder / "run.json").exists():
        _go_on(run)
        return
    if why := _why_new(run, inputs):
        on_event(NoteEvent(why))
    (run.folder / "task.yaml").write_bytes(task.file.read_bytes())
    run.update(
        format=FORMAT,
        id=uuid4().hex,
        name=task.name,
        task_file=task.file.name,
        status="running",
        **surroundings(),
        seed=task.seed,
        model=task.model,
        prompt_model=task.prompt_model,
        kind=task.kind,
        margin=task.margin,
        target=task.target,
        budget_seconds=task.budget_seconds,
        methods=list(task.methods),
        inputs=dict(inputs),
        **({"command": inputs["command"]} if "command" in inputs else {}),
    )


def describe_data(run: Run, task: Task, parts: Split, metric: Metric, noted: Sequence[str]) -> list[str]:
    """Keeps rows, sizes, metric and notes in run.json, what the caller `noted` among them; returns all notes and
    findings."""
    notes = [*task.notes, *parts.test.notes, *parts.notes, *_redrawn(run, parts), *resumed_notes(run), *noted]
    run.update(
        fingerprints={"examples": parts.train.fingerprint, "test": parts.test.fingerprint},
        split={**sizes_of(parts), "notes": list(parts.notes)},
        metric={part: getattr(metric, part) for part in ("name", "label", "why", "form_only")},
        chats=any(
            len(example.input) > 1 for side in (parts.train, parts.dev, parts.test) for example in side
        ),
        unit="group" if any(example.group is not None for example in parts.test) else "row",
        notes=notes,
        findings=[asdict(finding) for finding in parts.findings],
    )
    return [*notes, *(finding.message for finding in parts.findings)]


def _redrawn(run: Run, parts: Split) -> Iterator[str]:
    """A note where the test was drawn anew, by another seed say: a look at one test has chosen another."""
    seen = seen_as_test(run.folder.parent, run.info["id"], [*parts.train, *parts.dev])
    if seen:
        yield (
            f"{seen:,} rows that now train or choose were test rows of an earlier run. The runs cannot be "
            "compared, and a split or seed that is kept for its result flatters it."
        )


def prediction(side: Side, row: Scored) -> dict[str, Any]:
    """One line of predictions.jsonl: the raw answer and all that any number of the report needs."""
    example, answer, score = row.example, row.answer, row.score
    return {
        "side": side,
        "id": example.id,
        "where": example.location,
        "unit": unit(example),
        "group": example.group,
        "tags": dict(example.tags),
        "input": example.text,
        "expected": example.output,
        "references": list(example.references),
        "answer": answer.text,
        "value": answer.value,
        "score": score.value,
        "form": score.keeps_contract,
        "check": score.check,
        "others": dict(score.others),
        "failures": list(answer.failures),
        "confidence": answer.confidence,
        "cut": answer.truncated,
        "shots_dropped": answer.shots_dropped,
        **({"citations": list(answer.citations)} if answer.citations else {}),
        **({"handed_over": True} if answer.handed_over else {}),
        "prompt_tokens": answer.prompt_tokens,
        "cached_tokens": answer.cached_tokens,
        "answer_tokens": answer.answer_tokens,
        "seconds": answer.seconds,
        "batch": row.batch,
    }


def write_record(run: Run, method: Method, assistant: Assistant, context: FitContext, prompt: str) -> None:
    """method.json: written last, it marks the method as fitted. `prompt` is that of one dev row, word for word."""
    record = {
        "name": method.name,
        "label": method.label,
        "tuned": method.tuned,
        "model": assistant.model.name,
        "fit_seconds": context.seconds,
        "train_seconds": context.train_seconds,
        "learned": context.learned,
        "dev_rows": len(context.on_dev),
        "candidates": [asdict(tried) for tried in context.tried],
        "notes": context.notes,
        "params": context.params,
        "prompt": prompt,
    }
    write_json(run.method(method.name) / "method.json", record)


def records(run: Run) -> dict[str, Json]:
    """method.json of each method that has been fitted."""
    return {name: read_json(run.method(name) / "method.json") for name in run.methods}


def surroundings() -> Json:
    """Versions and machine of this process."""
    return {
        "etude": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(_packages()),
        "machine": _machine(),
    }


def resumed_notes(run: Run) -> list[str]:
    """A sentence for each time the run went on elsewhere than it was before."""
    return [
        f"The run went on with other values of {' and '.join(entry)} than it had before; times and answers "
        "of one run may come from both (run.json, resumed)."
        for entry in run.info.get("resumed", [])
    ]


def _go_on(run: Run) -> None:
    info, now = run.info, surroundings()
    resumed = info.get("resumed", [])
    last = {key: info.get(key) for key in now}
    for entry in resumed:
        last |= entry
    other = {key: value for key, value in now.items() if value != last[key]}
    run.update(status="running", **({"resumed": [*resumed, other]} if other else {}))


def _why_new(run: Run, inputs: Mapping[str, str]) -> str | None:
    """What differs from the task's latest other run; None where there is none or nothing does."""
    for other in siblings(run):
        try:
            before = other.info.get("inputs")
        except RunError:
            continue  # the notes on the split name it
        if before and before.get("command") == inputs.get("command"):
            names = ", ".join(changed(before, inputs))
            return f"A new run, because this changed since {other.name}: {names}." if names else None
    return None


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
