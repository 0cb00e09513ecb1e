"""`etude init` and `etude convert`: files before a run."""

from pathlib import Path
from typing import Annotated

import typer

from etude.base.formatting import format_command, format_count
from etude.data.formats import write
from etude.data.starter import write_starter


def init(
    examples: Annotated[Path, typer.Argument(help="A .jsonl, .json, .csv or .tsv file of examples.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="<path>",
            help="File to write, or folder/ (created if missing). Default: task.yaml beside the examples.",
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            "--test", help="A file of rows for the test only. Default: split off from the examples."
        ),
    ] = None,
) -> None:
    """Look at a file of examples and write a task file that explains itself."""
    result = write_starter(examples, output, test)
    typer.echo(f"Read {examples}:")
    for guess in result.guesses:
        typer.echo(f"  {guess}")
    typer.echo(f"\nWrote {result.task_file}. Read it, correct wrong guesses, then run:")
    purposes = {
        "check": "what is wrong with the rows",
        "compare": "which method is enough: a prompt, examples, fine-tuning",
        "train": "fine-tuning alone",
    }
    lines = {format_command(verb, result.task_file): purpose for verb, purpose in purposes.items()}
    for line, purpose in lines.items():
        typer.echo(f"  {line:{max(map(len, lines))}}  # {purpose}")


def convert(
    file: Annotated[Path, typer.Argument(help="A file of rows, or a folder saved by `datasets`.")],
    to: Annotated[str, typer.Option("--to", help="openai, sharegpt, alpaca, trl, kto or parquet.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: beside FILE, named after the format."),
    ] = None,
) -> None:
    """Write examples or preferences in the format of another tool."""
    num_rows, notes, written = write.convert(file, to, output)
    for note in notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Wrote {format_count(num_rows, 'row')} as {to} to {written}.")
