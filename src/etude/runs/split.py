"""The split of a run: drawn once, in line with the task's other runs, and kept in split.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from etude.base.files import append_line, read_json, read_lines, write_json, write_lines
from etude.data.dataset import COMPARED, Dataset, Least
from etude.data.splits import Split, split
from etude.errors import InputError, RunError
from etude.runs.folder import Run, siblings
from etude.task import Task
from etude.types import Finding, Side

TRAINING = "training.jsonl"
"""Beside the runs: inputs that only ever train, one line each time that some were added."""


def split_once(
    run: Run,
    task: Task,
    dataset: Dataset,
    test: Dataset | None,
    checked: Sequence[Finding] = (),
    sizes: Sequence[Least] = (COMPARED,),
) -> Split:
    """The run's split: as it was when the run began, or else in line with the task's other runs.

    What was `checked` is kept before the split's own findings. `sizes` are the smallest, the first that the rows
    are enough for is taken.
    """
    file = run.folder / "split.json"
    parts = drawn_split(run, task, dataset, test, sizes)
    if file.exists():
        return parts
    sides = {"train": parts.train, "dev": parts.dev, "test": parts.test}
    ids = {side: [example.id for example in rows] for side, rows in sides.items()}
    own = [asdict(finding) for finding in parts.findings]
    write_lines(run.folder / "findings.jsonl", [*map(asdict, checked), *own], private=True)
    kept = {"seed": task.seed, **ids, "assignments": dict(parts.assignments), "notes": list(parts.notes)}
    kept |= {"findings": own, "comparable": parts.comparable}
    write_json(file, kept)  # last: it marks the split as made
    return parts


def drawn_split(
    run: Run, task: Task, dataset: Dataset, test: Dataset | None, sizes: Sequence[Least] = (COMPARED,)
) -> Split:
    """What `split_once` returns, with nothing written; the run need not have begun."""

    def drawn(previous: Mapping[str, Side]) -> Split:
        for least in sizes[:-1]:
            with suppress(InputError):  # too few rows for these sizes
                return split(dataset, task.kind, task.seed, test, previous, least)
        return split(dataset, task.kind, task.seed, test, previous, sizes[-1])

    if (run.folder / "split.json").exists():
        return _same_split(run, drawn)
    previous, skipped = _earlier_assignments(run, task.seed)
    parts = drawn(previous)
    return replace(parts, notes=(*parts.notes, *skipped))


def _same_split(run: Run, drawn: Callable[[Mapping[str, Side]], Split]) -> Split:
    """The split that the run's files hold, with what was said about it then."""
    kept = read_json(run.folder / "split.json")
    parts = drawn(kept["assignments"])
    lines = kept["findings"] if "findings" in kept else read_lines(run.folder / "findings.jsonl")
    findings = [Finding(**{**line, "rows": tuple(line["rows"])}) for line in lines]
    return replace(parts, notes=tuple(kept["notes"]), findings=tuple(findings))


def keep_in_train(root: Path, keys: Sequence[str]) -> None:
    """Notes inputs, by `input_key`, that the runs below `root` which have yet to split their rows put into train."""
    if keys:
        append_line(root / TRAINING, {"keys": list(keys)})


def _earlier_assignments(run: Run, seed: int) -> tuple[dict[str, Side], list[str]]:
    """Where the task's other runs with this seed have put each input, by the latest that holds it, before them what
    was noted to train; and a note on every run that cannot be read."""
    noted = run.folder.parent / TRAINING
    sides: dict[str, Side] = {
        key: "train" for line in (read_lines(noted) if noted.exists() else ()) for key in line["keys"]
    }
    notes = []
    for other in reversed(siblings(run)):
        try:
            sides |= _assignments(other, seed)
        except RunError as error:
            notes.append(f"The split goes without the earlier run {other.name}: {error}")
    return sides, notes


def _assignments(run: Run, seed: int) -> Mapping[str, Side]:
    """Which side each input stands on in a run with this seed; nothing for another seed, before a split, or where
    the rows were too few for a test."""
    file = run.folder / "split.json"
    if run.info["seed"] != seed or not file.exists():
        return {}
    kept = read_json(file)
    found: Mapping[str, Side] = kept["assignments"] if kept.get("comparable", True) else {}
    return found


def sizes_of(parts: Split) -> dict[str, int]:
    """Rows of each side."""
    return {"train": len(parts.train), "dev": len(parts.dev), "test": len(parts.test)}
