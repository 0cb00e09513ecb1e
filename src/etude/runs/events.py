"""What happens in a run, as values: appended to its events.jsonl and passed on to whoever watches.

One line an event, with its time in UTC: {"time": "2026-11-27T14:05:31.208+00:00", "event": "said", "text": ...}. A
resumed run goes on appending. Another process reads what is there with `read_events`, and what comes with `follow`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from etude.base.files import REMEDY, LineLog, parse_json
from etude.base.typed_json import from_json, to_json
from etude.errors import RunError
from etude.methods.fit_context import Trial
from etude.runs.folder import Run
from etude.types import Estimate, Side

FILE = "events.jsonl"
PAUSE = 1.0
"""Seconds that pass between two lines of progress in the file."""


@dataclass(frozen=True)
class RunOpened:
    """The run has its folder."""

    folder: Path


@dataclass(frozen=True)
class NoteEvent:
    """A sentence for the user."""

    text: str
    detail: bool = False
    """Whether the command line prints it only with --verbose; the report has it too."""


@dataclass(frozen=True)
class MethodStarted:
    """A method is being fitted, or is answering the test."""

    method: str
    side: Side


@dataclass(frozen=True)
class SampleAnswer:
    """An answer to a dev row."""

    answer: str
    score: float
    """1 is right, 0 is wrong."""


@dataclass(frozen=True)
class BatchAnswered:
    """A batch of rows was answered and scored."""

    method: str
    done: int
    """Rows that this candidate, or this method on the test, has answered so far."""
    total: int
    seconds_left: float
    """For the rows from `done` to `total`, at the pace of those answered; training is no part of it."""
    trial: Trial | None = None
    """Which of the method's candidates answers dev; None on the test."""
    sample: SampleAnswer | None = None
    """The latest answer; None on the test, whose answers nobody should read."""


@dataclass(frozen=True)
class TrainingPrepared:
    """What a training run will learn and how, told before its first step."""

    learned: Sequence[str]
    """What is learned and what is only read, in sentences."""
    settings: Sequence[tuple[str, object, str]]
    """(setting, value, why) of all that was chosen or set by the user."""
    defaults: Mapping[str, object]
    """All other settings."""


@dataclass(frozen=True)
class StepTrained:
    """A step of training is done."""

    method: str
    step: int
    steps: int
    """Steps of all epochs."""
    epoch: int
    epochs: int
    loss: float
    tokens_per_second: float
    seconds_left: float
    memory: int
    """Bytes at the highest point so far; 0 where unknown."""


@dataclass(frozen=True)
class EpochEnded:
    """An epoch of training is measured on dev; epoch 0 is the untrained model."""

    method: str
    epoch: int
    epochs: int
    train_loss: float | None
    """Mean loss of the epoch's steps; None for epoch 0."""
    dev_loss: float
    score: Estimate | None
    """The metric on dev, where the task asks for it."""
    best: bool
    """Whether the epoch is the best so far."""
    overfits: bool


@dataclass(frozen=True)
class MethodEnded:
    """A method has its result on one side; `sample` is one of the answers behind it,
    on dev only."""

    method: str
    side: Side
    estimate: Estimate
    form: Estimate | None
    """Share of answers that keep the contract; None without a contract."""
    check: Estimate | None
    """Mean of what the check said; None without a check."""
    seconds: float
    sample: SampleAnswer | None
    num_rows: int
    """Rows that were answered; the estimate's n is lower where rows of one group count as one."""
    of_rows: int
    """Rows of the side, of which the plan may have answered a part."""


@dataclass(frozen=True)
class RunEnded:
    """The last event of an attempt, unless it was killed."""

    status: Literal["complete", "interrupted", "failed"]
    why: str = ""
    """The error of a run that failed."""


Event = (
    RunOpened
    | NoteEvent
    | MethodStarted
    | BatchAnswered
    | TrainingPrepared
    | StepTrained
    | EpochEnded
    | MethodEnded
    | RunEnded
)
OnEvent = Callable[[Event], None]
KINDS: Mapping[str, type[Event]] = {
    re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower(): kind for kind in get_args(Event)
}
"""Name in the file -> type: opened, said, began, answered, prepared, trained, epoch_ended, ended, run_ended."""
_NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True)
class TimedEvent:
    """An event and when it happened."""

    time: datetime
    event: Event


class EventLog:
    """Publishes events: appends each to the run's file, of progress one a second at most, and passes it on.

    A disk that takes no line stops nothing: the lines are held and written later.
    """

    def __init__(self, run: Run, on_event: OnEvent) -> None:
        self.log, self.on_event = LineLog(run.folder / FILE), on_event
        self.next_progress = 0.0

    def __call__(self, event: Event) -> None:
        """Publishes one event."""
        progress, now = isinstance(event, BatchAnswered | StepTrained), time.monotonic()
        if not progress or now >= self.next_progress:
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.log.append({"time": stamp, "event": _NAMES[type(event)], **to_json(event)})
        if progress and now >= self.next_progress:
            self.next_progress = now + PAUSE
        self.on_event(event)


def read_events(run: Run) -> list[TimedEvent]:
    """The events of a run so far, the earliest first; none where it has written none.

    A half-written last line is left out. Raises RunError for a line that is no event.
    """
    file = run.folder / FILE
    if not file.exists():
        return []
    with file.open("rb") as stream:
        return list(_whole_lines(stream))


def follow(run: Run, pause: float = 0.2) -> Iterator[TimedEvent]:
    """The events of a run from its first, then those to come, until no process works on it.

    Looks for new ones every `pause` seconds. Raises RunError as `read_events`, and for a run without events.
    """
    try:
        stream = (run.folder / FILE).open("rb")
    except OSError as error:
        raise RunError(f"{run.folder / FILE} cannot be read ({error.strerror}).") from error
    with stream:
        while True:
            at_work = run.at_work  # asked first: what is written before the end is still read
            yield from _whole_lines(stream)
            if not at_work:
                return
            time.sleep(pause)


def _whole_lines(stream: BinaryIO) -> Iterator[TimedEvent]:
    while line := stream.readline():
        if not line.endswith(b"\n"):
            stream.seek(-len(line), os.SEEK_CUR)
            return
        try:
            body = parse_json(line.decode())
            yield TimedEvent(
                datetime.fromisoformat(body.pop("time")), from_json(KINDS[body.pop("event")], body)
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{stream.name} holds a line that is no event ({error}). {REMEDY}") from error
