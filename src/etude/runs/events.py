"""The events of a run, as values: appended to its events.jsonl and passed to `on_event`.

One line for each event, with its time in UTC: {"time": "2026-11-27T14:05:31.208+00:00", "event":
"note_event", "text": ...}. A resumed run appends to the same file. Other processes read it with
`read_events`, or follow it with `follow_events` while the run works.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from etude.base import files, typed_json
from etude.errors import RUN_REMEDY, RunError
from etude.methods.shared.fit_context import Trial
from etude.runs.folder import Run
from etude.types import Estimate, Side

EVENTS_FILE = "events.jsonl"
PROGRESS_SECONDS = 1.0
"""Minimum number of seconds between two progress events in the file."""


@dataclass(frozen=True)
class RunOpened:
    """The run's folder exists and is locked."""

    folder: Path


@dataclass(frozen=True)
class NoteEvent:
    """A sentence for the user."""

    text: str
    detail: bool = False
    """Whether the command line prints it only with --verbose; the report always shows it."""


@dataclass(frozen=True)
class MethodStarted:
    """A method starts to be fitted, or to answer the test."""

    method: str
    side: Side
    seconds_left: float | None = None
    """Seconds until the budget ends; None without a budget."""


@dataclass(frozen=True)
class SampleAnswer:
    """An answer to a dev row."""

    answer: str
    score: float
    """From 0 (wrong) to 1 (right)."""


@dataclass(frozen=True)
class BatchAnswered:
    """A batch of rows was answered and scored."""

    method: str
    num_answered: int
    """Rows that this candidate, or this method on the test, has answered so far."""
    num_rows: int
    """Rows that it will have answered at the end."""
    remaining_seconds: float
    """For the remaining rows, at the speed of the answered rows; training is not included."""
    trial: Trial | None = None
    """Which of the method's candidates answers dev; None on the test."""
    sample: SampleAnswer | None = None
    """The latest answer; None on the test, because nobody should read test answers."""


@dataclass(frozen=True)
class TrainingPrepared:
    """A training run is about to take its first step."""

    supervision: Sequence[str]
    """Sentences on what is learned and what is only context."""
    settings: Sequence[tuple[str, object, str]]
    """(setting, value, reason) of all settings that were chosen automatically or set by the
    user.
    """
    defaults: Mapping[str, object]
    """All other settings."""


@dataclass(frozen=True)
class StepTrained:
    """A step of training has ended."""

    method: str
    step: int
    steps: int
    """Steps of all epochs; in a time box, the planned steps."""
    epoch: int
    epochs: int
    loss: float
    tokens_per_second: float
    remaining_seconds: float
    memory: int
    """Peak bytes so far; 0 if unknown."""


@dataclass(frozen=True)
class EpochEnded:
    """An epoch of training has ended and been measured on dev; epoch 0 is the untrained model."""

    method: str
    epoch: float
    """Epochs done; a fraction in a time box."""
    epochs: int
    train_loss: float | None
    """Mean loss of the epoch's steps; None for epoch 0."""
    dev_loss: float
    score: Estimate | None
    """The share of preferences on dev that are in the right order, for the method prefer."""
    best: bool
    """Whether the epoch is the best so far."""
    overfits: bool


@dataclass(frozen=True)
class MethodEnded:
    """A method has its result on one side."""

    method: str
    side: Side
    estimate: Estimate
    keeps_contract: Estimate | None
    """Share of answers that keep the contract; None without a contract."""
    check: Estimate | None
    """Mean score of the check function; None without one."""
    seconds: float
    sample: SampleAnswer | None
    """One of the answers; None on the test."""
    num_rows: int
    """Rows that were answered. The estimate's n is lower if rows of one group count as one."""
    side_rows: int
    """Rows of the side; the plan may limit how many are answered."""


@dataclass(frozen=True)
class MethodFailed:
    """A method failed; the run continues without it."""

    method: str
    reason: str
    """The error, as a sentence."""


@dataclass(frozen=True)
class RunEnded:
    """The last event of an attempt; missing if the process was killed."""

    status: Literal["complete", "interrupted", "failed"]
    error: str = ""


Event = (
    RunOpened
    | NoteEvent
    | MethodStarted
    | BatchAnswered
    | TrainingPrepared
    | StepTrained
    | EpochEnded
    | MethodEnded
    | MethodFailed
    | RunEnded
)
OnEvent = Callable[[Event], None]
EVENT_TYPES: Mapping[str, type[Event]] = {
    re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower(): kind for kind in get_args(Event)
}
"""Name in the file -> type; the names are run_opened, note_event, method_started, batch_answered,
training_prepared, step_trained, epoch_ended, method_ended, method_failed and run_ended.
"""
_NAMES = {kind: name for name, kind in EVENT_TYPES.items()}


@dataclass(frozen=True)
class TimedEvent:
    """An event and when it happened."""

    time: datetime
    event: Event


class EventLog:
    """Publishes events: appends each to the run's file (progress at most once a second) and calls
    `on_event`.

    A full disk does not stop the run: the lines are kept in memory and written later.
    """

    def __init__(self, run: Run, on_event: OnEvent) -> None:
        self.log = files.LineLog(run.folder / EVENTS_FILE)
        self.on_event = on_event
        self.next_progress = 0.0

    def __call__(self, event: Event) -> None:
        is_progress = isinstance(event, BatchAnswered | StepTrained)
        now = time.monotonic()
        if not is_progress or now >= self.next_progress:
            # Progress that comes too fast is left out of the file, but not off the screen.
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.log.append(
                {"time": stamp, "event": _NAMES[type(event)], **typed_json.to_json(event)}
            )
        if is_progress and now >= self.next_progress:
            self.next_progress = now + PROGRESS_SECONDS
        self.on_event(event)


def read_events(run: Run) -> list[TimedEvent]:
    """Read the events of a run so far, the earliest first; none if it has no events.jsonl.

    A half-written last line is left out. Raises RunError for a line that is not an event.
    """
    file = run.folder / EVENTS_FILE
    if not file.exists():
        return []
    with file.open("rb") as stream:
        return list(_read_lines(stream))


def follow_events(run: Run, pause: float = 0.2) -> Iterator[TimedEvent]:
    """Yield all events of a run, and new ones as they come, until no process works on the run.

    Looks for new events every `pause` seconds. Raises RunError like `read_events`, and for a run
    without events.
    """
    try:
        stream = (run.folder / EVENTS_FILE).open("rb")
    except OSError as error:
        raise RunError(f"{run.folder / EVENTS_FILE} cannot be read ({error.strerror}).") from error
    with stream:
        while True:
            is_running = (
                run.is_running
            )  # checked before reading, so that the last events are not missed
            yield from _read_lines(stream)
            if not is_running:
                return
            time.sleep(pause)


def _read_lines(stream: BinaryIO) -> Iterator[TimedEvent]:
    while line := stream.readline():
        if not line.endswith(b"\n"):
            # The writer has not finished the line; it is read again on the next call.
            stream.seek(-len(line), os.SEEK_CUR)
            return
        try:
            fields = files.parse_json(line.decode())
            yield TimedEvent(
                datetime.fromisoformat(fields.pop("time")),
                typed_json.from_json(EVENT_TYPES[fields.pop("event")], fields),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{stream.name} contains a line that is not an event ({error}). {RUN_REMEDY}"
            ) from error
