"""How far a comparison is, from the events of its run; and starting and stopping one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from etude.base.wording import bounds, percent, time_in_words
from etude.errors import RunError
from etude.runs import Run
from etude.runs.events import (
    BatchAnswered,
    Event,
    MethodEnded,
    MethodStarted,
    NoteEvent,
    RunEnded,
    StepTrained,
    read_events,
)
from etude.runs.questions import UNANSWERED

LOG = "studio-compare.log"
"""Beside the runs: what a comparison that was started from a page has printed."""


@dataclass
class Step:
    """One method on the page."""

    method: str
    doing: str = ""
    dev: str = ""
    test: str = ""


@dataclass
class Progress:
    """What a run's events say so far."""

    steps: dict[str, Step] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Sentences for the user, the latest last."""

    def take(self, event: Event) -> None:
        """Adds one event."""
        if isinstance(event, NoteEvent) and not event.detail:
            self.notes.append(event.text)
        elif isinstance(event, RunEnded):
            self.notes += [event.why] if event.why else []
            for step in self.steps.values():
                step.doing = ""
        elif isinstance(event, MethodStarted | BatchAnswered | StepTrained | MethodEnded):
            _take(self.steps.setdefault(event.method, Step(event.method)), event)


def _take(step: Step, event: MethodStarted | BatchAnswered | StepTrained | MethodEnded) -> None:
    if isinstance(event, MethodStarted):
        step.doing = "being fitted" if event.side == "dev" else "answering the test"
    elif isinstance(event, BatchAnswered):
        step.doing = f"answered {event.done:,} of {event.total:,}, {time_in_words(event.seconds_left)} left"
    elif isinstance(event, StepTrained):
        step.doing = (
            f"training: step {event.step:,} of {event.steps:,}, {time_in_words(event.seconds_left)} left"
        )
    else:
        step.doing = ""
        result = f"{percent(event.estimate.value)} ({bounds(event.estimate)}, n = {event.estimate.n:,})"
        if event.side == "dev":
            step.dev = result
        else:
            step.test = result


def progress(run: Run) -> Progress:
    """How far a run is; nothing for one without readable events."""
    found = Progress()
    try:
        for noted in read_events(run):
            found.take(noted.event)
    except RunError as error:
        found.notes.append(str(error))
    return found


def options_of(run: Run) -> list[str]:
    """The options by which `etude compare` goes on with a run, whatever the task file says of budget and evidence."""
    info = run.info
    budget = info["budget_seconds"]
    evidence = "full" if "evidence" in info["inputs"] else "one_run"
    return ["--budget", "none" if budget is None else f"{budget}s", "--evidence", evidence]


class Comparing:
    """`etude compare` as a process of its own, so that the pages stay quick and a stop loses at most a batch."""

    def __init__(self, task_file: Path, root: Path) -> None:
        self.task_file, self.log = task_file, root / LOG
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: subprocess.Popen[bytes] | None = None
        self._options: Sequence[str] = ()
        self._agreed = 0

    @property
    def running(self) -> bool:
        """Whether the comparison that was started here is at work."""
        return self._process is not None and self._process.poll() is None

    def has_new_run(self) -> bool:
        """Whether the comparison that was started here has succeeded; True once for each."""
        if self._process is self._seen or self.running:
            return False
        self._seen = self._process
        return self._process is not None and self._process.poll() == 0

    @property
    def question(self) -> str:
        """What a comparison has asked, with what it has printed before, where it has stopped for the answer."""
        printed, mark, _ = self._printed.partition(UNANSWERED)
        return printed.strip() if mark else ""

    @property
    def failure(self) -> str:
        """The end of what a comparison has printed that did not succeed and asks nothing."""
        return "" if self.question else self._printed[-2_000:].strip()

    @property
    def _printed(self) -> str:
        code = None if self._process is None else self._process.poll()
        if code in (None, 0) or not self.log.exists():
            return ""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def start(self, options: Sequence[str] = (), agreed: int = 0) -> None:
        """Starts a comparison, or goes on with one that was stopped; `agreed` of its questions have a yes."""
        if self.running:
            return
        self._options, self._agreed = options, agreed
        command = [
            sys.executable,
            "-m",
            "etude",
            "compare",
            str(self.task_file),
            "--agree",
            str(agreed),
            *options,
        ]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as out:
            self._process = _started(command, out)

    def agree(self) -> None:
        """Says yes to the question for which a comparison has stopped, and starts it again; a further question stops
        it again."""
        if self.question:
            self.start(self._options, self._agreed + 1)

    def stop(self) -> None:
        """Stops it as Ctrl-C does; waits for it to end."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.kill()


def _started(command: list[str], out: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
    )
