"""The split of a run: drawn once, consistent with the task's other runs, and saved in
split.json.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from etude.base.files import append_line, read_json, read_lines, write_json, write_lines
from etude.data.dataset import COMPARE_MIN, Dataset, MinRows
from etude.data.splits import Split, split
from etude.errors import InputError, RunError
from etude.runs.folder import Run, list_siblings
from etude.task import Task
from etude.types import Finding, Side

TRAIN_ONLY_FILE = "training.jsonl"
"""A file in the folder of all runs: inputs that are only used for training, one line for each time
some were added.
"""


def load_split(
    run: Run,
    task: Task,
    dataset: Dataset,
    test: Dataset | None,
    check_findings: Sequence[Finding] = (),
    sizes: Sequence[MinRows] = (COMPARE_MIN,),
) -> Split:
    """Load the run's split, or draw it in line with the task's other runs and save it.

    `check_findings` are saved before the findings of the split. `sizes` are minimum sizes; the
    first one for which there are enough rows is used.
    """
    file = run.folder / "split.json"
    split_rows = compute_split(run, task, dataset, test, sizes)
    if file.exists():
        return split_rows
    sides = {"train": split_rows.train, "dev": split_rows.dev, "test": split_rows.test}
    findings = [asdict(finding) for finding in split_rows.findings]
    write_lines(
        run.folder / "findings.jsonl", [*map(asdict, check_findings), *findings], private=True
    )
    record = {
        "seed": task.seed,
        **{side: [example.id for example in rows] for side, rows in sides.items()},
        "assignments": dict(split_rows.assignments),
        "notes": list(split_rows.notes),
        "findings": findings,
        "comparable": split_rows.comparable,
    }
    write_json(file, record)  # last: it marks the split as made
    return split_rows


def compute_split(
    run: Run,
    task: Task,
    dataset: Dataset,
    test: Dataset | None,
    sizes: Sequence[MinRows] = (COMPARE_MIN,),
) -> Split:
    """Return what `load_split` returns, without writing anything. The run need not have started."""
    file = run.folder / "split.json"
    record = read_json(file) if file.exists() else None
    previous, skipped = (
        (record["assignments"], []) if record else _read_earlier_sides(run, task.seed)
    )
    # Lists of labels, and answers to several questions, have too many different values to balance.
    kind = "answer" if task.several or task.questions else task.kind
    for minimum in sizes[:-1]:
        with suppress(InputError):  # too few rows for these sizes
            new_split = split(dataset, kind, task.seed, test, previous, minimum)
            break
    else:
        new_split = split(dataset, kind, task.seed, test, previous, sizes[-1])
    if record is None:
        return replace(new_split, notes=(*new_split.notes, *skipped))
    findings = tuple(
        Finding(**{**line, "rows": tuple(line["rows"])}) for line in record["findings"]
    )
    return replace(new_split, notes=tuple(record["notes"]), findings=findings)


def add_train_only(root: Path, keys: Sequence[str]) -> None:
    """Add inputs (their `input_key`) that future splits of the runs in `root` put into train."""
    if keys:
        append_line(root / TRAIN_ONLY_FILE, {"keys": list(keys)})


def _read_earlier_sides(run: Run, seed: int) -> tuple[dict[str, Side], list[str]]:
    """Read on which side each input was in the task's other runs with this seed. The latest run
    takes precedence, and all runs take precedence over `add_train_only`. Return also a note on
    every run that cannot be read.
    """
    # Later entries overwrite earlier ones: corrections first, then runs from the oldest to the
    # latest.
    file = run.folder.parent / TRAIN_ONLY_FILE
    lines = read_lines(file) if file.exists() else ()
    sides: dict[str, Side] = {key: "train" for line in lines for key in line["keys"]}
    notes = []
    for sibling in reversed(list_siblings(run)):
        try:
            split_file = sibling.folder / "split.json"
            if sibling.info["seed"] == seed and split_file.exists():
                record = read_json(split_file)
                # A split with too few rows for a test is not reused in other runs.
                sides |= record["assignments"] if record["comparable"] else {}
        except RunError as error:
            notes.append(f"The split ignores the earlier run {sibling.name}: {error}")
    return sides, notes


def count_sides(split: Split) -> dict[str, int]:
    """Count the rows of each side without made rows; a conversation is one row, also if each of its
    turns is a question.
    """
    return {
        "train": len(split.train.real.whole),
        "dev": len(split.dev.whole),
        "test": len(split.test.whole),
    }
