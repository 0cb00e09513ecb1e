"""`etude runs`: list, show and compare runs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from etude.base.files import Json, read_json
from etude.base.wording import command, count, p_value, percent, signed, signed_bounds
from etude.cli import printing as words
from etude.cli.printing import screen
from etude.errors import InputError, RunError, shown
from etude.runs import FOLDER, Run, find_run, find_runs
from etude.runs.verdict import Verdict
from etude.stats.paired import headline
from etude.stats.sample import score_sample
from etude.task.yaml_nodes import unreadable_task

EXCERPT = 40
"""Characters of a row that are shown in a sentence."""
BY_LABEL = ("accuracy", "macro_f1")
"""Metrics that score a row alike: by whether its label is right."""


def runs_folder(task: Path) -> Path:
    """The folder of a task's runs, beside its file. Raises InputError if there is no such file: the runs of the
    folder might be another task's."""
    if not task.exists():
        raise InputError([unreadable_task(task, "No such file or directory")])
    return (task if task.is_dir() else task.parent) / FOLDER


def print_list(task: Path) -> None:
    """Print one line for each run, the latest first, then the runs that cannot be read, each with the reason."""
    console = screen()
    runs = find_runs(runs_folder(task))
    if not runs:
        console.print(Text(f"No run yet. Run: {command('compare', task)}"), soft_wrap=True)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("run", "when", "status", "recommended", "headline"):
        table.add_column(heading)
    left_out = []
    for run in runs:
        try:
            table.add_row(*summary(run))
        except RunError as error:
            left_out.append(f"Skipped {run.name}: {error}")
    console.print(table)
    for line in left_out:
        console.print(Text(line))


def summary(run: Run) -> list[str]:
    """Cells: name, when it was last worked on, status, what is recommended, the headline comparison."""
    when = datetime.fromtimestamp((run.folder / "run.json").stat().st_mtime)
    verdict = run.verdict
    recommended = verdict.recommended if verdict else None
    found = loss_words(run) if run.command == "train" else headline_words(verdict)
    return [run.name, f"{when:%Y-%m-%d %H:%M}", run.status, recommended or "", found]


def print_run(task: Path, name: str | None) -> None:
    """Print one run's ladder and verdict, or the result of its training."""
    words.print_run(screen(), find_run(runs_folder(task), name), task)


def print_two(task: Path, first: str, second: str) -> None:
    """Print both runs' methods on the test rows that both have answered, with paired intervals.

    Test rows whose wanted answer differs between the runs are skipped and counted. Raises RunError if both are one
    run, if they share no test row, or if their metrics score a row differently.
    """
    console = screen()
    one, two = find_run(runs_folder(task), first), find_run(runs_folder(task), second)
    if one.name == two.name:
        others = ", ".join(run.name for run in find_runs(runs_folder(task)) if run.name != one.name)
        raise RunError(f"{one.name} is given twice. Give another run: {others or 'there is none yet'}.")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("method", one.name, two.name, "second - first", "95% interval", "p"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    shared = [name for name in one.methods if name in two.methods]
    rows = {name: shared_rows(one, two, name) for name in shared}
    changed = sorted(set().union(*(changed_inputs(one, two, name) for name in shared)))
    skipped = (
        f"Skipped, because the wanted answer differs between the runs: {count(len(changed), 'test row')}, such as "
        f"{shown(changed[0], EXCERPT)}."
        if changed
        else ""
    )
    if not any(rows.values()):
        raise RunError(f"{one.name} and {two.name} have no test row in common. {skipped}".rstrip())
    check_metrics(one, two)
    for name, pairs in rows.items():
        if pairs:
            table.add_row(name, *difference(pairs))
    console.print(table)
    console.print(Text("Mean row scores; intervals are not adjusted for the number of methods."))
    if skipped:
        console.print(Text(skipped))


def check_metrics(one: Run, two: Run) -> None:
    """Raises RunError if the runs score a row differently."""
    names = [run.info["metric"]["name"] for run in (one, two)]
    if len({BY_LABEL if name in BY_LABEL else name for name in names}) > 1:
        raise RunError(
            f"{one.name} and {two.name} score rows by {' and by '.join(names)}. Run both comparisons with one metric."
        )


def shared_rows(one: Run, two: Run, method: str) -> list[tuple[Json, Json]]:
    """Lines of the same test row (same id, input and wanted answer) in both runs."""
    first, second = (
        {(line["id"], line["input"], line["expected"]): line for line in run.predictions(method)}
        for run in (one, two)
    )
    keys = [key for key, line in first.items() if line["side"] == "test" and key in second]
    return [(first[key], second[key]) for key in keys if second[key]["side"] == "test"]


def _wanted(run: Run, method: str) -> dict[str, set[str]]:
    """Input -> the answers that are wanted of it in the test."""
    wanted: dict[str, set[str]] = {}
    for line in run.predictions(method):
        if line["side"] == "test":
            wanted.setdefault(line["input"], set()).add(line["expected"])
    return wanted


def changed_inputs(one: Run, two: Run, method: str) -> set[str]:
    """Inputs that both tests hold and of which the wanted answer differs."""
    first, second = (_wanted(run, method) for run in (one, two))
    return {text for text, wanted in first.items() if text in second and wanted.isdisjoint(second[text])}


def difference(pairs: list[tuple[Json, Json]]) -> list[str]:
    """Cells: both values, their difference, its interval and p; no interval and p if all answers are the same."""
    units = [line["unit"] for line, _ in pairs]
    first = score_sample([line["score"] for line, _ in pairs], units)
    second = score_sample([line["score"] for _, line in pairs], units)
    result = headline(second, first)
    found = result.difference
    values = [percent(sample.value) for sample in (first, second)]
    if all(
        before["answer"] == after["answer"] and before["score"] == after["score"] for before, after in pairs
    ):
        return [*values, signed(found.value), f"identical on all {len(pairs):,} rows", ""]
    return [
        *values,
        signed(found.value),
        f"{signed_bounds(found)} (n = {found.n:,})",
        p_value(result.p).removeprefix("p ").removeprefix("= "),
    ]


def loss_words(run: Run) -> str:
    """The loss on dev before and after a training, on one line; empty while there is none."""
    records = [read_json(run.method(name) / "method.json")["params"] for name in run.methods]
    losses = [(params["dev_losses"], params["best_epoch"]) for params in records if "dev_losses" in params]
    return ", ".join(f"loss on dev {found[0]:.3f} to {found[best]:.3f}" for found, best in losses)


def headline_words(verdict: Verdict | None) -> str:
    """The headline comparison on one line."""
    if verdict is None or verdict.headline is None:
        return ""
    found = verdict.headline
    difference = f"{signed(found.difference.value)} ({signed_bounds(found.difference)})"
    return f"{found.tuned} - {found.untuned}: {difference}"
