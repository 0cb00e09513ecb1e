"""run.json at the start: what a run is of, and where it is computed; where it went on is added."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from uuid import uuid4

from etude import __version__
from etude.base.files import Json
from etude.errors import RunError
from etude.runs.events import OnEvent, Said
from etude.runs.fingerprints import changed
from etude.runs.folder import FORMAT, Run, siblings
from etude.task import Task

PACKAGES = ("torch", "transformers", "scikit-learn", "scipy", "numpy", "safetensors")


def begin(run: Run, task: Task, inputs: Mapping[str, str], on_event: OnEvent) -> None:
    """Starts run.json with an id that no other run has, or goes on with it: then `resumed` gains an entry
    when versions or machine are others than they last were. Says why a run is new beside older ones."""
    if (run.folder / "run.json").exists():
        _go_on(run)
        return
    if why := _why_new(run, inputs):
        on_event(Said(why))
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
    )


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
