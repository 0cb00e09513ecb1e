"""`etude compare` in the terminal: a table that fills, then the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from etude.base.wording import bounds, percent, time_in_words
from etude.cli.narrator import INTERRUPTED, Narrator
from etude.cli.printing import print_verdict, screen
from etude.comparison import Comparison, compare
from etude.errors import InputError, Issue, quote_value
from etude.runs.events import BatchAnswered, Event, MethodEnded, MethodStarted, SampleAnswer, StepTrained
from etude.task import EvidenceLevel, load_task
from etude.task.readers import duration
from etude.types import Estimate

ANSWER_WIDTH = 100
"""Characters of a sample answer."""
ROOMY = 110
"""Columns of a terminal from which the table shows intervals."""


def run_compare(
    task: Path,
    *,
    yes: bool,
    agreed: int = 0,
    budget: str | None,
    evidence: EvidenceLevel | None = None,
    fresh: bool,
    gate: bool = False,
    verbose: bool = False,
) -> int:
    """Runs a comparison with the board on screen; returns the exit code: with `gate`, 1 for a missed target."""
    if gate and load_task(task).target is None:
        fault = Issue("--gate", "the task has no target", "", "add target: to the task file, such as 0.9")
        raise InputError([fault])
    console = screen()
    board = Board(Narrator(console, yes=yes, agreed=agreed, verbose=verbose))
    try:
        result = _compared(board, task, budget=budget, evidence=evidence, fresh=fresh)
    except KeyboardInterrupt:
        board.narrator.say(f"\n{board.narrator.stopped()}")
        return INTERRUPTED
    print_verdict(console, result.run, task)
    return int(gate and missed(result))


def _compared(
    board: Board, task: Path, *, budget: str | None, evidence: EvidenceLevel | None, fresh: bool
) -> Comparison:
    with board:
        return compare(
            task,
            budget=seconds_of(budget),
            evidence=evidence,
            fresh=fresh,
            on_event=board.take,
            confirm=board.ask,
        )


def missed(result: Comparison) -> bool:
    """Whether the task sets a target that no method reaches."""
    target = result.verdict.target
    return target is not None and target.met_by is None


def seconds_of(budget: str | None) -> float | None:
    """`--budget` in seconds: None when absent, infinity for "none"."""
    if budget is None:
        return None
    if budget == "none":
        return math.inf
    seconds = duration(budget)
    if seconds is None:
        raise InputError(
            [Issue("--budget", "not a duration", quote_value(budget), "write 15m, 2h, 90s or none")]
        )
    return seconds


@dataclass
class Line:
    """One method on the board."""

    dev: Estimate | None = None
    test: Estimate | None = None
    state: str = ""
    """What it is doing; once a side is answered, what else is known of that."""


@dataclass
class Board:
    """The ladder on screen as it fills; without a terminal, a line for each method that ends."""

    narrator: Narrator
    lines: dict[str, Line] = field(default_factory=dict)
    live: Live | None = None

    def __enter__(self) -> Board:
        console = self.narrator.console
        if console.is_terminal:
            self.live = Live(
                console=console, get_renderable=self.render, refresh_per_second=4, transient=True
            )
            self.live.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self.live:
            self.live.transient = error is None  # else nothing comes in its place
            self.live.stop()

    def take(self, event: Event) -> None:
        """Takes one event of the comparison."""
        self.narrator.take(event)
        match event:
            case MethodStarted(method, side):
                self.line(method).state = f"{side} ..."
            case BatchAnswered(method):
                self.line(method).state = answered_in_words(event)
            case StepTrained(method):
                self.line(method).state = trained_in_words(event)
            case MethodEnded():
                self._ended(event)
        if not self.live and isinstance(event, BatchAnswered | StepTrained):
            self.narrator.now_and_then(f"{event.method}: {self.line(event.method).state}")

    def ask(self, question: str) -> bool:
        """Asks yes or no, with the table out of the way."""
        if self.live:
            self.live.stop()
        answer = self.narrator.ask(question)
        if self.live:
            self.live.start()
        return answer

    def line(self, method: str) -> Line:
        """The method's line, made when first needed."""
        return self.lines.setdefault(method, Line())

    def render(self) -> RenderableType:
        """The table: a line for each method; with intervals if the screen has room for them."""
        if not self.lines:
            return Text("Preparing ...")
        shown = interval if self.narrator.console.width >= ROOMY else share_of
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("method", no_wrap=True)
        for heading in ("on dev", "on test"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for name, line in self.lines.items():
            table.add_row(name, shown(line.dev), shown(line.test), line.state)
        return table

    def _ended(self, event: MethodEnded) -> None:
        line, verbose = self.line(event.method), self.narrator.verbose
        line.state = "; ".join(more_of(event))
        if event.side == "dev":
            line.dev = event.estimate
        else:
            line.test = event.estimate
        if verbose or (not self.live and event.side == "dev"):
            self.narrator.say(ended_in_words(event))
        if verbose and event.sample:
            self.narrator.say(f"    {one_line(event.sample)}")


def answered_in_words(event: BatchAnswered) -> str:
    """`16 of 1,030 rows, 80 s left`, or `candidate 2 of 6: 16 of 30 rows, 80 s left for it`."""
    several = event.trial if event.trial and event.trial.of > 1 else None
    words = f"candidate {several.number} of {several.of}: " if several else ""
    words += f"{event.done:,} of {event.total:,} rows"
    if event.done < event.total:
        words += f", {time_in_words(event.seconds_left)} left{' for it' if several else ''}"
    return words


def trained_in_words(event: StepTrained) -> str:
    """`step 12/90, loss 0.731, 812 tokens/s, 40 s left`."""
    left = time_in_words(event.seconds_left)
    speed = f"{event.tokens_per_second:,.0f} tokens/s"
    return f"step {event.step}/{event.steps}, loss {event.loss:.3f}, {speed}, {left} left"


def ended_in_words(event: MethodEnded) -> str:
    """A method that ended: `few_shot on dev: 31.0% (24.0 to 39.0), n = 140; form 100%, check 31%; 40 s`."""
    found = f"{event.method} on {event.side}: {interval(event.estimate)}, n = {counted(event)}"
    return "; ".join([found, *more_of(event)])


def more_of(event: MethodEnded) -> list[str]:
    """What a method's result says beside the metric: `["form 100%, check 31%", "40 s"]`."""
    shares = {"form": event.form, "check": event.check}
    parts = ", ".join(f"{name} {100 * share.value:.0f}%" for name, share in shares.items() if share)
    return [*([parts] if parts else []), time_in_words(event.seconds)]


def counted(event: MethodEnded) -> str:
    """n, and why it is not the number of the side's rows: `29 groups of 31 rows`, `50 of 160 rows, by the budget`."""
    n, rows, whole = event.estimate.n, event.num_rows, event.of_rows
    cut = f"{rows:,} of {whole:,} rows, by the budget" if rows < whole else f"{rows:,} rows"
    if n != rows:
        return f"{n:,} groups of {cut}"
    return cut if rows < whole else f"{n:,}"


def interval(estimate: Estimate | None) -> str:
    """`31.0% (24.0 to 39.0)`, or nothing."""
    if estimate is None:
        return ""
    return f"{percent(estimate.value)} ({bounds(estimate)})"


def share_of(estimate: Estimate | None) -> str:
    """`31.0%`, or nothing."""
    return "" if estimate is None else percent(estimate.value)


def one_line(row: SampleAnswer) -> str:
    """An answer on one line with its mark."""
    flat = " | ".join(part.strip() for part in row.answer.splitlines() if part.strip())
    mark = "right" if row.score == 1 else "wrong" if row.score == 0 else f"{row.score:.2f}"
    short = flat if len(flat) <= ANSWER_WIDTH else flat[: ANSWER_WIDTH - 3] + "..."
    return f"{short or '(nothing)'}  [{mark}]"
