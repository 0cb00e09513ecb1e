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
from typing import Annotated, Literal

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
feedback_app = typer.Typer(
    help="What people said about answers: list it, make rows of it.", no_args_is_help=True
)
app.add_typer(feedback_app, name="feedback")

TaskPath = Annotated[Path, typer.Argument(help="A task file, or a folder with a task.yaml.")]
MethodName = Annotated[
    str | None, typer.Option("--method", "-m", help="Which assistant. Default: the recommended one.")
]
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
    examples: Annotated[Path, typer.Argument(help="A .jsonl, .json, .csv or .tsv file of examples.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="<path>",
            help="File to write to, or folder/ (made if absent). Default: task.yaml beside the examples.",
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option("--test", help="A file of rows for the test alone; else some are split off."),
    ] = None,
) -> None:
    """Look at a file of examples and write a task file that explains itself."""
    from etude.base.wording import command
    from etude.data.starter import start

    result = start(examples, output, test)
    typer.echo(f"Read {examples}:")
    for guess in result.guesses:
        typer.echo(f"  {guess}")
    typer.echo(f"\nWrote {result.task_file}. Read it, correct wrong guesses, then run:")
    verbs = {
        "check": "what is wrong with the rows",
        "compare": "which method is enough: a prompt, examples, fine-tuning",
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
        typer.Option("--format", help="text, html, json or sarif. Default: by the file's name, else text."),
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
    worklist: Annotated[
        Path | None,
        typer.Option(
            "--worklist",
            help="CSV to write the labels to that look wrong; with --fix: to take corrected labels from.",
        ),
    ] = None,
    undo: Annotated[
        list[str] | None,
        typer.Option("--undo", help="Undo a fix: a row as FILE:LINE or id, or all; may be repeated."),
    ] = None,
) -> None:
    """Look for errors in the examples before training on them."""
    from etude.cli.findings import check_together, run_check, run_fix, run_undo

    of_the_check = {"--fail-on": bool(fail_on), "--format": bool(form), "--output": bool(output)}
    if undo:
        of_the_check["--worklist"] = bool(worklist)
    check_together(fix=fix, undo=bool(undo), only=bool(only), of_the_check=of_the_check)
    try:
        if undo:
            run_undo(task, undo)
        elif fix:
            run_fix(task, only or [], worklist)
        else:
            raise typer.Exit(run_check(task, fail_on or [], form, output, worklist))
    except KeyboardInterrupt as stopped:
        typer.echo("Stopped. No file was half written; run it again.", err=True)
        raise typer.Exit(130) from stopped


@app.command("convert")
def convert_rows(
    file: Annotated[Path, typer.Argument(help="A file of rows, or a folder that `datasets` has saved.")],
    to: Annotated[str, typer.Option("--to", help="openai, sharegpt, alpaca, trl, kto or parquet.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write to. Default: beside FILE, by the shape."),
    ] = None,
) -> None:
    """Write examples or preferences in the shape of another tool."""
    from etude.data.formats.write import convert

    number, notes, written = convert(file, to, output)
    for note in notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"Wrote {number:,} rows as {to} to {written}.")


@app.command("index")
def index_documents(task: TaskPath) -> None:
    """Fetch, read and embed the task's documents; what has not changed is kept from before."""
    from etude.cli.predicting import run_index

    raise typer.Exit(run_index(task))


@app.command()
def compare(
    task: TaskPath,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every question.")] = False,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Time limit, such as 15m or none; overrides the task's.")
    ] = None,
    evidence: Annotated[
        Literal["one_run", "full"] | None,
        typer.Option("--evidence", help="full adds a learning curve and further training runs."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start again from scratch instead of resuming.")
    ] = False,
    gate: Annotated[bool, typer.Option("--gate", help="Exit with 1 when the target is missed.")] = False,
    agree: Annotated[int, typer.Option("--agree", hidden=True)] = 0,
    verbose: Verbose = False,
) -> None:
    """Compare methods on one sealed test and say which is enough."""
    from etude.cli.compare_board import run_compare

    raise typer.Exit(
        run_compare(
            task,
            yes=yes,
            agreed=agree,
            budget=budget,
            evidence=evidence,
            fresh=fresh,
            gate=gate,
            verbose=verbose,
        )
    )


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
    method: MethodName = None,
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
    method: MethodName = None,
    run: RunName = None,
) -> None:
    """Write a model card of an assistant, from what was measured."""
    from etude.cli.testing import print_card

    print_card(task, run, method)


@app.command()
def chat(
    task: TaskPath,
    method: MethodName = None,
    run: RunName = None,
) -> None:
    """Talk to an assistant of a run. An empty line or Ctrl-D ends."""
    from etude.cli.talk import talk

    talk(task, run, method)


@app.command()
def predict(
    place: Annotated[
        Path, typer.Argument(help="A task file, a run, or a saved assistant.", metavar="TASK|RUN")
    ],
    file: Annotated[Path, typer.Argument(help="A .jsonl, .csv or .tsv file of inputs.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write: .jsonl, .csv or .tsv. All columns are kept."),
    ],
    method: MethodName = None,
    input: Annotated[
        list[str] | None,
        typer.Option("--input", help="Column to ask with; may be repeated. Default: by its name."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every question.")] = False,
) -> None:
    """Answer a file of inputs. After Ctrl-C or a kill the same command continues."""
    from etude.cli.predicting import run_predict

    raise typer.Exit(run_predict(place, file, output, method, input or [], yes))


@app.command()
def serve(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            help="Task files, runs or saved assistants; NAME=PLACE gives one a name.", metavar="PLACE..."
        ),
    ] = None,
    method: MethodName = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="What computes: local (as measured), llama_cpp (GGUF weights), URL#MODEL, or auto: llama_cpp where it "
            "takes the assistant and there is no GPU.",
        ),
    ] = "auto",
    host: Annotated[
        str, typer.Option("--host", help="Another than the loopback needs --keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 takes a free one.")] = 8000,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse system messages: they change the prompt that was measured."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Answer 200 test rows with the engine, say what it changes and stop."),
    ] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit", metavar="NAME=NUMBER", help="Such as waiting=200 or seconds=30; may be repeated."
        ),
    ] = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="File of the keys that are needed.")] = None,
    new_key: Annotated[
        str | None,
        typer.Option("--new-key", metavar="NAME", help="Add a key to the file, print it and stop."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="Of a new key: chat, feedback or admin; may be repeated."),
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option("--origin", help="Origin whose pages may ask (CORS); may be repeated.")
    ] = None,
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Log questions and answers too, as JSON lines on stderr.")
    ] = False,
) -> None:
    """Serve assistants to clients of OpenAI's API."""
    from etude.cli.serving import run_check, run_serve

    if check:
        raise typer.Exit(run_check(places or [], method, engine))
    run_serve(
        places or [],
        method,
        engine,
        (host, port),
        strict,
        limit or [],
        keys,
        new_key,
        scope or ["chat"],
        origin or [],
        log_prompts,
    )


@app.command()
def export(
    place: Annotated[
        Path, typer.Argument(help="A task file, a run, or a saved assistant.", metavar="TASK|RUN")
    ],
    to: Annotated[str, typer.Option("--to", help="adapter, merged, gguf, lora (GGUF), ollama or vllm.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File or folder to write.")],
    method: MethodName = None,
    kind: Annotated[str, typer.Option("--kind", help="Type of GGUF weights: f16, q8_0 or q4_1.")] = "q8_0",
    rows: Annotated[
        int | None, typer.Option("--rows", min=2, help="Test rows to answer. Default: all.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Answer test rows with what was written.")
    ] = True,
) -> None:
    """Write an assistant for another program, and measure what it loses there. Exit with 1 if that is too much."""
    from etude.cli.exporting import run_export

    raise typer.Exit(run_export(place, to, output, method, kind, rows, test))


@app.command()
def studio(
    task: TaskPath,
    requests: Annotated[
        Path | None,
        typer.Option("--requests", help="A file of new requests, or logged chats, to be answered."),
    ] = None,
    input: Annotated[
        list[str] | None, typer.Option("--input", help="A column of the requests that asks; may be repeated.")
    ] = None,
    method: MethodName = None,
    run: RunName = None,
    who: Annotated[str | None, typer.Option("--who", help="Your name, kept with what you say.")] = None,
    host: Annotated[
        str, typer.Option("--host", help="Name or address by which other machines open it.")
    ] = "127.0.0.1",
    invite: Annotated[
        list[str] | None,
        typer.Option(
            "--invite", help="NAME:ROLE, reader, reviewer or owner: a link for a person; may be repeated."
        ),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8765,
) -> None:
    """Open pages on which people read, accept and correct answers. Ctrl-C ends."""
    from etude.cli.serving import run_studio

    run_studio(task, requests, input or [], run, method, who, (host, port), invite or [])


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
    """Compare two runs, paired on the test rows they share, and write a page."""
    from etude.cli.history import print_two

    print_two(task, first, second)


@feedback_app.command("list")
def list_feedback(task: TaskPath) -> None:
    """List what people said, and what comes of it."""
    from etude.cli.feedback import print_feedback

    print_feedback(task)


@feedback_app.command("apply")
def apply_feedback(
    task: TaskPath,
    update: Annotated[
        bool, typer.Option("--update", help="Also name the new file in the task file.")
    ] = False,
) -> None:
    """Write a new file of examples with the right answers that people gave."""
    from etude.cli.feedback import run_apply

    run_apply(task, update)


@feedback_app.command("export")
def export_feedback(
    task: TaskPath,
    shape: Annotated[
        str, typer.Option("--as", help="examples, preferences, openai (preference pairs) or kto.")
    ] = "preferences",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: stdout.")
    ] = None,
) -> None:
    """Write what people said as JSON lines, for other tools."""
    from etude.cli.feedback import run_export

    run_export(task, shape, output)


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
