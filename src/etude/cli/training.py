"""`etude train`: a progress bar, a line for each epoch, the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from etude import tuning
from etude.base import formatting
from etude.cli import compare_board, options, printing
from etude.cli.preparing import open_task
from etude.runs.events import EpochEnded, Event, StepTrained, TrainingPrepared
from etude.tuning.preview import Preview, PreviewSpan

# Width of everything next to the bar
OTHER_COLUMNS_WIDTH = 68
# A style sets both colours or none, and no text is dimmed, so that it is readable on dark and light
# terminals.
TRAINED_STYLE = "color(16) on color(114)"
CONTEXT_STYLE = ""


def train(
    task: options.TaskOrRowsPath,
    yes: options.Yes = False,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="Train for at most this time, such as 15m. Without it, all epochs; the task's "
            "budget is for compare.",
        ),
    ] = None,
    fresh: options.Fresh = False,
    show: Annotated[
        int | None,
        typer.Option(
            "--show", min=1, help="Show how this many rows would be trained on, and exit."
        ),
    ] = None,
    verbose: options.Verbose = False,
) -> None:
    """Fine-tune the model on the training rows."""
    screen = printing.create_console()
    task = open_task(task, screen)
    if show is not None:
        preview = tuning.preview(task, show)
        print_settings(screen, preview.supervision, preview.settings, preview.defaults)
        print_rows(screen, preview)
        printing.print_line(
            screen, f"Nothing was trained. To train: {formatting.format_command('train', task)}"
        )
        return
    board = TrainingBoard(printing.RunConsole(screen, yes=yes, verbose=verbose))
    with board.console.exit_on_interrupt(), board:
        result = tuning.train(
            task,
            budget=compare_board.parse_budget(budget),
            fresh=fresh,
            on_event=board.handle_event,
            confirm=board.console.confirm,
        )
    printing.print_training(screen, result.run, task)


def print_settings(
    console: Console,
    learned: Sequence[str],
    settings: Sequence[tuple[str, object, str]],
    defaults: Mapping[str, object],
) -> None:
    """Print which parts are trained, the settings with their reasons, and the defaults on one
    line.
    """
    console.print(Text("\nWhat is trained on", "bold"))
    printing.print_bullets(console, learned)
    console.print(Text("\nSettings", "bold"))
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column()
    for name, value, reason in settings:
        table.add_row(*map(Text, (name, formatting.format_setting(value), reason)))
    console.print(table)
    console.print(Text(f"{formatting.format_defaults(defaults)}\n"))


def print_rows(console: Console, preview: Preview) -> None:
    """Print rows with the trained tokens in colour, or in brackets if the console has no
    colours.
    """
    # NO_COLOR, a file or a dumb terminal: brackets in place of colours.
    coloured = console.color_system is not None and not console.no_color
    legend = (
        Text.assemble(
            ("trained", TRAINED_STYLE),
            "  ",
            ("context", CONTEXT_STYLE),
            "  ",
            ("special token", "reverse"),
        )
        if coloured
        else Text("Trained tokens are between [[ and ]].")
    )
    console.print(legend)
    for row in preview.rows:
        console.print(Text.assemble((f"\n{row.location}", "bold"), f"  ({row.reason})"))
        pieces = (
            [style_piece(piece) for piece in row.spans]
            if coloured
            else [bracket_trained(row.spans)]
        )
        console.print(Text.assemble(*pieces))
    console.print()


def style_piece(piece: PreviewSpan) -> tuple[str, str]:
    """Return the piece's text and its style."""
    style = TRAINED_STYLE if piece.learned else CONTEXT_STYLE
    return piece.text, f"{style} reverse".strip() if piece.special else style


def bracket_trained(pieces: Sequence[PreviewSpan]) -> str:
    """Return the row's text with brackets around trained tokens."""
    text = ""
    is_open = False
    for piece in pieces:
        if piece.learned != is_open:
            text = text + ("[[" if piece.learned else "]]")
            is_open = piece.learned
        text += piece.text
    return text + ("]]" if is_open else "")


@dataclass
class TrainingBoard:
    """Shows a training: a bar and a table of epochs; without a terminal, a line of progress now and
    then.
    """

    console: printing.RunConsole
    progress: Progress | None = None
    bar: TaskID | None = None
    has_heading: bool = False

    def __enter__(self) -> "TrainingBoard":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_bar()

    def handle_event(self, event: Event) -> None:
        """Show an event of the training."""
        self.console.handle_event(event)
        match event:
            case TrainingPrepared(learned, settings, others) if self.console.verbose:
                print_settings(self.console.screen, learned, settings, others)
            case StepTrained():
                self._show_step(event)
            case EpochEnded():
                if not self.has_heading:
                    self.has_heading = True
                    metric = "  metric on dev" if event.score else ""
                    heading = f"\n{'epoch':>5}  {'training loss':>13}  {'loss on dev':>11}{metric}"
                    self.console.print_text(heading, "bold")
                self.console.print_text(format_epoch(event))
                if event.epoch == event.epochs:
                    self._stop_bar()

    def _show_step(self, event: StepTrained) -> None:
        if not self.console.screen.is_terminal:
            position = f"epoch {event.epoch}/{event.epochs}, step {event.step}/{event.steps}"
            self.console.print_progress(f"{position}: {format_training_step(event)}")
            return
        # The number of steps is known only from the first step on.
        if self.progress is None:
            self._start_bar(event.steps)
        assert self.progress is not None
        assert self.bar is not None
        self.progress.update(
            self.bar,
            completed=event.step,
            description=f"epoch {event.epoch}/{event.epochs}",
            figures=format_training_step(event),
        )

    def _start_bar(self, steps: int) -> None:
        console = self.console.screen
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=max(8, min(40, console.width - OTHER_COLUMNS_WIDTH))),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[figures]}"),
        )
        self.progress = Progress(*columns, console=console, transient=True)
        self.bar = self.progress.add_task("", total=steps, figures="")
        self.progress.start()

    def _stop_bar(self) -> None:
        if self.progress:
            self.progress.stop()
            self.progress = None


def format_training_step(event: StepTrained) -> str:
    """Format `loss 0.731  812 tokens/s  3.4 GB  40 s left`."""
    memory = f"  {formatting.format_size(event.memory)}" if event.memory else ""
    remaining = formatting.format_time(event.remaining_seconds)
    return (
        f"loss {event.loss:.3f}  {event.tokens_per_second:,.0f} tokens/s{memory}  {remaining} left"
    )


def format_epoch(event: EpochEnded) -> str:
    """Format a line of the table of epochs."""
    train = "" if event.train_loss is None else formatting.format_loss(event.train_loss)
    score = (
        f"  {compare_board.format_estimate(event.score)}, n = {event.score.n}"
        if event.score
        else ""
    )
    state = "before training" if event.epoch == 0 else "best so far" if event.best else ""
    if event.overfits:
        state = "overfitting: better on training rows, worse on dev"
    return (
        f"{event.epoch:>5}  {train:>13}  {formatting.format_loss(event.dev_loss):>11}{score}  "
        f"{state}"
    ).rstrip()
