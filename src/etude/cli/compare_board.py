"""`etude compare`: a table that fills while methods run, then the verdict."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Literal

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from etude import comparison
from etude.base.formatting import format_interval, format_percent, format_time
from etude.cli import options, printing
from etude.cli.preparing import open_task
from etude.errors import InputError, quote_value
from etude.runs import events
from etude.runs.progress import format_progress
from etude.task import load_task, yaml_document
from etude.types import Estimate

# Maximum number of characters of a sample answer
ANSWER_WIDTH = 100
# Seconds after which a line is printed in any case: longer than the pause between two lines of
# progress.
MAX_SILENCE = 14.0
# Under --budget, seconds after which a question counts as answered with no
QUESTION_SECONDS = 60.0
# Minimum width of a terminal at which the table shows intervals
INTERVAL_WIDTH = 110


def compare(
    task: options.TaskOrRowsPath,
    yes: options.Yes = False,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Time limit, such as 15m, or none; overrides the task file."),
    ] = None,
    evidence: Annotated[
        Literal["one_run", "full"] | None,
        typer.Option("--evidence", help="full adds a learning curve."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help="local, llama_cpp or URL#BASE, a server such as vLLM that takes adapters; "
            "overrides the task file.",
        ),
    ] = None,
    on: options.On = None,
    fresh: options.Fresh = False,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate", help="Exit with 1 if the recommended method is not sure to reach the target."
        ),
    ] = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare methods on one sealed test and recommend one."""
    screen = printing.create_console()
    seconds = parse_budget(budget)
    task = open_task(task, screen, budget or "")
    # Checked before a run that may take hours.
    if gate and load_task(task).target is None:
        remedy = "add target: to the task file, such as 0.9"
        raise InputError.of("--gate", "the task has no target", "", remedy)
    limit = None if budget is None else QUESTION_SECONDS
    board = CompareBoard(
        printing.RunConsole(screen, yes=yes, verbose=verbose, question_seconds=limit)
    )
    # The run is saved after every batch, so the same command resumes it.
    with (
        board.console.exit_on_interrupt(),
        stop_on_interrupt(board.console.print_text) as stop,
        board,
    ):
        result = comparison.compare(
            task,
            budget=seconds,
            evidence=evidence,
            on=on,
            engine=engine,
            fresh=fresh,
            on_event=board.handle_event,
            confirm=board.confirm,
            stop=stop,
        )
    printing.print_verdict(screen, result.run, task)
    if result.verdict.failures or (gate and not result.verdict.reaches_target):
        raise typer.Exit(1)


@contextmanager
def stop_on_interrupt(print_text: Callable[[str], None]) -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets; the second one interrupts as usual."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print_text(
            "Ending with the rows in progress and 15 seconds of test rows; Ctrl-C again stops at "
            "once."
        )

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def parse_budget(budget: str | None) -> float | None:
    """Return `--budget` in seconds: None without it, infinity for "none"."""
    if budget is None:
        return None
    if budget == "none":
        return math.inf
    seconds = yaml_document.parse_duration(budget)
    if seconds is None or seconds < 10:  # a model is not even loaded in less
        remedy = "write 15m, 2h, 90s or none"
        raise InputError.of(
            "--budget", "not a duration of at least 10s", quote_value(budget), remedy
        )
    return seconds


@dataclass
class MethodLine:
    """A row of the table: one method."""

    dev: Estimate | None = None
    num_dev: int = 0
    """Dev rows answered so far by the chosen candidate."""
    test: Estimate | None = None
    state: str = ""
    """Its current activity; after a result, further figures."""


@dataclass
class CompareBoard:
    """The table of methods, updated with each event; without a terminal, a line for each method
    that ends.
    """

    console: printing.RunConsole
    lines: dict[str, MethodLine] = field(default_factory=dict)
    live: Live | None = None
    deadline: float | None = None
    """When the budget ends, by `time.monotonic`; None without a budget."""
    activity: str = "starting"
    """The method of the latest event, or what the latest note says is done now."""
    _silence: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "CompareBoard":
        console = self.console.screen
        if console.is_terminal:
            self.live = Live(
                console=console, get_renderable=self.render, refresh_per_second=4, transient=True
            )
            self.live.start()
        else:
            self._silence.enter_context(printing.call_repeatedly(self._break_silence))
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._silence.close()
        if self.live:
            # After an error the table stays, because no verdict replaces it.
            self.live.transient = error is None
            self.live.stop()

    def _break_silence(self, pause: float) -> float:
        """Without a table, print a line if nothing was printed for a while, such as when a model is
        loaded.
        """
        if time.monotonic() - self.console.last_printed >= MAX_SILENCE:
            self.console.print_text(f"Still busy: {self.activity} ...")
        return pause

    def handle_event(self, event: events.Event) -> None:
        """Update the table with an event of the comparison."""
        self.console.handle_event(event)
        self.activity = getattr(event, "method", self.activity)
        match event:
            case events.NoteEvent(text) if text.endswith(" ..."):
                self.activity = text.removesuffix(" ...")
            case events.MethodStarted(method, side, seconds_left):
                self.get_line(method).state = f"{side} ..."
                self.deadline = None if seconds_left is None else time.monotonic() + seconds_left
            case events.BatchAnswered(method) | events.StepTrained(method):
                self.get_line(method).state = format_progress(event)
            case events.MethodEnded():
                self._end_method(event)
            case events.MethodFailed(method, reason):
                self.get_line(method).state = f"failed: {reason}"
                self.console.print_text(
                    f"{method} failed, so the run continues without it: {reason}"
                )
        if not self.live and isinstance(event, events.BatchAnswered | events.StepTrained):
            self.console.print_progress(f"{event.method}: {self.get_line(event.method).state}")

    def confirm(self, question: str) -> bool:
        """Hide the table and ask yes or no. Ctrl-C at the question ends the command at once."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            if not self.live:
                return self.console.confirm(question)
            # The table would be drawn over the question.
            self.live.stop()
            answer = self.console.confirm(question)
            self.live.start()
            return answer
        finally:
            signal.signal(signal.SIGINT, before)

    def get_line(self, method: str) -> MethodLine:
        """Return the method's line, created if missing."""
        return self.lines.setdefault(method, MethodLine())

    def render(self) -> RenderableType:
        """Build the table, with intervals if the screen is wide enough."""
        if not self.lines:
            return Text("Preparing ...")
        format_cell = (
            format_estimate if self.console.screen.width >= INTERVAL_WIDTH else format_score
        )
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("method", no_wrap=True)
        for heading in ("on dev", "n", "on test"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column(self._format_time_left(), no_wrap=True, overflow="ellipsis")
        for name, line in self.lines.items():
            num_dev = f"{line.num_dev:,}" if line.num_dev else ""
            table.add_row(name, format_cell(line.dev), num_dev, format_cell(line.test), line.state)
        return table

    def _format_time_left(self) -> str:
        if self.deadline is None:
            return ""
        return f"{format_time(max(0.0, self.deadline - time.monotonic()))} of the budget left"

    def _end_method(self, event: events.MethodEnded) -> None:
        line = self.get_line(event.method)
        verbose = self.console.verbose
        line.state = "; ".join(format_details(event))
        if event.side == "dev":
            line.dev = event.estimate
            line.num_dev = event.num_rows
        else:
            line.test = event.estimate
        # With a table on screen, results on dev would be printed twice.
        if verbose or (not self.live and event.side == "dev"):
            self.console.print_text(format_method_result(event))
        if verbose and event.sample:
            self.console.print_text(f"    {format_sample(event.sample)}")


def format_method_result(event: events.MethodEnded) -> str:
    """Format a result: `few_shot on dev: 31.0% (24.0 to 39.0), n = 140; contract 100%, check 31%;
    40 s`.
    """
    result = (
        f"{event.method} on {event.side}: {format_estimate(event.estimate)}, n = "
        f"{format_num_rows(event)}"
    )
    return "; ".join([result, *format_details(event)])


def format_details(event: events.MethodEnded) -> list[str]:
    """Format further figures of a result: `["contract 100%, check 31%", "40 s"]`."""
    shares = {"contract": event.keeps_contract, "check": event.check}
    checks = ", ".join(
        f"{name} {100 * share.value:.0f}%" for name, share in shares.items() if share
    )
    return [*([checks] if checks else []), format_time(event.seconds)]


def format_num_rows(event: events.MethodEnded) -> str:
    """Format n, and why rows are left out, if any: `29 groups of 31 rows`, `50 of 160 rows, limited
    by the budget`.
    """
    n = event.estimate.n
    rows = event.num_rows
    side_rows = event.side_rows
    # A budget can cut rows, and rows of one group count as one.
    cut = (
        f"{rows:,} of {side_rows:,} rows, limited by the budget"
        if rows < side_rows
        else f"{rows:,} rows"
    )
    if n != rows:
        return f"{n:,} groups of {cut}"
    return cut if rows < side_rows else f"{n:,}"


def format_estimate(estimate: Estimate | None) -> str:
    """Format `31.0% (24.0 to 39.0)`; "" for None."""
    return f"{format_percent(estimate.value)} ({format_interval(estimate)})" if estimate else ""


def format_score(estimate: Estimate | None) -> str:
    """Format `31.0%`; "" for None."""
    return "" if estimate is None else format_percent(estimate.value)


def format_sample(row: events.SampleAnswer) -> str:
    """Format an answer on one line with its score."""
    flat = " | ".join(line.strip() for line in row.answer.splitlines() if line.strip())
    mark = "right" if row.score == 1 else "wrong" if row.score == 0 else f"{row.score:.2f}"
    short = flat if len(flat) <= ANSWER_WIDTH else flat[: ANSWER_WIDTH - 3] + "..."
    return f"{short or '(nothing)'}  [{mark}]"
