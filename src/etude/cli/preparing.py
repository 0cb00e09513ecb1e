"""`etude init`, `etude convert` and `etude import`: files before a run."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from etude.base.formatting import format_command, format_count
from etude.cli import printing
from etude.data.formats import write
from etude.data.starter import open_task_file, write_starter
from etude.data.starter.local_models import find_local_models
from etude.task import RowSource


def init(
    examples: Annotated[
        Path,
        typer.Argument(help="A .jsonl, .json, .csv, .tsv, .parquet or .xlsx file of examples."),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="<path>",
            help="File to write, or folder/ (created if missing). Default: task.yaml next to the "
            "examples.",
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            "--test", help="A file of rows for the test only. Default: split off from the examples."
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="COLUMN", help="Column with the input; may be repeated."),
    ] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", metavar="COLUMN", help="Column with the right answer.")
    ] = None,
) -> None:
    """Look at a file of examples and write a task file that explains itself."""
    source = RowSource(examples, input=tuple(inputs or ()), output=answer)
    with printing.show_steps(f"Looking at {examples.name}") as steps:
        choose = steps.get_choose()
        models = find_local_models()
        result = write_starter(source, output, test, choose=choose, local_models=models)
    typer.echo(f"Read {examples}:")
    for guess in result.guesses:
        typer.echo(f"  {guess}")
    for proposal in result.proposals:
        typer.echo(proposal)
    typer.echo(f"\nWrote {result.task_file}. Read it, correct wrong guesses, then run:")
    purposes = {
        "check": "find errors in the rows",
        "compare": "compare small models, prompts, examples in the prompt and fine-tuning",
        "train": "only fine-tune",
    }
    lines = {format_command(verb, result.task_file): purpose for verb, purpose in purposes.items()}
    for line, purpose in lines.items():
        typer.echo(f"  {line:{max(map(len, lines))}}  # {purpose}")


def open_task(path: Path, screen: Console, budget: str = "") -> Path:
    """Return the task file for a file of rows, found beside it or written, and print which; other
    paths unchanged.
    """
    with printing.show_steps(f"Looking at {path.name}") as steps:
        task_file, lines = open_task_file(path, steps.get_choose(), budget)
    for line in lines:
        printing.print_line(screen, line)
    return task_file


def convert(
    file: Annotated[Path, typer.Argument(help="A file of rows, or a folder saved by `datasets`.")],
    to: Annotated[str, typer.Option("--to", help="openai, sharegpt, trl or kto.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write. Default: next to FILE, named after the format."
        ),
    ] = None,
) -> None:
    """Write examples or preferences in the format of another tool."""
    num_rows, notes, written = write.convert(file, to, output)
    for note in notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Wrote {format_count(num_rows, 'row')} as {to} to {written}.")
