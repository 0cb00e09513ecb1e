"""What every board does alike: it keeps the run's folder, says sentences, asks, and paces interim lines."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from etude.cli.printing import shortest
from etude.runs.events import Event, Opened, Said
from etude.runs.questions import agreed

PAUSE = 30.0
"""Seconds after which long work says how far it is, where there is no terminal."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@dataclass
class Narrator:
    """Speaks for a run that is going on, on one console."""

    console: Console
    yes: bool = False
    """Whether every question is answered beforehand (--yes)."""
    run: Path | None = None
    """The run's folder, once it is known."""
    told: float = field(default_factory=time.monotonic)
    """When a line was printed last, where there is no terminal."""

    def take(self, event: Event) -> None:
        """Takes the events that are told alike everywhere, and passes over all others."""
        match event:
            case Opened(folder):
                self.run = folder
            case Said(text):
                self.say(text)

    def say(self, text: str, style: str = "") -> None:
        """Prints a text as it is, no part of it read as markup."""
        self.console.print(Text(text, style))
        self.told = time.monotonic()

    def now_and_then(self, text: str) -> None:
        """Prints how far long work is, unless a line was printed within the last `PAUSE` seconds."""
        if time.monotonic() - self.told >= PAUSE:
            self.say(text)

    def ask(self, question: str) -> bool:
        """Asks yes or no; where it was answered beforehand, or nobody can answer and silence is a yes, the question is
        printed with what answers it. Of a no the error that follows says all."""
        if self.yes:
            self.say(f"{question} (--yes: going on)")
            return True
        silence = agreed(question)
        if not (self.console.is_terminal and sys.stdin.isatty()):
            if silence:
                self.say(f"{question} (nobody to ask: going on)")
            return silence
        self.console.print(Text(f"{question} [{'Y/n' if silence else 'y/N'}] "), end="")
        return self.console.input().strip().casefold() in ("y", "yes", *([""] if silence else []))

    def stopped(self) -> str:
        """What is left of the run after it was stopped, in its folder."""
        if self.run is None or not (self.run / "report.html").exists():
            return "Stopped before the first step was finished. The same command begins again."
        report = shortest(self.run / "report.html")
        return f"Stopped. What is there stands in {report}; the same command goes on."
