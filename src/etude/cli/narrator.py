"""What both boards share: the run's folder, sentences, questions, and lines of progress now and then."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from etude.cli.printing import shortest
from etude.runs.events import Event, NoteEvent, RunOpened
from etude.runs.questions import UNANSWERED, agreed

PAUSE = 30.0
"""Seconds between two lines of progress without a terminal."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""


@dataclass
class Narrator:
    """Prints what a run reports and asks what it asks, on one console."""

    console: Console
    yes: bool = False
    """Whether every question is answered beforehand (--yes)."""
    agreed: int = 0
    """How many of the questions to which silence is a no have a yes beforehand (--agree), the first ones."""
    verbose: bool = False
    """Whether details are printed (--verbose)."""
    run: Path | None = None
    """The run's folder, once it is known."""
    told: float = field(default_factory=time.monotonic)
    """When a line was last printed."""

    def take(self, event: Event) -> None:
        """Handles the events that both boards treat alike, and ignores all others."""
        match event:
            case RunOpened(folder):
                self.run = folder
            case NoteEvent(text, detail) if self.verbose or not detail:
                self.say(text)

    def say(self, text: str, style: str = "") -> None:
        """Prints a text as it is, without markup."""
        self.console.print(Text(text, style))
        self.told = time.monotonic()

    def now_and_then(self, text: str) -> None:
        """Prints a line of progress, unless a line was printed within the last `PAUSE` seconds."""
        if time.monotonic() - self.told >= PAUSE:
            self.say(text)

    def ask(self, question: str) -> bool:
        """Asks yes or no. If the answer was given beforehand, or nobody can answer, the question is printed with the
        answer."""
        if self.yes:
            self.say(f"{question} (yes, by --yes)")
            return True
        silence = agreed(question)
        if not silence and self.agreed:
            self.agreed -= 1
            self.say(f"{question} (yes, by --agree)")
            return True
        if not (self.console.is_terminal and sys.stdin.isatty()):
            self.say(f"{question} {'(no terminal to ask: yes)' if silence else UNANSWERED}")
            return silence
        self.console.print(Text(f"{question} [{'Y/n' if silence else 'y/N'}] "), end="")
        return self.console.input().strip().casefold() in ("y", "yes", *([""] if silence else []))

    def stopped(self) -> str:
        """What to say after the run was stopped."""
        if self.run is None or not (self.run / "report.html").exists():
            return "Stopped before the first method was finished. Run the same command to start again."
        report = shortest(self.run / "report.html")
        return f"Stopped. Results so far: {report}. Run the same command to continue."
