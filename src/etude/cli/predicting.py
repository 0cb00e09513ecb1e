"""`etude predict` and `etude index`: progress on stderr, then the result. `etude make`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from etude import answer_file
from etude.base.formatting import format_command, format_count, format_time
from etude.cli import options, printing
from etude.index.build import build_index
from etude.make import make_rows
from etude.models.registry import Models
from etude.runs.recommended import describe_changes, find_run_of
from etude.task import load_task


def _create_console(yes: bool = False) -> printing.RunConsole:
    return printing.RunConsole(Console(stderr=True, highlight=False, soft_wrap=True), yes=yes)


def index(task: options.TaskPath, on: options.On = None) -> None:
    """Read and embed the documents of a task. Vectors of unchanged texts are reused."""
    console = _create_console()
    with console.exit_on_interrupt(printing.STOPPED), printing.show_steps("Reading") as steps:
        result = build_index(load_task(task, needs_model=False), Models(), steps.show, on=on)
    for problem in result.problems:
        console.print_text(f"Note: {problem}.")
    embedded = (
        f", {result.embedded:,} of them newly embedded by {result.encoder}"
        if result.encoder
        else ""
    )
    documents = format_count(result.documents, "document")
    passages = format_count(result.passages, "passage")
    typer.echo(f"{documents}, {passages}{embedded}; {format_time(result.seconds)}.")


def predict(
    place: options.AssistantPath,
    file: Annotated[Path, typer.Argument(help="A .jsonl, .csv, .tsv or .parquet file of inputs.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="File to write: .jsonl, .csv or .tsv. All columns are kept."
        ),
    ],
    method: options.MethodName = None,
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input", help="Column of the input; may be repeated. Default: guessed from the names."
        ),
    ] = None,
    on: options.On = None,
    yes: options.Yes = False,
) -> None:
    """Answer a file of inputs. After Ctrl-C or a kill, the same command continues."""
    console = _create_console(yes)
    with (
        console.exit_on_interrupt(printing.STOPPED),
        printing.show_steps(f"Answering {file.name}") as steps,
    ):
        result = answer_file.predict(
            place,
            file,
            output,
            method=method,
            input=input or [],
            on=on,
            on_progress=lambda num_done, total, _: steps.update(num_done / total),
            confirm=lambda question: steps.ask(console, question),
        )
    run = find_run_of(place)
    if changes := run and describe_changes(run):
        console.print_text(f"Warning: {changes}")
    rows = format_count(result.num_rows, "row")
    console.print_text(
        f"{printing.shorten_path(result.file.absolute())}: {rows}, answered by {result.method}."
    )
    if result.num_problems:
        rows = format_count(result.num_problems, "row")
        have = "has" if result.num_problems == 1 else "have"
        causes = "no answer, an answer cut off, or a broken contract"
        console.print_text(f"{rows} {have} a problem ({causes}): see the column problem.")


def make(
    task: options.TaskPath,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows are wanted.")] = 500,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="The model that writes: a name or URL#NAME. Default: prompt_model: of the task.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write. Default: made.jsonl next to the task file."
        ),
    ] = None,
    yes: options.Yes = False,
) -> None:
    """Let a bigger model write more training rows. After Ctrl-C or a kill, the same command
    continues.
    """
    console = printing.RunConsole(printing.create_console(), yes=yes)
    with console.exit_on_interrupt(printing.STOPPED), printing.show_steps("Making rows") as steps:
        made = make_rows(
            task,
            rows,
            model=model,
            output=output,
            on_event=console.handle_event,
            confirm=lambda question: steps.ask(console, question),
        )
    console.print_text(made.sentence)
    for reason, count in made.refused.items():
        console.print_text(f"  refused: {count:,}: {reason}")
    for note in made.notes:
        console.print_text(f"Note: {note}.")
    page = printing.shorten_path(made.page)
    console.print_text(f"Read some of them in {page}. To train on them, write in the task file:")
    console.print_text(f"  made_rows: {made.file.name}")
    console.print_text(f"Then {format_command('compare', task)} measures whether they help.")
