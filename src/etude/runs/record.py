"""The records of a run: run.json (inputs, machine, data), method.json, and lines of
predictions.jsonl.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from etude.evaluate import ScoredAnswer, get_unit
from etude.methods.method import Method
from etude.methods.shared.fit_context import FitContext
from etude.metrics import Metric, describe_metric
from etude.models import weights
from etude.runs import events, fingerprints, openings
from etude.runs.details import STATED
from etude.runs.folder import FORMAT, Run, list_siblings
from etude.runs.split import count_sides
from etude.task import Task
from etude.types import Side

PACKAGES = ("torch", "transformers", "scikit-learn", "scipy", "numpy", "safetensors")


def start_record(run: Run, task: Task, inputs: Mapping[str, str], on_event: events.OnEvent) -> None:
    """Start run.json with a unique id, or resume it. On resume, `resumed` gets an entry if versions
    or machine differ from the last attempt. If a new run starts although the task has other runs,
    report why.
    """
    if (run.folder / "run.json").exists():
        info = run.info
        now = read_environment()
        resumed = info.get("resumed", [])
        # An entry has only the values that changed, so all entries together give those of the last
        # attempt.
        last = {key: info.get(key) for key in now}
        for entry in resumed:
            last |= entry
        differing = {key: value for key, value in now.items() if value != last[key]}
        run.update(status="running", **({"resumed": [*resumed, differing]} if differing else {}))
        if fingerprints.list_changes(info["inputs"], inputs):
            _change_limits(run, task, inputs, on_event)
        return
    # Comments and layout do not start a new run, so the user may wonder why there is one.
    if reason := _explain_new_run(run, inputs):
        on_event(events.NoteEvent(reason))
    (run.folder / "task.yaml").write_bytes(task.file.read_bytes())
    run.update(
        format=FORMAT,
        id=uuid4().hex,
        name=task.name,
        task_file=task.file.name,
        status="running",
        **read_environment(),
        seed=task.seed,
        model=task.model,
        prompt_model=task.prompt_model,
        engine=task.engine,
        kind=task.kind,
        margin=task.margin,
        target=task.target,
        budget_seconds=task.budget_seconds,
        methods=list(task.methods),
        inputs=dict(inputs),
        **({"command": inputs["command"]} if "command" in inputs else {}),
    )


def _change_limits(
    run: Run, task: Task, inputs: Mapping[str, str], on_event: events.OnEvent
) -> None:
    """Continue a comparison with other limits. If its test was opened, it gets a new id, so that
    its next opening is counted: a changed assistant sees the test.
    """
    (run.folder / "task.yaml").write_bytes(task.file.read_bytes())
    is_opened = "openings" in run.info
    run.update(inputs=dict(inputs), **({"id": uuid4().hex} if is_opened else {}))
    message = "Only the limits changed, so the run is continued and its answers are used again."
    if is_opened:
        message += (
            " The test counts as opened again, because the share of its questions that are turned "
            "away is new."
        )
    on_event(events.NoteEvent(message))


def write_data_record(
    run: Run, task: Task, split: Split, metric: Metric, notes_before: Sequence[str]
) -> list[str]:
    """Write rows, sizes, metric and notes (with `notes_before`) to run.json; return notes and
    findings' messages.
    """
    notes = [*task.notes, *split.test.notes, *split.notes]
    # The test was drawn again, for example with another seed, perhaps because of its earlier
    # result.
    if num_seen := openings.count_seen_as_test(
        run.folder.parent, run.info["id"], [*split.train, *split.dev]
    ):
        notes.append(
            f"{num_seen:,} rows that are now in train or dev were test rows of an earlier run. "
            "The runs cannot be compared, and choosing a split or seed by its result makes the "
            "result look too good."
        )
    notes += [*list_resume_notes(run), *notes_before]
    sides = (split.train, split.dev, split.test)
    run.update(
        fingerprints={"examples": split.train.fingerprint, "test": split.test.fingerprint},
        split={**count_sides(split), "notes": list(split.notes)},
        metric={
            **{key: getattr(metric, key) for key in ("label", "reason", "contract_only")},
            **describe_metric(metric),
        },
        chats=any(example.input[-1].content != example.text for side in sides for example in side),
        # Rows of one group count once in statistics.
        unit="group" if any(example.group is not None for example in split.test) else "row",
        notes=notes,
        findings=[asdict(finding) for finding in split.findings],
    )
    return [*notes, *(finding.message for finding in split.findings)]


def build_prediction(side: Side, row: ScoredAnswer) -> dict[str, Any]:
    """Build one line of predictions.jsonl: the raw answer, and all values from which the report is
    computed.
    """
    example = row.example
    answer = row.answer
    score = row.score
    return {
        "side": side,
        "id": example.id,
        "location": example.location,
        "unit": get_unit(example),
        "group": example.group,
        **({"conversation": example.conversation} if example.conversation else {}),
        "tags": dict(example.tags),
        "input": example.text,
        "expected": example.output,
        "references": list(example.references),
        **({"defaults": example.defaults} if example.defaults else {}),
        "answer": answer.text,
        "value": answer.value,
        "score": score.value,
        "keeps_contract": score.keeps_contract,
        "check": score.check,
        "other_metrics": dict(score.other_metrics),
        "failures": list(answer.failures),
        "confidence": answer.confidence,
        **({} if answer.stated_confidence is None else {STATED: answer.stated_confidence}),
        **({"confidences": dict(answer.confidences)} if answer.confidences else {}),
        **({} if answer.nearness is None else {"nearness": answer.nearness}),
        **({"signals": dict(answer.signals)} if answer.signals else {}),
        "truncated": answer.truncated,
        "shots_dropped": answer.shots_dropped,
        **({"citations": list(answer.citations)} if answer.citations else {}),
        **({"handed_over": True} if answer.handed_over else {}),
        "prompt_tokens": answer.prompt_tokens,
        "cached_tokens": answer.cached_tokens,
        "answer_tokens": answer.answer_tokens,
        "seconds": answer.seconds,
        "batch": row.batch,
    }


def write_method_record(
    run: Run,
    method: Method,
    assistant: Assistant,
    context: FitContext,
    prompt: str,
    look: str = "work",
) -> None:
    """Write method.json, which marks the method as fitted, so call this last. `prompt`: that of one
    dev row, verbatim; `look`: the folder of the look that fitted it.
    """
    record = {
        "name": method.name,
        "label": method.label,
        "tuned": method.tuned,
        "model": assistant.model.name,
        "fit_seconds": context.seconds,
        "train_seconds": context.train_seconds,
        "learned": context.num_learned,
        "dev_rows": len(context.chosen_scored),
        "look": look,
        "raced_out": context.is_raced_out,
        "is_cut": context.is_cut,
        "num_candidates": context.num_candidates,
        "full_seconds": context.full_seconds,
        "row_seconds": context.row_seconds,
        "candidates": [asdict(tried) for tried in context.trials],
        "notes": context.notes,
        "params": context.params,
        "prompt": prompt,
    }
    write_json(run.method_folder(method.name) / "method.json", record)


def read_method_records(run: Run) -> dict[str, Json]:
    """Read method.json of each fitted method."""
    return {name: read_json(run.method_folder(name) / "method.json") for name in run.fitted_methods}


def find_hub_commits(task: Task) -> dict[str, str]:
    """Find the commit of everything that a task names by a hub id, as it is on this machine."""
    commits = {}
    for name in filter(None, (task.model, task.prompt_model, task.reflect_with, task.encoder)):
        folder = weights.find_licence_folder(weights.split_bits(name)[0])
        if folder and folder.parent.name == "snapshots":  # of the hub's cache
            commits[name] = folder.name
    return commits


def read_environment() -> Json:
    """Read versions and machine of this process."""
    packages = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    has_size = "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {})  # not on Windows
    memory = (
        round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9) if has_size else None
    )
    file = Path("/proc/cpuinfo")  # only Linux has it
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    return {
        "etude": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "machine": {"cpu": processor, "cores": os.cpu_count(), "memory_gb": memory},
    }


def list_resume_notes(run: Run) -> list[str]:
    """List a sentence for each time the run was resumed with other versions or on another
    machine.
    """
    return [
        f"The run was resumed with different values of {' and '.join(entry)}, so its times and "
        "answers may come from different environments (see `resumed` in run.json)."
        for entry in run.info.get("resumed", [])
    ]


def _explain_new_run(run: Run, inputs: Mapping[str, str]) -> str | None:
    # The latest run of the same command is compared.
    for sibling in list_siblings(run):
        try:
            inputs_before = sibling.info.get("inputs")
        except RunError:
            continue  # the notes on the split report it
        if inputs_before and inputs_before.get("command") == inputs.get("command"):
            # Names of the keys that differ, in the order of the task file.
            names = ", ".join(fingerprints.list_changes(inputs_before, inputs))
            return (
                f"Starting a new run, because these inputs changed since {sibling.name}: {names}."
                if names
                else None
            )
    return None
