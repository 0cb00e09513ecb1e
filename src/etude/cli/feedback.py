"""`etude feedback`: what people said about answers, as a list, as new rows and as files for other tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from etude.base.files import write_lines
from etude.base.wording import command, count, first_of
from etude.cli.printing import print_bullets, screen, shortest
from etude.errors import quote_value
from etude.feedback import FILE, Feedback, FeedbackLog
from etude.feedback.apply import ADDED, EXCLUDED, REPLACED, Applied, apply, read_task_feedback
from etude.feedback.export import exported
from etude.feedback.gather import Gathered
from etude.task import load_task

EXCERPT = 28
"""Characters of a text in the list."""


def print_feedback(task_file: Path) -> None:
    """Print every entry on a line, then what comes of them all."""
    console = screen()
    task = load_task(task_file, needs_model=False)
    entries = FeedbackLog(task.folder / FILE).entries
    if not entries:
        console.print(Text(f"No feedback yet. Run: {command('studio', task_file)}"), soft_wrap=True)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("when", "who", "said", "input", "answer"):
        table.add_column(heading)
    for entry in entries:
        texts = (quote_value(text, EXCERPT) for text in (entry.input[-1].content, entry.answer))
        table.add_row(entry.at[:16].replace("T", " "), *map(Text, (entry.who, said(entry), *texts)))
    console.print(table)
    gathered = read_task_feedback(task)[0]
    console.print(Text(_sums(gathered)))
    print_bullets(console, _findings(gathered))


def said(entry: Feedback) -> str:
    """What the person said, in a few words."""
    return f"{entry.said}: {quote_value(entry.reason, EXCERPT)}" if entry.reason else entry.said


def run_apply(task_file: Path, update: bool) -> None:
    """Write the new file of examples and print what is in it and how to use it."""
    for line in applied_in_words(apply(task_file, update), task_file, update):
        typer.echo(line)


def applied_in_words(done: Applied, task_file: Path, updated: bool) -> Iterator[str]:
    """What was written, what was left out and why, and the line that uses the new file."""
    files = done.files
    if len(done.changes):
        yield (
            f"Wrote {files.fixed.name}: {count(done.count(ADDED), 'row')} added, "
            f"{count(done.count(REPLACED), 'row')} of {files.source.name} corrected, {done.count(EXCLUDED):,} left out."
        )
        yield f"Every change, with the row before and after and who made it, is in {files.log.name}."
    else:
        yield "Nothing was written: there is no right answer that the examples lack."
    if done.known:
        yield f"In {files.source.name} already: {count(done.known, 'right answer')}."
    if done.unwritten:
        asked = first_of([quote_value(each.input[-1].content, EXCERPT) for each in done.unwritten], 5)
        yield f"{files.source.name} cannot hold {count(len(done.unwritten), 'chat')} of several turns: {asked}."
    yield from _findings(done.gathered)
    if len(done.changes) and updated:
        yield f"The task file now names {files.fixed.name}. Next: {command('compare', task_file)}"
    elif len(done.changes):
        yield "The task file is unchanged. To use the new rows, add --update, or write in it:"
        yield f"  {done.line}"


def run_export(task_file: Path, shape: str, output: Path | None) -> None:
    """Write rows of one shape to a file, or to stdout."""
    gathered = read_task_feedback(load_task(task_file, needs_model=False))[0]
    rows = list(exported(gathered, shape))
    for line in _findings(gathered):
        typer.echo(line, err=True)
    if output is None:
        for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        return
    write_lines(output, rows)
    typer.echo(f"Wrote {count(len(rows), 'row')} to {shortest(output)}.", err=True)


def _sums(gathered: Gathered) -> str:
    parts = (
        count(len(gathered.answers), "right answer"),
        count(len(gathered.preferences), "preference"),
        count(len(gathered.judgements), "answer judged good or bad", "answers judged good or bad"),
    )
    return f"In all: {', '.join(parts)}."


def _findings(gathered: Gathered) -> Iterator[str]:
    for finding in gathered.findings:
        who = first_of(list(dict.fromkeys(finding.locations)), 5)
        yield f"{finding.severity}: {finding.message} {finding.remedy}. ({who})"
