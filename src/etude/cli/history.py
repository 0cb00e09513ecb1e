"""`etude runs`: what has been run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from etude.cli import words
from etude.cli.words import screen
from etude.errors import InputError, RunError
from etude.files import Json, read_json
from etude.runs import FOLDER, Run, find_run, find_runs
from etude.stats.paired import headline
from etude.stats.sample import score_sample
from etude.task.page import unreadable_task
from etude.types import Estimate
from etude.wording import command, p_value, percent, signed, signed_bounds

BY_LABEL = ("accuracy", "macro_f1")
"""Metrics that score a row alike: by whether its label is right."""


def runs_folder(task: Path) -> Path:
    """Where the runs of a task stand: beside its file. Raises InputError when there is no such file: the runs
    of the folder might be another task's."""
    if not task.exists():
        raise InputError([unreadable_task(task, "No such file or directory")])
    return (task if task.is_dir() else task.parent) / FOLDER


def print_list(task: Path) -> None:
    """One line for each run, the latest first; below, the runs that cannot be read, each with the reason."""
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
            left_out.append(f"Left out {run.name}: {error}")
    console.print(table)
    for line in left_out:
        console.print(Text(line))


def summary(run: Run) -> list[str]:
    """Cells: name, when it was last worked on, status, what is recommended, the headline comparison."""
    when = datetime.fromtimestamp((run.folder / "run.json").stat().st_mtime)
    verdict = run.verdict or {}
    recommended = verdict.get("recommended") or ""
    found = loss_words(run) if run.command == "train" else headline_words(verdict)
    return [run.name, f"{when:%Y-%m-%d %H:%M}", run.status, recommended, found]


def print_run(task: Path, name: str | None) -> None:
    """One run's ladder and verdict, or what its training came to."""
    words.print_run(screen(), find_run(runs_folder(task), name), task)


def print_two(task: Path, first: str, second: str) -> None:
    """Both runs' methods on the test rows that both have answered, with paired intervals.

    Raises RunError when they share no test row, or when their metrics score a row differently.
    """
    console = screen()
    one, two = find_run(runs_folder(task), first), find_run(runs_folder(task), second)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("step", one.name, two.name, "second - first", "95% interval", "p"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    shared = [name for name in one.methods if name in two.methods]
    rows = {name: shared_rows(one, two, name) for name in shared}
    if not any(rows.values()):
        raise RunError(f"{one.name} and {two.name} have answered no test row in common.")
    check_metrics(one, two)
    for name, pairs in rows.items():
        if pairs:
            table.add_row(name, *difference(pairs))
    console.print(table)
    console.print(Text("Single intervals, not adjusted for the number of steps; mean row scores."))


def check_metrics(one: Run, two: Run) -> None:
    """Raises RunError where a row's score means another thing in each of the runs."""
    names = [run.info["metric"]["name"] for run in (one, two)]
    if len({BY_LABEL if name in BY_LABEL else name for name in names}) > 1:
        raise RunError(
            f"{one.name} and {two.name} score rows by {' and by '.join(names)}. Compare again under one metric."
        )


def shared_rows(one: Run, two: Run, method: str) -> list[tuple[Json, Json]]:
    """Lines of the same test row (same id, input and wanted answer) in both runs."""
    first, second = (
        {(line["id"], line["input"], line["expected"]): line for line in run.predictions(method)}
        for run in (one, two)
    )
    keys = [key for key, line in first.items() if line["side"] == "test" and key in second]
    return [(first[key], second[key]) for key in keys if second[key]["side"] == "test"]


def difference(pairs: list[tuple[Json, Json]]) -> list[str]:
    """Cells: both values, their difference, its interval and p."""
    units = [line["unit"] for line, _ in pairs]
    first = score_sample([line["score"] for line, _ in pairs], units)
    second = score_sample([line["score"] for _, line in pairs], units)
    result = headline(second, first)
    found = result.difference
    values = [percent(sample.value) for sample in (first, second)]
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


def headline_words(verdict: Json) -> str:
    """The headline comparison on one line."""
    headline = verdict.get("headline")
    if not headline:
        return ""
    found = Estimate(**headline["difference"])
    return f"{headline['tuned']} - {headline['untuned']}: {signed(found.value)} ({signed_bounds(found)})"
