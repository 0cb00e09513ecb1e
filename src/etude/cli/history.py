"""`etude runs`: list, show, compare and promote runs."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from etude.base import files, formatting
from etude.cli import options, printing
from etude.data.starter import find_task_file
from etude.errors import InputError, RunError
from etude.report.two_runs import MethodInTwoRuns, compare_runs, write_page
from etude.runs import Run, find_run, find_task_runs, recommended
from etude.runs.verdict import Verdict
from etude.task.yaml_document import task_file_issue

app = typer.Typer(
    help="List, compare and promote runs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


def require_task(task: Path) -> Path:
    """Return the path of a task file or folder; for a file of rows, its task file. Raises
    InputError if missing.
    """
    if not task.exists():
        raise InputError([task_file_issue(task, "No such file or directory")])
    return task if task.is_dir() else find_task_file(task) or task


@app.command("list")
def list_runs(task: options.TaskPath) -> None:
    """List the runs of a task, the latest first."""
    screen = printing.create_console()
    task = require_task(task)
    runs = find_task_runs(task)
    if not runs:
        printing.print_line(
            screen, f"No run yet. Run: {formatting.format_command('compare', task)}"
        )
        return
    table = printing.create_table("run", "when", "status", "recommended", "headline")
    # One damaged run does not hide the others.
    skipped = []
    for run in runs:
        try:
            table.add_row(*summarize_run(run))
        except RunError as error:
            skipped.append(f"Skipped {run.name}: {error}")
    screen.print(table)
    for name in recommended.read_promotions(recommended.get_promotions_file(task))[-1:]:
        screen.print(Text(f"Promoted: {name}"))
    for line in skipped:
        screen.print(Text(line))


def summarize_run(run: Run) -> list[str]:
    """Return the cells of a run: name, last change, status, recommended method, headline
    comparison.
    """
    modified = datetime.fromtimestamp((run.folder / "run.json").stat().st_mtime)
    verdict = run.verdict
    result = format_losses(run) if run.command == "train" else format_headline_pair(verdict)
    recommended = (verdict.recommended if verdict else None) or ""
    return [run.name, f"{modified:%Y-%m-%d %H:%M}", run.status, recommended, result]


@app.command("show")
def show_run(task: options.TaskPath, run: options.RunName = None) -> None:
    """Show a run's ladder and verdict."""
    printing.print_run(printing.create_console(), find_run(require_task(task), run), task)


@app.command("compare")
def compare_two(
    task: options.TaskPath,
    first: Annotated[str, typer.Argument(help="A run.")],
    second: Annotated[str, typer.Argument(help="Another run.")],
) -> None:
    """Compare two runs, paired on the test rows they share, and write a page."""
    screen = printing.create_console()
    first_run, second_run = (find_run(require_task(task), name) for name in (first, second))
    # Names may be shortened, so two different names can mean the same run.
    if first_run.name == second_run.name:
        other_names = ", ".join(
            run.name for run in find_task_runs(task) if run.name != first_run.name
        )
        raise RunError(
            f"{first_run.name} is given twice. Give another run: "
            f"{other_names or 'there is none yet'}."
        )
    comparison = compare_runs(first_run, second_run)
    figures = (first_run.name, second_run.name, "second - first", "95% interval", "p")
    table = printing.create_table("method", *figures, right=figures)
    for row in comparison.methods:
        table.add_row(row.method, *format_row(row))
    screen.print(table)
    screen.print(
        Text(f"Metric: {comparison.metric}, on the test rows that both runs have answered.")
    )
    screen.print(Text("The intervals are not adjusted for the number of methods."))
    if comparison.skipped:
        screen.print(Text(comparison.skipped))
    printing.print_line(screen, f"Page: {printing.shorten_path(write_page(comparison))}")


@app.command("promote")
def promote_run(
    task: options.TaskPath,
    run: Annotated[str | None, typer.Argument(help="A run, or the beginning of its name.")] = None,
    previous: Annotated[
        bool, typer.Option("--previous", help="Go back to the run before.")
    ] = False,
) -> None:
    """Choose the run that etude serve serves. Running servers take it up."""
    if previous is (run is not None):
        remedy = "give the name of a run, or --previous to go back"
        raise InputError.of(
            "etude runs promote", "needs either a run or --previous", run or "", remedy
        )
    task = require_task(task)
    screen = printing.create_console()
    promoted = recommended.promote(task, find_run(task, run) if run else None)
    method = recommended.choose_method(promoted)[0]
    command = formatting.format_command("serve", promoted.task_file)
    printing.print_line(screen, f"Promoted {promoted.name}: `{command}` serves its {method}.")
    if warning := recommended.describe_failed_gates(promoted, method):
        printing.print_line(screen, f"Warning: {warning}")


def format_row(row: MethodInTwoRuns) -> list[str]:
    """Return the cells of a method: both values, the difference, its interval (none if all answers
    are equal) and p.
    """
    estimate = row.difference.difference
    interval = f"{formatting.format_difference_interval(estimate)} (n = {estimate.n:,})"
    if row.is_identical:
        interval = f"identical on all {row.first.rows:,} rows"
    return [
        formatting.format_percent(row.first.value),
        formatting.format_percent(row.second.value),
        formatting.format_difference(estimate.value),
        interval,
        row.p,
    ]


def format_losses(run: Run) -> str:
    """Format the loss on dev before and after a training; "" without one."""
    records = [
        files.read_json(run.method_folder(name) / "method.json")["params"]
        for name in run.fitted_methods
    ]
    losses = [
        (params["dev_losses"], params["best_epoch"]) for params in records if "dev_losses" in params
    ]
    return ", ".join(
        f"loss on dev {values[0]:.3f} to {values[best]:.3f}" for values, best in losses
    )


def format_headline_pair(verdict: Verdict | None) -> str:
    """Format the headline comparison; "" without one."""
    if verdict is None or verdict.headline is None:
        return ""
    pair = verdict.headline
    value = formatting.format_difference(pair.difference.value)
    interval = formatting.format_difference_interval(pair.difference)
    return f"{pair.tuned} - {pair.untuned}: {value} ({interval})"
