"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

TaskPath = Annotated[Path, typer.Argument(help="A task file, or a folder with a task.yaml.")]
TaskOrRowsPath = Annotated[
    Path,
    typer.Argument(
        help="A task file or its folder, or a file of examples, for which a task file is written."
    ),
]
AssistantPath = Annotated[
    Path, typer.Argument(help="A task file, a run, or a saved assistant.", metavar="TASK|RUN")
]
MethodName = Annotated[
    str | None,
    typer.Option(
        "--method", "-m", help="Method whose assistant is used. Default: the recommended one."
    ),
]
RunName = Annotated[
    str | None,
    typer.Option("--run", help="Name of a run, or its beginning. Default: the latest run."),
]
RunTools = Annotated[
    bool,
    typer.Option(
        "--run-tools", help="Run the calls of answers with the class under tools: in the task file."
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on", help="Where to work: local, ray or ray://HOST:PORT. Default: where: of the task."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every question.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start from scratch instead of resuming.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also print details, which are in the report too.")
]
