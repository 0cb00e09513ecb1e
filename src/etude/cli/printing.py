"""Terminal output that commands share: the result of a run, its notes, questions and progress."""

import os
import re
import select
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any, TextIO, cast

import click
import typer
from rich.console import Console
from rich.status import Status
from rich.table import Column, Table
from rich.text import Text

from etude.base.files import read_json
from etude.base.formatting import (
    format_command,
    format_interval,
    format_part,
    format_percent,
    format_rows,
    format_time,
)
from etude.base.progress import listen_to_progress
from etude.runs import Run, events, questions
from etude.runs.recommended import describe_failed_gates
from etude.runs.verdict import LadderRow, Verdict
from etude.types import PricedCost

# Width of the output without a terminal and without the environment variable COLUMNS
PLAIN_WIDTH = 110
# Width of the output if COLUMNS is smaller
_MIN_WIDTH = 20
# Minimum widths at which the ladder also shows rows, and the cost of a request
NARROW = 80
WIDE = 103
# Width of the column of accuracy beside macro-F1, and of the target's
EXTRA_WIDTH = 10
# Width of the column of methods; a longer name of a stored model is folded
NAME_WIDTH = 21
# Seconds between two lines of progress without a terminal
PAUSE = 12.0
# Seconds until the first line of progress without a terminal
FIRST_PAUSE = 1.0
# Exit code after Ctrl-C, as in shells
INTERRUPTED = 130
STOPPED = "Stopped. Run the same command to continue."


def create_console() -> Console:
    """Return a console for the terminal, or for plain text with the width of COLUMNS."""
    console = Console(highlight=False)
    if console.is_terminal:
        return console
    # rich does not trim the lines of a file, and assumes 80 columns without COLUMNS.
    columns = os.environ.get("COLUMNS", "")
    width = max(int(columns), _MIN_WIDTH) if columns.isdecimal() else PLAIN_WIDTH
    return Console(highlight=False, width=width, file=cast(TextIO, _TrimmedStream(console.file)))


class _TrimmedStream:
    """A stream without the spaces at the ends of lines that tables write."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(re.sub(r" +(?=\n)", "", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def print_run(console: Console, run: Run, task: Path) -> None:
    """Print the result of a run: the verdict of a comparison, or the end of a training."""
    if run.command == "train":
        print_training(console, run, task)
    else:
        print_verdict(console, run, task)


def print_training(console: Console, run: Run, task: Path) -> None:
    """Print the result of a training, its cost, and the assistant's path."""
    if not run.fitted_methods:
        print_line(console, f"{run.name} is not finished. Run: {format_command('train', task)}")
        return
    (name,) = run.fitted_methods
    record = read_json(run.method_folder(name) / "method.json")
    params = record["params"]
    console.print()
    console.print(Text(params["text"], "bold"))
    spent = f"{format_time(record['train_seconds'])} of training"
    memory = (
        f", at most {params['peak_memory_gb']} GB of memory" if params.get("peak_memory_gb") else ""
    )
    print_bullets(console, [*record["notes"], f"{spent}{memory}"])
    console.print()
    print_paths(console, run, task, run.assistant_folder(name))


def print_line(console: Console, text: str) -> None:
    """Print a line without wrapping it, so that paths and commands can be copied."""
    console.print(Text(text), soft_wrap=True)


def create_table(*headings: str | Column, right: Collection[str] = ()) -> Table:
    """Create a table without lines; the columns with the headings `right` are aligned right."""
    table = Table(*headings, box=None, padding=(0, 2, 0, 0))
    for column in table.columns:
        column.justify = "right" if column.header in right else column.justify
    return table


def print_bullets(console: Console, lines: Iterable[str]) -> None:
    """Print a list with hanging indents."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row("-", Text(line))
    console.print(table)


def print_paths(console: Console, run: Run, task: Path, assistant: Path | None = None) -> None:
    """Print the paths of the results."""
    if assistant:
        print_line(console, f"Assistant: {shorten_path(assistant)}")
    print_line(console, f"Report: {shorten_path(run.folder / 'report.html')}")
    if run.fitted_methods:
        name = run.verdict.leaning if run.verdict else "it"
        print_line(console, f"Talk to {name}: {format_command('chat', task)}")
        print_line(console, f"Serve {name}: {format_command('serve', task)}")


def print_verdict(console: Console, run: Run, task: Path) -> None:
    """Print the ladder, the verdict with its caveats, the report's path and the next command."""
    verdict = run.verdict
    if verdict is None:
        print_line(
            console, f"{run.name} has no verdict yet. Run: {format_command('compare', task)}"
        )
        return
    console.print()
    console.print(build_ladder_table(verdict, console.width))
    console.print()
    console.print(Text(verdict.sentence, "bold"))
    if verdict.target:
        console.print(Text(verdict.target.text))
    judge = verdict.judge
    notes = [text for text in [describe_failed_gates(run, verdict.leaning)] if text]
    if judge and judge.unread:
        notes.append(
            f"The judge replied neither yes nor no to {judge.unread:,} of {judge.num_replies:,} "
            "answers."
        )
    print_bullets(console, [*notes, *verdict.caveats, *(line.text for line in verdict.advice)])
    print_paths(console, run, task)


def build_ladder_table(verdict: Verdict, width: int = WIDE) -> Table:
    """Build the table of methods, with accuracy beside macro-F1, and with rows and costs if `width`
    allows.
    """
    shares = {
        name: metrics["accuracy"]
        for name, metrics in verdict.other_metrics.items()
        if "accuracy" in metrics
    }
    target = verdict.target
    # Optional columns are left out from the right until the table fits.
    sizes = {row.estimate.n for row in verdict.ladder}
    width_left = width - EXTRA_WIDTH * (bool(shares) + bool(target) + (len(sizes) > 1))
    has_rows = width_left >= NARROW
    has_costs = width_left >= WIDE
    is_cut = any(row.num_tried < row.num_candidates for row in verdict.ladder)
    test = f"on test\n(n = {max(sizes):,})" if len(sizes) == 1 else "on test"
    answered = verdict.test_rows.answered
    costs = verdict.costs

    def format_cost(format_one: Callable[[PricedCost], str]) -> Callable[[LadderRow], str]:
        return lambda row: format_one(costs[row.method]) if row.method in costs else ""

    has_decide = has_rows and any(row.rows_to_decide for row in verdict.ladder)

    def format_decide(row: LadderRow) -> str:
        return format_rows(row.rows_to_decide, answered) if row.rows_to_decide else ""

    right = partial(Column, justify="right")
    fixed = partial(Column, no_wrap=True)
    # The name of a stored model, such as ft:BASE:ORG:SUFFIX:ID, may need several lines.
    longest = max(len(f"{row.method} *") for row in verdict.ladder)
    method_column = Column("method", overflow="fold", width=min(longest, NAME_WIDTH))
    columns: list[tuple[object, Column, Callable[[LadderRow], str]]] = [
        (
            True,
            method_column,
            lambda row: f"{row.method}{' *' * (row.method == verdict.recommended)}",
        ),
        (True, right(test, no_wrap=True), lambda row: format_percent(row.estimate.value)),
        (True, fixed("95% interval"), lambda row: format_interval(row.estimate)),
        (len(sizes) > 1, right("n", no_wrap=True), lambda row: f"{row.estimate.n:,}"),
        (True, fixed("verdict"), attrgetter("status")),
        (target, fixed("target"), lambda row: target.mark(row.estimate) if target else ""),
        (shares, right("accuracy"), lambda row: format_percent(shares[row.method].value)),
        (
            has_rows and is_cut,
            right("tried"),
            lambda row: format_part(row.num_tried, row.num_candidates),
        ),
        (
            has_rows,
            right("learned from"),
            lambda row: format_part(row.learned or 0, verdict.train_rows),
        ),
        (has_decide, right("rows to decide"), format_decide),
        (has_costs, right("tokens in"), format_cost(lambda cost: f"{cost.prompt_tokens:,.0f}")),
        (has_costs, right("tokens out"), format_cost(lambda cost: f"{cost.answer_tokens:,.0f}")),
        (
            has_costs,
            right("time", no_wrap=True),
            format_cost(lambda cost: format_time(cost.seconds)),
        ),
    ]
    columns = [column for column in columns if column[0]]
    table = create_table(*(heading for _, heading, _ in columns))
    for row in verdict.ladder:
        table.add_row(*(format_cell(row) for _, _, format_cell in columns))
    for name in verdict.failures:
        table.add_row(name, "", "", "failed")
    return table


def shorten_path(path: Path) -> Path:
    """Return the path relative to the working directory if it is inside."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@dataclass
class RunConsole:
    """Prints what a run reports, and asks its questions."""

    screen: Console
    yes: bool = False
    """Whether every question is answered with yes (--yes)."""
    verbose: bool = False
    question_seconds: float | None = None
    """Seconds after which a question counts as answered with no; None for no limit, as always on
    Windows, where a terminal cannot be waited for.
    """
    run: Path | None = None
    """The run's folder, once it is open."""
    last_printed: float = field(default_factory=time.monotonic)

    def handle_event(self, event: events.Event) -> None:
        """Handle events that all commands treat in the same way, and ignore the others."""
        match event:
            case events.RunOpened(folder):
                self.run = folder
            case events.NoteEvent(text, detail) if self.verbose or not detail:
                self.print_text(text)

    def print_text(self, text: str, style: str = "") -> None:
        """Print a text without interpreting markup."""
        self.screen.print(Text(text, style))
        self.last_printed = time.monotonic()

    def print_progress(self, text: str) -> None:
        """Print a line of progress, unless a line was printed in the last PAUSE seconds."""
        if time.monotonic() - self.last_printed >= PAUSE:
            self.print_text(text)

    def confirm(self, question: str) -> bool:
        """Ask yes or no. With --yes, or without a terminal, print the question with its answer."""
        if self.yes:
            self.print_text(f"{question} (yes, by --yes)")
            return True
        # Sensitive questions need an explicit yes; for others, no answer means yes.
        silence = questions.answer_unasked(question)
        if not (self.screen.is_terminal and _is_in_foreground()):
            self.print_text(
                f"{question} {'(no terminal to ask: yes)' if silence else '(unanswered)'}"
            )
            return silence
        self.screen.print(Text(f"{question} [{'Y/n' if silence else 'y/N'}] "), end="")
        if self.question_seconds is not None and os.name == "posix":
            is_answered, _, _ = select.select([sys.stdin], [], [], self.question_seconds)
            if not is_answered:
                self.print_text(f"(no answer within {self.question_seconds:.0f} s: no)")
                return False
        return self.screen.input().strip().casefold() in ("y", "yes", *([""] if silence else []))

    def format_stop(self) -> str:
        """Format the message after Ctrl-C."""
        if self.run is None or not (self.run / "report.html").exists():
            return (
                "Stopped before the first method was finished. Run the same command to start again."
            )
        report = shorten_path(self.run / "report.html")
        return f"Stopped. Results so far: {report}. Run the same command to continue."

    @contextmanager
    def exit_on_interrupt(self, message: str = "") -> Iterator[None]:
        """On Ctrl-C, print the message (default: where the run's results are) and exit with 130."""
        try:
            yield
        except KeyboardInterrupt as stop:
            self.print_text(message or f"\n{self.format_stop()}")
            raise typer.Exit(INTERRUPTED) from stop


@dataclass
class StepClock:
    """The present step of a command, its share that is done, and the time since its last pass over
    the rows began.
    """

    name: str
    share: float = 0.0
    started: float = field(default_factory=time.monotonic)
    status: Status | None = None

    def begin(self, name: str) -> None:
        """Begin a step, unless it is the present one."""
        if name != self.name:
            self.name = name
            self.share = 0.0
            self.started = time.monotonic()

    def show(self, name: str, num_done: int, total: int) -> None:
        """Show how much of a step is done."""
        self.begin(name)
        self.update(num_done / max(total, 1))

    def ask(self, console: RunConsole, question: str) -> bool:
        """Ask yes or no; the status line, which would overwrite the question, is hidden
        meanwhile.
        """
        assert self.status is not None
        self.status.stop()
        answer = console.confirm(question)
        self.status.start()
        return answer

    def get_choose(self) -> Callable[[str, Sequence[str]], int] | None:
        """Return a function that asks the user to choose by number; None if nobody can be asked."""
        return self._choose if sys.stderr.isatty() and _is_in_foreground() else None

    def _choose(self, question: str, options: Sequence[str]) -> int:
        assert self.status is not None
        self.status.stop()
        typer.echo(question, err=True)
        for number, option in enumerate(options, 1):
            typer.echo(f"  {number}. {option}", err=True)
        number = click.prompt("Number", type=click.IntRange(1, len(options)), err=True)
        self.status.start()
        return int(number) - 1

    def update(self, share: float) -> None:
        """Take over the share that is done; a smaller one than before is that of another pass over
        the rows.
        """
        if share < self.share or not share:
            self.started = time.monotonic()
        self.share = share

    def describe(self) -> str:
        """Describe the step: `Check 25 of 33, personal data: 40%, 12 s left`."""
        seconds = time.monotonic() - self.started
        if not self.share:
            return f"{self.name}: {format_time(seconds)} so far"
        return (
            f"{self.name}: {self.share:.0%}, "
            f"{format_time(max(1.0, seconds * (1 / self.share - 1)))} left"
        )


@contextmanager
def show_steps(name: str) -> Iterator[StepClock]:
    """Show on stderr what a command is doing; yield the clock of its steps.

    In a terminal this is a status line. Without one, a line is printed after FIRST_PAUSE seconds,
    and then after ever longer pauses of up to PAUSE seconds.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    clock = StepClock(name)

    def show(pause: float) -> float:
        if console.is_terminal:
            status.update(Text(clock.describe()))
            return pause
        console.print(Text(clock.describe()))
        return min(2 * pause, PAUSE)

    with console.status(name) as status, listen_to_progress(clock.update), call_repeatedly(show):
        clock.status = status
        yield clock


@contextmanager
def call_repeatedly(act: Callable[[float], float]) -> Iterator[None]:
    """Context manager: call `act` in a thread after FIRST_PAUSE seconds, then after each pause that
    it returns.
    """
    is_finished = Event()

    def work() -> None:
        pause = FIRST_PAUSE
        while not is_finished.wait(pause):
            pause = act(pause)

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_finished.set()
        thread.join()


def _is_in_foreground() -> bool:
    """Whether somebody can answer. A background process that reads from the terminal would be
    stopped silently.
    """
    if not hasattr(os, "tcgetpgrp"):  # Windows has no background jobs
        return sys.stdin.isatty()
    return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
