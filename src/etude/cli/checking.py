"""`etude check`: print or write findings, fix rows with --fix, and take fixes back with --undo."""

import re
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from etude import repair
from etude.base.files import write_text
from etude.base.formatting import format_count
from etude.base.issues import check_known
from etude.checks import Findings, check_material
from etude.checks.kinds import FIXABLE_KINDS
from etude.checks.material import Material
from etude.checks.output import html_page, terminal
from etude.checks.registry import load_material, validate_gates
from etude.checks.safety import personal, sensitive
from etude.cli import options, printing
from etude.cli.preparing import open_task
from etude.cluster import open_workers
from etude.data.dataset import Dataset
from etude.errors import InputError, Issue, quote_value
from etude.repair.fix_file import FixResult, format_source_line
from etude.suites.gates import check_gates
from etude.task import Task, load_task

FORMATS: Mapping[str, Callable[[Findings], str]] = {
    "text": lambda findings: terminal.to_text(
        findings, min(printing.create_console().width, terminal.WIDTH)
    ),
    "json": terminal.to_json,
    "html": html_page.to_html,
}
BY_SUFFIX = {".txt": "text", ".html": "html", ".htm": "html", ".json": "json"}
_OPEN_FILE = re.compile(r"/dev/(?:stdout|stderr|fd/\d+)|/proc/(?:self|\d+)/fd/\d+")


def check(
    task: options.TaskOrRowsPath,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on", help="Exit with 1 on findings of this kind or severity; may be repeated."
        ),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format", help="text, html or json. Default: the suffix of --output, or text."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write, such as check.html.")
    ] = None,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Write a new file of examples with the clear errors fixed."),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="With --fix: fix only findings of this kind, such as privacy_*; may be repeated.",
        ),
    ] = None,
    undo: Annotated[
        list[str] | None,
        typer.Option(
            "--undo", help="Undo a fix: a row as FILE:LINE or id, or all; may be repeated."
        ),
    ] = None,
    on: options.On = None,
) -> None:
    """Check the examples for errors before training on them."""
    _check_flags(
        fix, undo, only, {"--fail-on": fail_on, "--format": format_name, "--output": output}
    )
    task = open_task(task, Console(stderr=True, highlight=False))
    try:
        if undo:
            loaded = load_task(task, needs_model=False)
            _print_lines(describe_fix(loaded, repair.undo(loaded, undo), task))
        elif fix:
            fix_examples(task, only or [])
        elif report_findings(task, fail_on or [], format_name, output, on):
            raise typer.Exit(1)
    except KeyboardInterrupt as stop:
        typer.echo("Stopped. No file is incomplete; run the command again.", err=True)
        raise typer.Exit(130) from stop


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


def _check_flags(
    fix: bool,
    undo: Sequence[str] | None,
    only: Sequence[str] | None,
    check_flags: dict[str, object],
) -> None:
    """Raise InputError for flags that would be ignored; `check_flags` need a check."""
    issues = []
    if fix and undo:
        issues.append(
            Issue("--undo", "cannot be combined with --fix", "", "run one after the other")
        )
    if only and not fix:
        issues.append(Issue("--only", "works only with --fix", "", "add --fix"))
    if fix or undo:
        message = f"cannot be combined with {'--fix' if fix else '--undo'}, which does not check"
        remedy = "run etude check separately"
        issues += [Issue(flag, message, "", remedy) for flag, value in check_flags.items() if value]
    if issues:
        raise InputError(issues)


def report_findings(
    task_file: Path,
    fail_on: Sequence[str],
    format_name: str | None = None,
    output: Path | None = None,
    on: str | None = None,
) -> bool:
    """Print or write the findings. Return whether a gate in `fail_on` failed."""
    check_known("--format", [format_name] if format_name else [], FORMATS, "unknown format")
    validate_gates(fail_on)
    task = load_task(task_file, needs_model=False)
    check_gates(task)
    check_output(task, output)
    format_name = format_name or _choose_format(output)
    # Progress goes to stderr, so that stdout is the report.
    with printing.show_steps("Reading") as steps, open_workers(on or task.where) as workers:
        findings = check_material(load_material(task, workers=workers), on_start=steps.begin)
    text = FORMATS[format_name](findings)
    if output:
        write_output(output, text)
        typer.echo(
            f"Wrote {output}: {format_count(len(findings), 'finding')}.", err=is_stream(output)
        )
    else:
        typer.echo(text, nl=False)
    return bool(findings.select_failing(fail_on))


def _choose_format(output: Path | None) -> str:
    """Choose the format by the file's suffix; text without one. Raises InputError for an unknown
    suffix.
    """
    if output is None or not output.suffix:
        return "text"
    format_name = BY_SUFFIX.get(output.suffix.lower())
    if format_name is None:
        remedy = f"end the name in {', '.join(BY_SUFFIX)}, or set --format"
        raise InputError.of("--output", "unknown format", quote_value(output.name), remedy)
    return format_name


def check_output(task: Task, output: Path | None) -> None:
    """Raise InputError if a report would overwrite a file of the task, or if the path is a
    folder.
    """
    if output is None or not output.exists():
        return
    value = quote_value(str(output))
    if output.is_dir():
        remedy = "give a file in it, such as check.html"
        raise InputError.of("--output", "a folder, not a file", value, remedy)
    sources = (task.examples, task.test, task.check, task.tools)
    task_files = [task.file, *(source.file for source in sources if source)]
    if output.resolve() in {path.resolve() for path in task_files if path}:
        message = "the report would overwrite a file of the task"
        remedy = "choose another file, such as check.html"
        raise InputError.of("--output", message, value, remedy)


def is_stream(output: Path) -> bool:
    """Whether the path is a device, a pipe or an open file, which is written to and not
    replaced.
    """
    if not output.exists():
        return False
    return bool(_OPEN_FILE.fullmatch(str(output.absolute()))) or not stat.S_ISREG(
        output.stat().st_mode
    )


def write_output(output: Path, text: str) -> None:
    """Write a report, through symbolic links. Raises OSError."""
    if is_stream(output):
        with output.open("ab") as stream:
            stream.write(text.encode())
    else:
        write_text(output.resolve(), text)


def fix_examples(task_file: Path, only: Sequence[str]) -> None:
    """Write the fixed examples beside the old ones and print what was done."""
    task = load_task(task_file, needs_model=False)
    # A pattern such as `privacy_*` means several kinds; an unknown kind is reported by `fix`.
    kinds = [
        kind
        for pattern in only
        for kind in [kind for kind in FIXABLE_KINDS if fnmatchcase(kind, pattern)] or [pattern]
    ]
    result = repair.fix(task, kinds)
    _print_lines(describe_fix(task, result, task_file))
    material = load_material(task, result.survey)
    if not kinds or any(kind.startswith("privacy_") for kind in kinds):
        typer.echo(_describe_unmasked(material))
    for finding in personal.check_instructions(material):
        locations = ", ".join(finding.locations)
        typer.echo(f"Not changed: {finding.message} {finding.remedy} Found in {locations}.")


def _describe_unmasked(material: Material) -> str:
    """Describe possible personal data that uncertain rules leave unmasked. Many rows are sampled
    evenly.
    """
    # Above a limit, every n-th row, as in a check.
    total = len(material.rows)
    sampled = range(0, total, sensitive.choose_review_step(total))
    sample = ""
    if len(sampled) < total:
        material = replace(material, rows=Dataset(tuple(material.rows[row] for row in sampled)))
        sample = f" of {len(sampled):,} sampled rows"
    counts = []
    for finding in personal.check_review(material):
        name = personal.KIND_NAMES[finding.kind.removeprefix("review_")]
        counts.append(f"{name} in {format_count(int(finding.numbers['rows']), 'row')}")
    result = "The rules found nothing here, but they can miss some."
    if counts:
        result = f"The rows may contain {', '.join(counts)}{sample}; etude check shows where."
    return f"Not masked: names, postal addresses, birth dates and health details. {result}"


def describe_fix(task: Task, result: FixResult, task_file: Path) -> Iterator[str]:
    """Yield what a fix did, the files that it wrote, and the line of the task file that uses
    them.
    """
    files = result.files
    log = result.log
    source = files.source.name
    if result.unwritten:
        rows = format_count(len(result.unwritten), "row")
        locations = ", ".join(result.unwritten)
        yield (
            f"{rows} must be fixed by hand, because the format of {source} cannot store the "
            f"change: {locations}."
        )
    if not result.has_written:
        yield f"{source} has no error that can be fixed automatically, so no file was written."
        return
    num_active = len(log.changes) - len(log.undone)
    num_left_out = sum(change.after is None for change in log.active)
    undone = f"; {format_count(len(log.undone), 'change')} undone" if log.undone else ""
    changed = format_count(num_active - num_left_out, "row")
    yield (
        f"Wrote {files.fixed_file.name}: {changed} of {source} changed, {num_left_out:,} left "
        f"out{undone}."
    )
    for kind, number in result.counts.items():
        yield f"  {kind}: {format_count(number, 'row')}"
    for kind, number in result.restored.items():
        rows = format_count(number, "row")
        yield (
            f"  {kind}: {rows} restored to the state before the last fix, because --only leaves "
            "this kind out"
        )
    yield f"Every change, with the row before and after, is in {files.log.name}."
    if not num_active:
        yield (
            f"All changes are undone: {files.fixed_file.name} equals {source}. Delete it, its log "
            "and its key file if you no longer need them; as long as the log exists, --fix skips "
            "these rows."
        )
        return
    location = shlex.quote(f"{source}:{next(log.active).line}")
    yield f"To undo one: etude check {shlex.quote(str(task_file))} --undo {location}"
    if files.key.exists():
        yield (
            f"The map from surrogate to original is in {files.key.name}. Do not share it or the "
            "log with the rows."
        )
    yield f"{task.file.name} is unchanged. To use the new rows, write in it:"
    yield f"  {format_source_line(task, files.fixed_file)}"
