"""`etude train` in the terminal: a progress bar, a line for each epoch, the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from etude.base.processes import rank_given
from etude.base.wording import command, defaults, loss, setting, size_in_words, time_in_words
from etude.cli.compare_board import interval, seconds_of
from etude.cli.narrator import INTERRUPTED, Narrator
from etude.cli.printing import print_bullets, print_training, screen
from etude.errors import WorkerExited
from etude.runs.events import EpochEnded, Event, StepTrained, TrainingPrepared
from etude.tuning import Preview, preview, train
from etude.tuning.preview import Piece

ROOM = 68
"""Columns needed beside the bar."""
LEARNED, READ = "color(16) on color(114)", ""
"""Styles of tokens that are learned, and of those that are only read. A style sets both colours or none, and no
text is dimmed, so that it can be read on a dark and on a light terminal."""


def run_train(task: Path, *, yes: bool, budget: str | None, fresh: bool, verbose: bool = False) -> int:
    """Trains with the bar on screen; returns the exit code. Of several processes only the first prints."""
    if rank_given():
        return _follow(task)
    console = screen()
    board = TrainingBoard(Narrator(console, yes=yes, verbose=verbose))
    try:
        with board:
            result = train(
                task,
                budget=seconds_of(budget),
                fresh=fresh,
                on_event=board.take,
                confirm=board.narrator.ask,
            )
    except KeyboardInterrupt:
        board.narrator.say(f"\n{board.narrator.stopped()}")
        return INTERRUPTED
    print_training(console, result.run, task)
    return 0


def _follow(task: Path) -> int:
    """Runs one of the other processes of a training. The first reports what ends it; another exit code than 0 here
    would make torchrun stop the first while it writes its report."""
    try:
        train(task)
    except (KeyboardInterrupt, WorkerExited):
        return 0
    return 0


def run_show(task: Path, number: int) -> None:
    """Print what would be learned, and `number` rows in colour."""
    console = screen()
    found = preview(task, number)
    print_prepared(console, found.learned, found.settings, found.defaults)
    print_rows(console, found)
    console.print(Text(f"Nothing was trained. To train: {command('train', task)}"), soft_wrap=True)


def print_prepared(
    console: Console,
    learned: Sequence[str],
    settings: Sequence[tuple[str, object, str]],
    others: Mapping[str, object],
) -> None:
    """Print what is learned and what is only read, the settings with their reasons, and the others in one line."""
    console.print(Text("\nWhat is learned", "bold"))
    print_bullets(console, learned)
    console.print(Text("\nSettings", "bold"))
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column()
    for name, value, why in settings:
        table.add_row(*map(Text, (name, setting(value), why)))
    console.print(table)
    console.print(Text(f"{defaults(others)}\n"))


def print_rows(console: Console, found: Preview) -> None:
    """Print rows as they are learned: in colour, or between brackets if there is none."""
    coloured = console.color_system is not None and not console.no_color
    legend = (
        Text.assemble(("learned", LEARNED), "  ", ("only read", READ), "  ", ("special token", "reverse"))
        if coloured
        else Text("Learned tokens are between [[ and ]].")
    )
    console.print(legend)
    for row in found.rows:
        console.print(Text.assemble((f"\n{row.where}", "bold"), f"  ({row.why})"))
        parts = [styled(piece) for piece in row.pieces] if coloured else [bracketed(row.pieces)]
        console.print(Text.assemble(*parts))
    console.print()


def styled(piece: Piece) -> tuple[str, str]:
    """The piece's text with its style."""
    colour = LEARNED if piece.learned else READ
    return piece.text, f"{colour} reverse".strip() if piece.special else colour


def bracketed(pieces: Sequence[Piece]) -> str:
    """The row's text with brackets around what is learned."""
    text, inside = "", False
    for piece in pieces:
        if piece.learned != inside:
            text, inside = text + ("[[" if piece.learned else "]]"), piece.learned
        text += piece.text
    return text + ("]]" if inside else "")


class FiguresColumn(ProgressColumn):
    """Loss, speed, memory and time left of the latest step."""

    def render(self, task: Task) -> Text:
        """One cell of the bar's line."""
        return Text(task.fields.get("figures", ""), no_wrap=True, overflow="ellipsis")


@dataclass
class TrainingBoard:
    """A training on screen; without a terminal, a line of progress now and then."""

    narrator: Narrator
    progress: Progress | None = None
    bar: TaskID | None = None
    has_heading: bool = False
    """Whether the heading of the table of epochs is printed."""

    def __enter__(self) -> TrainingBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def take(self, event: Event) -> None:
        """Takes one event of the training."""
        self.narrator.take(event)
        match event:
            case TrainingPrepared(learned, settings, others) if self.narrator.verbose:
                print_prepared(self.narrator.console, learned, settings, others)
            case StepTrained():
                self._step(event)
            case EpochEnded():
                self._epoch(event)

    def _step(self, event: StepTrained) -> None:
        if not self.narrator.console.is_terminal:
            place = f"epoch {event.epoch}/{event.epochs}, step {event.step}/{event.steps}"
            self.narrator.now_and_then(f"{place}: {figures(event)}")
            return
        if self.progress is None:
            self._start(event.steps)
        assert self.progress is not None
        assert self.bar is not None
        self.progress.update(
            self.bar,
            completed=event.step,
            description=f"epoch {event.epoch}/{event.epochs}",
            figures=figures(event),
        )

    def _start(self, steps: int) -> None:
        console = self.narrator.console
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=max(8, min(40, console.width - ROOM))),
            TextColumn("{task.completed}/{task.total}"),
            FiguresColumn(),
        )
        self.progress = Progress(*columns, console=console, transient=True)
        self.bar = self.progress.add_task("", total=steps)
        self.progress.start()

    def _stop(self) -> None:
        if self.progress:
            self.progress.stop()
            self.progress = None

    def _epoch(self, event: EpochEnded) -> None:
        if not self.has_heading:
            self.has_heading = True
            metric = "  metric on dev" if event.score else ""
            heading = f"\n{'epoch':>5}  {'training loss':>13}  {'loss on dev':>11}{metric}"
            self.narrator.say(heading, "bold")
        self.narrator.say(epoch_in_words(event))
        if event.epoch == event.epochs:
            self._stop()


def figures(event: StepTrained) -> str:
    """`loss 0.731  812 tokens/s  3.4 GB  40 s left`."""
    memory = f"  {size_in_words(event.memory)}" if event.memory else ""
    left = time_in_words(event.seconds_left)
    return f"loss {event.loss:.3f}  {event.tokens_per_second:,.0f} tokens/s{memory}  {left} left"


def epoch_in_words(event: EpochEnded) -> str:
    """One line of the table of epochs."""
    train = "" if event.train_loss is None else loss(event.train_loss)
    score = f"  {interval(event.score)}, n = {event.score.n}" if event.score else ""
    state = "before training" if event.epoch == 0 else "best so far" if event.best else ""
    if event.overfits:
        state = "overfitting: better on training rows, worse on dev"
    return f"{event.epoch:>5}  {train:>13}  {loss(event.dev_loss):>11}{score}  {state}".rstrip()
