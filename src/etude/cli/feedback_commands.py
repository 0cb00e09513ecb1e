"""`etude feedback`: list feedback, turn it into rows, and export it for other tools."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from etude.base.files import write_lines
from etude.base.formatting import format_command, format_count, list_first
from etude.cli import options, printing
from etude.errors import quote_value
from etude.feedback import FILE, FeedbackLog, apply, gather
from etude.task import load_task

# Characters of a text in the list
EXCERPT = 28


app = typer.Typer(
    help="List people's feedback on answers, and turn it into rows.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command("list")
def list_feedback(task: options.TaskPath) -> None:
    """List people's feedback, and the right answers and preferences that follow from it."""
    screen = printing.create_console()
    loaded = load_task(task, needs_model=False)
    entries = FeedbackLog(loaded.folder / FILE).entries
    if not entries:
        printing.print_line(screen, f"No feedback yet. Run: {format_command('studio', task)}")
        return
    table = printing.create_table("when", "who", "said", "input", "answer")
    for entry in entries:
        texts = (quote_value(text, EXCERPT) for text in (entry.input[-1].content, entry.answer))
        opinion = (
            f"{entry.summary}: {quote_value(entry.reason, EXCERPT)}"
            if entry.reason
            else entry.summary
        )
        table.add_row(
            entry.created[:16].replace("T", " "), *map(Text, (entry.reviewer, opinion, *texts))
        )
    screen.print(table)
    gathered = apply.read_task_feedback(loaded)[0]
    totals = (
        format_count(len(gathered.answers), "right answer"),
        format_count(len(gathered.preferences), "preference"),
        format_count(len(gathered.judgements), "good or bad answer"),
    )
    screen.print(
        Text(f"From {format_count(len(entries), 'entry', 'entries')}: {', '.join(totals)}.")
    )
    printing.print_bullets(screen, _format_findings(gathered))


@app.command("apply")
def write_rows(
    task: options.TaskPath,
    update: Annotated[
        bool, typer.Option("--update", help="Also set the new file in the task file.")
    ] = False,
) -> None:
    """Write a new file of examples with the right answers that people gave."""
    for line in describe_applied(apply.apply_feedback(task, update), task, update):
        typer.echo(line)


def describe_applied(
    applied: apply.AppliedFeedback, task_file: Path, updated: bool
) -> Iterator[str]:
    """Yield what was written, what was left out and why, and the line of the task file for the new
    file.
    """
    files = applied.files
    source = applied.files.source.name
    if len(applied.changes):
        added = format_count(applied.count(apply.ADDED), "row")
        corrected = format_count(applied.count(apply.REPLACED), "row")
        left_out = f"{applied.count(apply.EXCLUDED):,} left out"
        yield (
            f"Wrote {files.fixed_file.name}: {added} added, {corrected} of {source} corrected, "
            f"{left_out}."
        )
        log = files.log.name
        yield f"Every change, with the row before and after and who made it, is in {log}."
    else:
        yield "No file was written, because the examples already contain every right answer."
    if applied.num_known:
        yield f"Already in {source}: {format_count(applied.num_known, 'right answer')}."
    if applied.unwritable:
        questions = list_first(
            [quote_value(row.input[-1].content, EXCERPT) for row in applied.unwritable], 5
        )
        chats = format_count(len(applied.unwritable), "chat")
        yield f"The format of {source} cannot store {chats} with several turns: {questions}."
    yield from _format_findings(applied.gathered)
    if len(applied.changes) and updated:
        next_step = format_command("compare", task_file)
        yield f"The task file now uses {files.fixed_file.name}. Next: {next_step}"
    elif len(applied.changes):
        yield "The task file is unchanged. To use the new rows, add --update, or write in it:"
        yield f"  {applied.task_line}"


@app.command("export")
def export(
    task: options.TaskPath,
    shape: Annotated[
        str, typer.Option("--as", help="preferences (as TRL and Étude read them), openai or kto.")
    ] = "preferences",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: stdout.")
    ] = None,
) -> None:
    """Write feedback as JSON lines, for other tools."""
    gathered = apply.read_task_feedback(load_task(task, needs_model=False))[0]
    rows = list(gather.export_rows(gathered, shape))
    for line in _format_findings(gathered):
        typer.echo(line, err=True)
    if output is None:
        for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        return
    write_lines(output, rows)
    typer.echo(
        f"Wrote {format_count(len(rows), 'row')} to {printing.shorten_path(output)}.", err=True
    )


def _format_findings(gathered: gather.GatheredFeedback) -> Iterator[str]:
    for finding in gathered.findings:
        locations = list_first(list(dict.fromkeys(finding.locations)), 5)
        yield f"{finding.severity}: {finding.message} {finding.remedy}. ({locations})"
