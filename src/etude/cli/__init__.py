"""The command line: a command parses options, makes one library call, and prints text.

Exit codes: 0 success, 1 a gate or check failed, 2 the user's input is wrong, 3 a bug in Étude.
COMMANDS maps each command to its function. The function's module is imported only to run the
command, so that `etude --help` is quick.
"""

import errno
import io
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from etude import __version__
from etude.base.formatting import list_first
from etude.errors import EtudeError, InputError, Issue

# Command -> its function as module:name, and its line in `etude --help`
COMMANDS = {
    "init": ("preparing:init", "Write a task file from a file of examples."),
    "check": ("checking:check", "Check the examples for errors before training on them."),
    "convert": (
        "preparing:convert",
        "Write examples or preferences in the format of another tool.",
    ),
    "index": ("predicting:index", "Read and embed the task's documents."),
    "make": ("predicting:make", "Let a bigger model write more training rows."),
    "compare": ("compare_board:compare", "Compare methods on one sealed test and recommend one."),
    "train": ("training:train", "Fine-tune the model on the training rows."),
    "test": (
        "testing:ask_suites",
        "Test an assistant with normal, unusual, tricky and sensitive questions.",
    ),
    "play": (
        "testing:play",
        "Play the test conversations, with each method's own answers as history.",
    ),
    "card": ("testing:card", "Write a model card of an assistant from its measurements."),
    "chat": ("chatting:chat", "Talk to an assistant of a run."),
    "predict": ("predicting:predict", "Answer a file of inputs."),
    "serve": ("serving:serve", "Serve assistants to clients of OpenAI's API."),
    "watch": (
        "testing:watch",
        "Report whether people ask what the rows ask, from recorded requests.",
    ),
    "export": (
        "exporting:export",
        "Export an assistant to another program and measure what it loses.",
    ),
    "studio": ("serving:studio", "Open pages on which people accept and correct answers."),
    "mcp": ("serving:mcp", "Offer Étude's functions as tools to assistants and editors (MCP)."),
    "runs": ("history:app", "List, compare and promote runs."),
    "feedback": (
        "feedback_commands:app",
        "List people's feedback on answers, and turn it into rows.",
    ),
}
MAX_EQUAL = 5  # up to this many errors with the same message and remedy have a line each
_SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
}


class _LazyGroup(TyperGroup):
    """Imports the module of a command only when the command runs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {
            name: TyperCommand(name, help=summary) for name, (_, summary) in COMMANDS.items()
        }

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load a command; None if there is no command of this name."""
        if cmd_name in COMMANDS:
            module, _, function = COMMANDS[cmd_name][0].partition(":")
            command = getattr(import_module(f"etude.cli.{module}"), function)
        else:
            command = load_added_commands().get(cmd_name)
        if command is None:
            return None
        if isinstance(command, typer.Typer):
            return typer.main.get_command(command)
        single = typer.Typer(**_SETTINGS)
        single.command(cmd_name)(command)
        return typer.main.get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        summaries = [(name, summary) for name, (_, summary) in COMMANDS.items()]
        for name, command in load_added_commands().items():
            summaries.append((name, str(command.info.help)))
        with formatter.section("Commands"):
            formatter.write_dl(summaries)


def load_added_commands() -> dict[str, typer.Typer]:
    """Load the commands that installed packages add through the entry points `etude.commands`."""
    return {entry.name: entry.load() for entry in entry_points(group="etude.commands")}


app = typer.Typer(
    name="etude",
    cls=_LazyGroup,
    help="From a file of examples to a measured answer: do I need to fine-tune, and can I trust "
    "the result?",
    no_args_is_help=True,
    **_SETTINGS,
)


@app.callback(invoke_without_command=True)
def _print_version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"etude {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. Errors in the user's input are printed without
    a traceback.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # "?" for characters that a terminal cannot encode
    # Typer ends every command with SystemExit; errors of the library pass through it.
    try:
        app(list(sys.argv[1:] if arguments is None else arguments), prog_name="etude")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except EtudeError as error:
        typer.echo(_format_error(error), err=True)
        return error.exit_code
    except OSError as error:  # a full or read-only disk, a closed pipe: not a bug
        typer.echo(f"etude: {_format_disk_error(error)}", err=True)
        return 2
    return 0


_REMEDIES = {
    errno.ENOSPC: "Free some disk space, and run the command again",
    errno.EDQUOT: "Free some disk space, and run the command again",
    errno.EACCES: "Give yourself permission to write there, or choose another path",
    errno.EPERM: "Give yourself permission to write there, or choose another path",
    errno.EROFS: "Choose another path",
    errno.ENOENT: "Choose a folder in which files can be created",
    errno.ENOTDIR: "Choose a folder in which files can be created",
    errno.EISDIR: "There is a folder with this name: move it, or give a file inside it",
}


def _merge_issues(issues: Sequence[Issue]) -> Iterator[str]:
    """Yield a line for each issue, and one line for more than MAX_EQUAL issues with the same
    message and remedy.
    """
    groups: dict[tuple[str, str], list[Issue]] = {}
    for issue in issues:
        groups.setdefault((issue.message, issue.remedy), []).append(issue)
    for group in groups.values():
        if len(group) <= MAX_EQUAL:
            yield from map(str, group)
        else:
            locations = list_first([issue.location for issue in group], 3)
            value = f"{group[0].value}, ..." if group[0].value else ""
            yield str(replace(group[0], location=locations, value=value))


def _format_disk_error(error: OSError) -> str:
    name = str(error.filename2 or error.filename or "")
    path = f" ({name if Path(name).exists() else name.removesuffix('.part')})" if name else ""
    remedy = _REMEDIES.get(
        error.errno or 0, "Free some disk space or check the permissions, and run the command again"
    )
    return f"{error.strerror or error}{path}. {remedy}."


def _format_error(error: EtudeError) -> str:
    lines = str(error).splitlines()
    notes = getattr(error, "__notes__", [])
    lines = list(_merge_issues(error.issues)) if isinstance(error, InputError) else lines
    count = error.count if isinstance(error, InputError) else len(lines)
    if count == 1:
        return "\n".join([f"etude: {lines[0]}", *notes])
    return "\n".join([f"etude: {count:,} errors:", *(f"  {line}" for line in lines), *notes])


def entry() -> None:
    """Run the console script. An unexpected exception is a bug in Étude: it prints a traceback and
    exits with 3.
    """
    try:
        sys.exit(main())
    except Exception:  # noqa: BLE001 - the outermost frame: only the exit code is added
        traceback.print_exc()
        typer.echo("This is a bug in Étude. Please report it with the lines above.", err=True)
        sys.exit(3)
