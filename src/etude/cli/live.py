"""`etude compare` in the terminal: the ladder as it fills, then the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from etude.base.wording import bounds, percent, time_in_words
from etude.cli.narrator import INTERRUPTED, Narrator
from etude.cli.printing import print_verdict, screen, whole_percent
from etude.comparison import Comparison, compare
from etude.errors import Fault, InputError, shown
from etude.runs.events import Answered, Began, Ended, Event, Sample, Trained
from etude.task import load_task
from etude.task.readers import duration
from etude.types import Estimate

ANSWER_WIDTH = 100
HEADINGS = ("on dev", "on test", "form", "check", "time")
"""Columns of the board, after the method's name."""


def run_compare(task: Path, *, yes: bool, budget: str | None, fresh: bool, gate: bool = False) -> int:
    """Runs a comparison with the board on screen; returns the exit code: with `gate`, 1 for a missed target."""
    if gate and load_task(task).target is None:
        fault = Fault("--gate", "the task names no target", "", "add target: to the task file, such as 0.9")
        raise InputError([fault])
    console = screen()
    board = Board(Narrator(console, yes=yes))
    try:
        result = _compared(board, task, budget=budget, fresh=fresh)
    except KeyboardInterrupt:
        board.narrator.say(f"\n{board.narrator.stopped()}")
        return INTERRUPTED
    print_verdict(console, result.run, task)
    return int(gate and missed(result))


def _compared(board: Board, task: Path, *, budget: str | None, fresh: bool) -> Comparison:
    with board:
        return compare(
            task,
            budget=seconds_of(budget),
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
        raise InputError([Fault("--budget", "not a duration", shown(budget), "write 15m, 2h, 90s or none")])
    return seconds


@dataclass
class Line:
    """One method on the board."""

    dev: Estimate | None = None
    test: Estimate | None = None
    form: Estimate | None = None
    check: Estimate | None = None
    seconds: float = 0.0
    sample: Sample | None = None
    doing: str = ""

    def cells(self) -> list[str]:
        """What stands under `HEADINGS`."""
        numbers = [
            interval(self.dev),
            interval(self.test),
            whole_percent(self.form),
            whole_percent(self.check),
        ]
        return [*numbers, time_in_words(self.seconds)]


@dataclass
class Board:
    """The ladder on screen. Where there is no terminal, a line is printed as each step ends."""

    narrator: Narrator
    lines: dict[str, Line] = field(default_factory=dict)
    live: Live | None = None

    def __enter__(self) -> Board:
        console = self.narrator.console
        if console.is_terminal:
            self.live = Live(console=console, get_renderable=self.render, refresh_per_second=4)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def take(self, event: Event) -> None:
        """Takes one event of the comparison."""
        self.narrator.take(event)
        match event:
            case Began(method, side):
                self.line(method).doing = f"{side} ..."
            case Answered():
                self._answered(event)
            case Trained(method):
                self.line(method).doing = trained_in_words(event)
            case Ended():
                self._ended(event)
        if not self.live and isinstance(event, Answered | Trained):
            self.narrator.now_and_then(f"{event.method}: {self.line(event.method).doing}")

    def ask(self, question: str) -> bool:
        """Asks yes or no; where nobody can answer, the question is printed and the answer is yes."""
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
        """The board as it stands: a line for each method, and under it an answer it gave."""
        cells = {name: line.cells() for name, line in self.lines.items()}
        widths = [max(map(len, column)) for column in zip(HEADINGS, *cells.values(), strict=True)]
        label = max(map(len, ("step", *cells)))
        texts = [Text(_aligned("step", HEADINGS, label, widths), "bold")]
        for name, line in self.lines.items():
            row = _aligned(name, cells[name], label, widths)
            texts.append(Text.assemble(row, "  ", line.doing))
            if line.sample:
                texts.append(Text(f"    {one_line(line.sample)}"))
        for text in texts:
            text.no_wrap, text.overflow = True, "ellipsis"
        return Group(*texts)

    def _answered(self, event: Answered) -> None:
        line = self.line(event.method)
        line.sample = event.sample or line.sample
        line.doing = answered_in_words(event)

    def _ended(self, event: Ended) -> None:
        line = self.line(event.method)
        line.form, line.check, line.doing = event.form, event.check, ""
        line.sample = event.sample or line.sample
        line.seconds += event.seconds
        if event.side == "dev":
            line.dev = event.estimate
        else:
            line.test = event.estimate
        if not self.live:
            self.narrator.say(ended_in_words(event))
            if event.sample:
                self.narrator.say(f"    {one_line(event.sample)}")


def answered_in_words(event: Answered) -> str:
    """`answered 16 of 1,030, 80 s left`, or `candidate 2 of 6: answered 16 of 30, 80 s left for it`."""
    several = event.trial if event.trial and event.trial.of > 1 else None
    words = f"candidate {several.number} of {several.of}: " if several else ""
    words += f"answered {event.done:,} of {event.total:,}"
    if event.done < event.total:
        words += f", {time_in_words(event.seconds_left)} left{' for it' if several else ''}"
    return words


def trained_in_words(event: Trained) -> str:
    """`step 12/90, loss 0.731, 812 tokens/s, 40 s left`."""
    left = time_in_words(event.seconds_left)
    speed = f"{event.tokens_per_second:,.0f} tokens/s"
    return f"step {event.step}/{event.steps}, loss {event.loss:.3f}, {speed}, {left} left"


def ended_in_words(event: Ended) -> str:
    """An interim line: `few_shot on dev: 31% (24% to 39%, n = 140); form 100%, check 31%; 40 s`."""
    parts = [f"form {whole_percent(event.form)}"] if event.form else []
    parts += [f"check {whole_percent(event.check)}"] if event.check else []
    more = f"; {', '.join(parts)}" if parts else ""
    done = time_in_words(event.seconds)
    return f"{event.method} on {event.side}: {interval(event.estimate)}, n = {counted(event)}{more}; {done}"


def counted(event: Ended) -> str:
    """n, and why it is not the number of the side's rows: `29 groups of 31 rows`, `50 of 160 rows, by the budget`."""
    n, rows, whole = event.estimate.n, event.num_rows, event.of_rows
    cut = f"{rows:,} of {whole:,} rows, by the budget" if rows < whole else f"{rows:,} rows"
    if n != rows:
        return f"{n:,} groups of {cut}"
    return cut if rows < whole else f"{n:,}"


def _aligned(name: str, cells: Sequence[str], label: int, widths: Sequence[int]) -> str:
    padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([name.ljust(label), *padded])


def interval(estimate: Estimate | None) -> str:
    """`31.0% (24.0 to 39.0)`, or nothing."""
    if estimate is None:
        return ""
    return f"{percent(estimate.value)} ({bounds(estimate)})"


def one_line(row: Sample) -> str:
    """An answer on one line with its mark."""
    flat = " | ".join(part.strip() for part in row.answer.splitlines() if part.strip())
    mark = "right" if row.score == 1 else "wrong" if row.score == 0 else f"{row.score:.2f}"
    short = flat if len(flat) <= ANSWER_WIDTH else flat[: ANSWER_WIDTH - 3] + "..."
    return f"{short or '(nothing)'}  [{mark}]"
