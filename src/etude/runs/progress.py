"""Progress of a run as lines of text, for people who call `compare` and `train` from a terminal or
a notebook.
"""

import sys
import time
from collections.abc import Callable

from etude.base.formatting import format_percent, format_time
from etude.runs import events

PAUSE = 5.0
"""Seconds between two lines of progress."""


def choose_reporter() -> events.OnEvent:
    """Return a printer of progress in a terminal or a notebook, else a function that does
    nothing.
    """
    is_watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    return ProgressPrinter() if is_watched else lambda event: None


def print_line(text: str) -> None:
    """Print a line to standard error."""
    print(text, file=sys.stderr, flush=True)


def format_progress(event: events.BatchAnswered | events.StepTrained) -> str:
    """Format how far a method is: `16 of 1,030 rows, 80 s left`, `candidate 2 of 6: 16 of 30 rows,
    80 s left for this candidate`, `step 12/90, loss 0.731, 812 tokens/s, 40 s left`.
    """
    left = f"{format_time(event.remaining_seconds)} left"
    if isinstance(event, events.StepTrained):
        speed = f"{event.tokens_per_second:,.0f} tokens/s"
        return f"step {event.step}/{event.steps}, loss {event.loss:.3f}, {speed}, {left}"
    trial = event.trial if event.trial and event.trial.total > 1 else None
    words = f"candidate {trial.number} of {trial.total}: " if trial else ""
    words += f"{event.num_answered:,} of {event.num_rows:,} rows"
    is_finished = event.num_answered >= event.num_rows
    return words if is_finished else f"{words}, {left}{' for this candidate' if trial else ''}"


class ProgressPrinter:
    """Writes notes and results as they come, and progress at most once in PAUSE seconds."""

    def __init__(self, write: Callable[[str], None] = print_line) -> None:
        self.write = write
        self._next_line = time.monotonic() + PAUSE

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.NoteEvent(text, detail) if not detail:
                self._print(text)
            case events.MethodStarted(method, side):
                self._print(f"{method}: {'fitting' if side == 'dev' else 'answering the test'} ...")
            case events.MethodEnded(method, side, estimate):
                self._print(f"{method}: {format_percent(estimate.value)} on {side}")
            case events.MethodFailed(method, reason):
                self._print(f"{method} failed: {reason}")
            case events.BatchAnswered() | events.StepTrained() if (
                time.monotonic() >= self._next_line
            ):
                self._print(f"{event.method}: {format_progress(event)}")

    def _print(self, text: str) -> None:
        self.write(text)
        self._next_line = time.monotonic() + PAUSE
