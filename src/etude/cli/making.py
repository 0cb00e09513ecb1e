"""`etude make`: the question before anything is sent, then what was made and what was refused."""

from pathlib import Path
from typing import Annotated

import typer

from etude.base.formatting import format_command
from etude.cli import options, printing
from etude.make import make_rows


def make(
    task: options.TaskPath,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows are wanted.")] = 500,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="The model that writes: a name or URL#NAME. Default: prompt_model: of the task."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: made.jsonl next to the task file."),
    ] = None,
    yes: options.Yes = False,
) -> None:
    """Let a bigger model write more training rows. After Ctrl-C or a kill, the same command continues."""
    console = printing.RunConsole(printing.create_console(), yes=yes)
    with console.exit_on_interrupt(printing.STOPPED):
        made = make_rows(
            task, rows, model=model, output=output, on_event=console.handle_event, confirm=console.confirm
        )
    console.print_text(made.sentence)
    for reason, count in made.refused.items():
        if count:
            console.print_text(f"  refused: {count:,}: {reason}")
    for note in made.notes:
        console.print_text(f"Note: {note}.")
    console.print_text(
        f"Read some of them in {printing.shorten_path(made.page)}. To train on them, write in the task file:"
    )
    console.print_text(f"  made_rows: {made.file.name}")
    console.print_text(f"Then {format_command('compare', task)} measures whether they help.")
