"""`etude runs`: list, show and compare runs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from etude.base.files import read_json
from etude.base.wording import command, percent, signed, signed_bounds
from etude.cli import printing as words
from etude.cli.printing import screen
from etude.errors import InputError, RunError
from etude.report.two_runs import Compared, compare_runs, write_page
from etude.runs import FOLDER, Run, find_run, find_runs
from etude.runs.verdict import Verdict
from etude.task.yaml_nodes import unreadable_task


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
    """Print both runs' methods on the test rows that both have answered, and write their page.

    Raises RunError if both are one run, and what `compare_runs` does.
    """
    console = screen()
    one, two = find_run(runs_folder(task), first), find_run(runs_folder(task), second)
    if one.name == two.name:
        others = ", ".join(run.name for run in find_runs(runs_folder(task)) if run.name != one.name)
        raise RunError(f"{one.name} is given twice. Give another run: {others or 'there is none yet'}.")
    found = compare_runs(one, two)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("method", one.name, two.name, "second - first", "95% interval", "p"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for each in found.methods:
        table.add_row(each.method, *difference(each))
    console.print(table)
    console.print(Text("Mean row scores; intervals are not adjusted for the number of methods."))
    if found.skipped:
        console.print(Text(found.skipped))
    console.print(Text(f"Page: {words.shortest(write_page(found))}"), soft_wrap=True)


def difference(each: Compared) -> list[str]:
    """Cells: both values, their difference, its interval and p; no interval and p if all answers are the same."""
    found = each.found.difference
    interval = f"{signed_bounds(found)} (n = {found.n:,})"
    if each.same:
        interval = f"identical on all {each.first.rows:,} rows"
    return [percent(each.first.value), percent(each.second.value), signed(found.value), interval, each.p]


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
