"""The command line: flags in, one library call, text and an exit code out.

Exit codes: 0 good, 1 a gate or check failed, 2 the user's input is wrong, 3 a bug of ours.
The library is imported inside the commands, so `etude --help` is quick.
"""

from __future__ import annotations

import errno
import io
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from etude import __version__
from etude.errors import EtudeError, InputError

app = typer.Typer(
    name="etude",
    help="From a file of examples to a measured answer to: do I need to fine-tune, and can I trust it?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
runs_app = typer.Typer(help="What has been run: list, show, compare two.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")

TaskPath = Annotated[Path, typer.Argument(help="A task file, or a folder with a task.yaml.")]
RunName = Annotated[
    str | None, typer.Option("--run", help="Name of a run, or its beginning. Default: the latest run.")
]

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also print details that the report has.")]


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"etude {__version__}")
        raise typer.Exit


@app.command()
def init(
    examples: Annotated[Path, typer.Argument(help="A .jsonl, .csv or .tsv file of examples.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="<path>",
            help="File to write to, or folder/ (made if absent). Default: task.yaml beside the examples.",
        ),
    ] = None,
) -> None:
    """Look at a file of examples and write a task file that explains itself."""
    from etude.base.wording import command
    from etude.data.starter import start

    result = start(examples, output)
    typer.echo(f"Read {examples}:")
    for guess in result.guesses:
        typer.echo(f"  {guess}")
    typer.echo(f"\nWrote {result.task_file}. Read it, correct wrong guesses, then run:")
    verbs = {
        "check": "what is wrong with the rows",
        "compare": "which step is enough: a prompt, examples, fine-tuning",
        "train": "fine-tuning alone",
    }
    lines = {command(verb, result.task_file): what for verb, what in verbs.items()}
    for line, what in lines.items():
        typer.echo(f"  {line:{max(map(len, lines))}}  # {what}")


@app.command()
def check(
    task: TaskPath,
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", help="Exit with 1 on findings of this kind or severity; may be repeated."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="text, html, json, sarif or junit. Default: by the file's name, else text."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write to, such as check.html.")
    ] = None,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Write a new file of examples with the clear errors fixed."),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="With --fix: findings of this kind, such as privacy_*; may be repeated."),
    ] = None,
    undo: Annotated[
        list[str] | None,
        typer.Option("--undo", help="Undo a fix: a row as FILE:LINE or id, or all; may be repeated."),
    ] = None,
) -> None:
    """Look for errors in the examples before training on them."""
    from etude.cli.findings import check_together, run_check, run_fix, run_undo

    of_the_check = {"--fail-on": bool(fail_on), "--format": bool(form), "--output": bool(output)}
    check_together(fix=fix, undo=bool(undo), only=bool(only), of_the_check=of_the_check)
    try:
        if undo:
            run_undo(task, undo)
        elif fix:
            run_fix(task, only or [])
        else:
            raise typer.Exit(run_check(task, fail_on or [], form, output))
    except KeyboardInterrupt as stopped:
        typer.echo("Stopped. No file was half written; run it again.", err=True)
        raise typer.Exit(130) from stopped


@app.command()
def compare(
    task: TaskPath,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every question.")] = False,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Time limit, such as 15m or none; overrides the task's.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start again from scratch instead of resuming.")
    ] = False,
    gate: Annotated[bool, typer.Option("--gate", help="Exit with 1 when the target is missed.")] = False,
    verbose: Verbose = False,
) -> None:
    """Compare methods on one sealed test and say which is enough."""
    from etude.cli.live import run_compare

    raise typer.Exit(run_compare(task, yes=yes, budget=budget, fresh=fresh, gate=gate, verbose=verbose))


@app.command()
def train(
    task: TaskPath,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every question.")] = False,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Time above which to ask, such as 15m or none; overrides the task's."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start again from scratch instead of resuming.")
    ] = False,
    show: Annotated[
        int | None,
        typer.Option("--show", min=1, help="Show this many rows as they would be learned; train nothing."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Fine-tune the model on the training rows."""
    from etude.cli.training import run_show, run_train

    if show is not None:
        run_show(task, show)
        return
    raise typer.Exit(run_train(task, yes=yes, budget=budget, fresh=fresh, verbose=verbose))


@app.command("test")
def ask_suites(
    place: Annotated[
        Path,
        typer.Argument(help="A task file or its folder, a run's folder, or an assistant's folder."),
    ],
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="Which assistant. Default: the recommended one.")
    ] = None,
    run: RunName = None,
    suite: Annotated[
        list[str] | None,
        typer.Option("--suite", "-s", help="Ask this suite only, such as sensitive; may be repeated."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Ask few questions: a first look.")] = False,
    teach: Annotated[
        bool,
        typer.Option("--teach", help="Also propose training rows for what failed, for a person to approve."),
    ] = False,
    canaries: Annotated[
        bool,
        typer.Option(
            "--canaries", help="Write the examples with planted secrets in a new file; test nothing."
        ),
    ] = False,
    init: Annotated[
        bool, typer.Option("--init", help="Write a suite file for the task, with comments; test nothing.")
    ] = False,
) -> None:
    """Ask an assistant normal, unusual, tricky and sensitive questions, beside its base."""
    from etude.cli.testing import plant_canaries, run_test, write_suite

    if init or canaries:
        (write_suite if init else plant_canaries)(place)
        return
    raise typer.Exit(run_test(place, run=run, method=method, suites=suite or [], quick=quick, teaches=teach))


@app.command()
def card(
    task: TaskPath,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="Which assistant. Default: the recommended one.")
    ] = None,
    run: RunName = None,
) -> None:
    """Write a model card of an assistant, from what was measured."""
    from etude.cli.testing import print_card

    print_card(task, run, method)


@app.command()
def chat(
    task: TaskPath,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="Which assistant. Default: the recommended one.")
    ] = None,
    run: RunName = None,
) -> None:
    """Talk to an assistant of a run. An empty line or Ctrl-D ends."""
    from etude.cli.talk import talk

    talk(task, run, method)


@runs_app.command("list")
def list_runs(task: TaskPath) -> None:
    """List the runs of a task, the latest first."""
    from etude.cli.history import print_list

    print_list(task)


@runs_app.command("show")
def show_run(task: TaskPath, run: RunName = None) -> None:
    """Show a run's ladder and verdict."""
    from etude.cli.history import print_run

    print_run(task, run)


@runs_app.command("compare")
def compare_runs(
    task: TaskPath,
    first: Annotated[str, typer.Argument(help="A run.")],
    second: Annotated[str, typer.Argument(help="Another run.")],
) -> None:
    """Compare two runs method by method, paired on the test rows they share."""
    from etude.cli.history import print_two

    print_two(task, first, second)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. Errors in the user's input are printed without a traceback."""
    _settle_streams()
    try:
        app(list(sys.argv[1:] if arguments is None else arguments), prog_name="etude")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except EtudeError as error:
        typer.echo(_message(error), err=True)
        return error.exit_code
    except OSError as error:  # a full or read-only disk, a closed pipe: no bug of ours
        typer.echo(f"etude: {_disk_error(error)}", err=True)
        return 2
    return 0


_REMEDIES = {
    errno.ENOSPC: "Free disk space, and run it again",
    errno.EDQUOT: "Free disk space, and run it again",
    errno.EACCES: "Get permission to write there, or choose another path",
    errno.EPERM: "Get permission to write there, or choose another path",
    errno.EROFS: "Choose another path",
    errno.ENOENT: "Choose a folder in which files can be created",
    errno.ENOTDIR: "Choose a folder in which files can be created",
    errno.EISDIR: "There is a folder of that name: move it, or name a file in it",
}
"""Number of an error of the operating system -> what to do."""


def _disk_error(error: OSError) -> str:
    """The error with the path of the file, or of its .part file if that is in the way."""
    name = str(error.filename2 or error.filename or "")
    where = f" ({name if Path(name).exists() else name.removesuffix('.part')})" if name else ""
    remedy = _REMEDIES.get(error.errno or 0, "Free disk space or get permission, and run it again")
    return f"{error.strerror or error}{where}. {remedy}."


def _settle_streams() -> None:
    """Replace characters that a terminal cannot encode by question marks."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def entry() -> None:
    """The console script. An unexpected exception is a bug of ours: a traceback and exit code 3."""
    try:
        sys.exit(main())
    except Exception:  # noqa: BLE001 - the outermost frame: only the exit code is added
        traceback.print_exc()
        typer.echo("This is a bug in Étude. Please report it with the lines above.", err=True)
        sys.exit(3)


def _message(error: EtudeError) -> str:
    lines, notes = str(error).splitlines(), getattr(error, "__notes__", [])
    if len(lines) == 1:
        return "\n".join([f"etude: {lines[0]}", *notes])
    count = error.count if isinstance(error, InputError) else len(lines)
    return "\n".join([f"etude: {count:,} errors:", *(f"  {line}" for line in lines), *notes])
