"""`etude import openai`."""

from pathlib import Path
from typing import Annotated

import typer

from etude.base.formatting import format_command

import_app = typer.Typer(
    help="Write a task file from data saved from OpenAI's API.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@import_app.callback()
def _choose_service() -> None:
    """Keep `openai` as a subcommand although it is the only one."""


@import_app.command("openai")
def from_openai(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A folder with evals, runs, output items, jobs and files saved from OpenAI."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write. Default: the subfolder etude."),
    ] = None,
    eval_name: Annotated[
        str | None, typer.Option("--eval", help="Name or id of the eval, if there are several.")
    ] = None,
    input_fields: Annotated[
        list[str] | None,
        typer.Option("--input", help="Field of an item with the question; may be repeated."),
    ] = None,
    answer_field: Annotated[
        str | None,
        typer.Option(
            "--answer", help="Field of an item with the right answer, if no grader refers to it."
        ),
    ] = None,
) -> None:
    """Write a task file from saved evals, fine-tuning jobs and files of OpenAI's API, without
    calling the API.
    """
    from etude_openai.saved.import_openai import import_openai

    imported = import_openai(folder, output, eval_name, input_fields or (), answer_field)
    lines = [*imported.sentences, "", f"Wrote {imported.task_file}."]
    lines += ["Correct this before comparing:"] if imported.issues else []
    lines += [f"  {issue}" for issue in imported.issues]
    lines += (
        [] if imported.issues else [f"Compare: {format_command('compare', imported.task_file)}"]
    )
    typer.echo("\n".join(lines))
