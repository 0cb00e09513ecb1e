"""`etude test` and `etude card`: progress while both models answer, then suites, gates and the path
of the report; `etude watch` and `etude play`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from etude import plays
from etude.base.formatting import format_command, format_count, format_interval, format_percent
from etude.base.typed_json import to_json
from etude.cli import history, options, printing
from etude.errors import InputError
from etude.report.phrasing import PLAYS_HEADER, list_play_problems, list_play_rows
from etude.runs import find_run
from etude.runs.recommended import find_run_at
from etude.studio.review_queue import ReviewItem
from etude.suites import results, starter
from etude.suites.card import write_card
from etude.suites.output.summary import format_difference, format_headline, group_measures
from etude.suites.run import run_suites
from etude.suites.teach import TeachingResult, write_proposals
from etude.task import load_task


def ask_suites(
    place: Annotated[
        Path,
        typer.Argument(help="A task file or its folder, a run's folder, or an assistant's folder."),
    ],
    method: options.MethodName = None,
    run: options.RunName = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            "--suite", "-s", help="Ask only this suite, such as sensitive; may be repeated."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Ask only a few questions, for a first impression.")
    ] = False,
    teach: Annotated[
        bool,
        typer.Option(
            "--teach",
            help="Also propose training rows for failed questions; a person must approve them.",
        ),
    ] = False,
    init: Annotated[
        bool,
        typer.Option("--init", help="Write a suite file with comments for the task, and exit."),
    ] = False,
    yes: options.Yes = False,
) -> None:
    """Ask an assistant normal, unusual, tricky and sensitive questions, and compare it with its
    base.
    """
    if init:
        file = starter.write_suite_file(place)
        print(
            f"Wrote {printing.shorten_path(file)}. Write your own questions into it, add this "
            "line to the task file,"
        )
        print(f"  suite: {file.name}\nand run: {format_command('test', place)}")
        return
    screen = printing.create_console()
    console = printing.RunConsole(screen, yes=yes)
    with (
        console.exit_on_interrupt(f"\n{printing.STOPPED}"),
        printing.show_steps("Preparing") as steps,
    ):
        report = run_suites(
            place,
            run=run,
            method=method,
            suites=suite or [],
            quick=quick,
            on_progress=lambda name, num_done, total, _: steps.show(name, num_done, total),
            confirm=lambda question: steps.ask(console, question),
        )
    print_report(screen, report)
    if teach:
        print_proposals(write_proposals(report))
    # Without gates every report passes.
    if not report.passed:
        raise typer.Exit(1)


def play(
    place: options.AssistantPath,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", "-m", help="Play only this method; may be repeated. Default: all."
        ),
    ] = None,
    yes: options.Yes = False,
) -> None:
    """Play the test conversations with the measured assistants: each reads its own earlier answers,
    and its calls of the class under tools: are run.
    """
    console = printing.RunConsole(screen := printing.create_console(), yes=yes)
    with (
        console.exit_on_interrupt(f"\n{printing.STOPPED}"),
        printing.show_steps("Preparing") as steps,
    ):
        report = plays.play(
            find_run_at(place, prefer_complete=True),
            method or [],
            on_progress=lambda name, num_done, total: steps.show(name, num_done, total),
            confirm=lambda question: steps.ask(console, question),
        )
    table = printing.create_table(*PLAYS_HEADER, right=PLAYS_HEADER[1:])
    for row in list_play_rows(report.results):
        table.add_row(*row)
    screen.print(table)
    printing.print_bullets(screen, [*report.notes, *list_play_problems(report.results)])
    printing.print_line(screen, f"Transcripts: {printing.shorten_path(report.folder)}")


def card(
    task: options.TaskPath, method: options.MethodName = None, run: options.RunName = None
) -> None:
    """Write a model card of an assistant from its measurements."""
    file = write_card(find_run(history.require_task(task), run), method)
    print(
        f"Wrote {printing.shorten_path(file)}. Read it, add a licence, and correct it where you "
        "know better."
    )


def watch(
    task: options.TaskPath,
    record: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of etude serve --record, or a file of requests. Default: record."
        ),
    ] = None,
    method: options.MethodName = None,
    run: options.RunName = None,
    false_alarms: Annotated[
        float,
        typer.Option(
            "--false-alarms",
            min=1e-6,
            max=0.5,
            help="Chance of any alarm ever, if nothing changes.",
        ),
    ] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON.")] = False,
    pick: Annotated[
        int | None,
        typer.Option(
            "--pick",
            min=1,
            metavar="NUMBER",
            help="Queue the questions most worth an answer in the studio.",
        ),
    ] = None,
    is_random: Annotated[
        bool,
        typer.Option(
            "--random", help="With --pick: draw all at random, to bound the share of wrong answers."
        ),
    ] = False,
    forget: Annotated[
        str | None,
        typer.Option(
            "--forget", metavar="ID", help="Delete a request by its id, or all of a client's user."
        ),
    ] = None,
) -> None:
    """Report from recorded requests whether people ask what the rows ask, and how many answers may
    be wrong.

    Exit with 1 on an alarm.
    """
    from etude.studio.picking import pick_questions
    from etude.watch import watching

    if is_random and not pick:
        raise InputError.of("--random", "only chooses what --pick queues", remedy="add --pick 20")
    if forget is not None:
        forget_requests(task, record, forget)
        return
    if pick:
        with printing.show_steps("Reading") as steps:
            picked = pick_questions(
                task, record, pick, is_random=is_random, run=run, method=method, on_step=steps.begin
            )
        print_picked(*picked, task)
        return
    with printing.show_steps("Reading") as steps:
        report = watching.watch(
            task, record, run=run, method=method, false_alarms=false_alarms, on_step=steps.begin
        )
    file = watching.write_page(report)
    if as_json:
        print(json.dumps(to_json(report), indent=1))
    else:
        console = printing.create_console()
        console.print(Text(f"{watching.format_headline(report)}.", "bold"))
        new = [
            f"{group.size:,} x {group.typical[0]!r}"
            for group in report.groups[:5]
            if group.size > 1
        ]
        wrong = [text for text in watching.format_wrong(report.wrong) if text]
        if report.right:
            wrong.append(
                f"{format_percent(report.right.value)} of {report.right.n:,} judged answers right"
            )
        printing.print_bullets(console, [*new, *wrong, report.needed, *report.notes])
        printing.print_line(console, f"Report: {printing.shorten_path(file)}")
        if report.far:
            printing.print_line(
                console, "Queue the questions to answer next: the same command with --pick 20"
            )
    if report.far:
        raise typer.Exit(1)


def print_picked(items: Sequence[ReviewItem], notes: Sequence[str], task: Path) -> None:
    """Print the questions that were queued in the studio."""
    console = printing.create_console()
    printing.print_bullets(
        console, [*(f"{item.input[-1].content!r}: {item.answer!r}" for item in items), *notes]
    )
    if items:
        count = format_count(len(items), "question")
        command = format_command("studio", task)
        printing.print_line(console, f"Queued {count}. Answer them with: {command}")


def forget_requests(task: Path, record: Path | None, name: str) -> None:
    """Delete requests from a record, and the picked questions without feedback from the studio."""
    from etude.studio.picking import queue_picked
    from etude.watch.record import forget
    from etude.watch.watching import RECORD

    task_folder = load_task(history.require_task(task), needs_model=False).folder
    folder = record or task_folder / RECORD
    if not folder.is_dir():
        raise InputError.of(
            str(folder), "not a folder of etude serve --record", "", "give its path"
        )
    number = forget(folder, name)
    queue_picked(task_folder, ())
    print(f"Deleted {format_count(number, 'request')} of {printing.shorten_path(folder)}.")


def print_report(console: Console, report: results.SuiteReport) -> None:
    """Print the outcome, the suites and measures, the gates, and the report's path."""
    console.print()
    console.print(Text(f"{format_headline(report)}.", "bold"))
    name = report.subject.name
    table = printing.create_table(
        "", "base", name, "95% interval", "difference", "cases", right=("base", name, "cases")
    )
    # Suites of questions first, then measures over all answers.
    groups = group_measures(report)
    for row in (*groups["suites"], *groups["common"]):
        direction = "" if row.more_is_better else " (lower is better)"
        base = format_percent(row.base.value) if row.base else ""
        cells = (
            format_percent(row.assistant.value),
            format_interval(row.assistant),
            format_difference(row),
            f"{row.cases:,}",
        )
        table.add_row(f"{row.name}{direction}", base, *cells)
    console.print(table)
    for gate in report.gates:
        console.print(Text(f"{gate.outcome}: {gate.gate.text}: {gate.detail}"))
    printing.print_bullets(console, report.notes)
    printing.print_line(console, f"Report: {printing.shorten_path(report.page)}")


def print_proposals(result: TeachingResult) -> None:
    """Print how many rows were proposed, and how to continue."""
    proposed = format_count(result.num_proposed, "row")
    print(f"\n{result.file.name}: {proposed} proposed, {result.num_approved:,} approved.")
    if result.num_broken:
        broken = format_count(result.num_broken, "answer")
        print(
            f"{broken} would break the contract: write other answers, or relax contract: in the "
            "task file."
        )
    if result.examples is None:
        print(
            'Read them, correct the answers, set "approved": true, and run the same command again.'
        )
    else:
        print(
            f"Wrote {printing.shorten_path(result.examples)}. To train on it, write in the task "
            "file:"
        )
        print(f"  examples: {result.examples.name}")
