"""train.jsonl: the lines of a training run, written and reported while it runs."""

from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median_low
from typing import Any

from etude.base.files import LineLog, list_lines
from etude.runs.events import EpochEnded, NoteEvent, OnEvent, StepTrained
from etude.types import Estimate

NUM_LATEST = 32
"""Latest steps from which the speed is computed."""


class TrainingLog:
    """Writes the lines of a training run and publishes them as events.

    Lines that repeat after a resume are not written twice. A second training in one fit counts its
    steps from 1 again, and all its lines are written. A line that cannot be written to disk is
    published, kept in memory and written before the next line: a full disk does not end a training.
    """

    def __init__(self, method: str, file: Path, on_event: OnEvent) -> None:
        self.method = method
        self.on_event = on_event
        lines = list_lines(file)
        self.lines_before = {_line_key(line) for line in lines if "step" not in line}
        self.epochs_before = find_last_epochs(lines)
        self.published_epochs: set[float] = set()
        """Epochs that were already published."""
        self.last_step_before = next(
            (line["step"] for line in reversed(lines) if "step" in line), 0
        )
        self.written_to = self.step = 0
        self.latest: deque[tuple[int, float]] = deque(maxlen=NUM_LATEST)
        """Tokens and seconds of the latest steps; their medians ignore a pause of the process
        (Ctrl-Z).
        """
        measured = (
            line["seconds"] for line in reversed(lines) if "dev_loss" in line and "seconds" in line
        )
        self.dev_seconds_before: float = next(measured, 0.0)
        self.dev_seconds: list[float] = []
        """Seconds of measuring the loss and the answers on dev, for each epoch of this attempt."""
        self.log = LineLog(file)

    def __call__(self, line: Mapping[str, Any]) -> None:
        notes = [NoteEvent(text, detail=True) for text in line.get("supervision", ())]
        notes += [NoteEvent(str(line["warning"]))] if "warning" in line else []
        for note in notes:
            self.on_event(note)
        if line.get("resumed_at_step"):
            self.on_event(
                NoteEvent(f"{self.method}: resuming after step {line['resumed_at_step']}")
            )
        if "resumed_at_step" in line:
            # Publish the epochs that an earlier attempt finished before this step.
            for step, epoch_line in self.epochs_before:
                if step <= line["resumed_at_step"]:
                    self._publish_epoch(epoch_line)
        if "step" in line:
            self._publish_step(line)
        elif "dev_loss" in line:
            self.dev_seconds.append(line.get("seconds", 0.0))
            self._publish_epoch(line)
        if not self._is_written(line):
            self._write(line)

    def _write(self, line: Mapping[str, Any]) -> None:
        # If several lines cannot be written, only the first is reported.
        if (error := self.log.append(line)) and len(self.log.pending) == 1:
            message = (
                f"{self.log.file} cannot be written ({error.strerror}). Training continues; free "
                "some disk space"
            )
            self.on_event(NoteEvent(f"{message}, and the missing lines will be written."))

    def _is_written(self, line: Mapping[str, Any]) -> bool:
        """Whether an earlier attempt wrote the line: steps after this attempt's checkpoint are
        repeated.
        """
        if "resumed_at_step" in line:
            self.written_to = self.last_step_before
            self.step = line["resumed_at_step"]
        if "step" not in line:
            return _line_key(line) in self.lines_before
        # A second training of the same fit counts from 1 again.
        if line["step"] <= self.step:
            self.written_to = 0
        self.step = line["step"]
        return self.step <= self.written_to

    def _publish_step(self, line: Mapping[str, Any]) -> None:
        epoch = line.get("epoch", 0)
        epochs = line.get("epochs", 0)
        self.latest.append((line["tokens"], line["seconds"]))
        step_seconds = median_low(seconds for _, seconds in self.latest)
        dev_seconds = median_low(self.dev_seconds) if self.dev_seconds else self.dev_seconds_before
        num_dev = epochs - epoch + 1 if epochs else 0
        remaining = (line["steps"] - line["step"]) * step_seconds + num_dev * dev_seconds
        remaining = min(remaining, line.get("seconds_left", remaining))  # of a time box
        self.on_event(
            StepTrained(
                method=self.method,
                step=line["step"],
                steps=line["steps"],
                epoch=epoch,
                epochs=epochs,
                loss=line["loss"],
                tokens_per_second=1
                / median_low(seconds / tokens for tokens, seconds in self.latest),
                remaining_seconds=remaining,
                memory=line.get("memory", 0),
            )
        )

    def _publish_epoch(self, line: Mapping[str, Any]) -> None:
        if line["epoch"] == 0:
            self.published_epochs.clear()
        # An epoch that was measured after the last checkpoint is measured again.
        if line["epoch"] in self.published_epochs:
            return
        self.published_epochs.add(line["epoch"])
        score = (
            Estimate(line["score"], line["low"], line["high"], line["n"])
            if "score" in line
            else None
        )
        self.on_event(
            EpochEnded(
                method=self.method,
                epoch=line["epoch"],
                epochs=line.get("epochs", 0),
                train_loss=line.get("train_loss"),
                dev_loss=line["dev_loss"],
                score=score,
                best=line["best"],
                overfits=line.get("overfits", False),
            )
        )


def find_last_epochs(lines: Iterable[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """Find the epoch lines of the last training, each with the step before it."""
    step = 0
    epochs = list[tuple[int, Mapping[str, Any]]]()
    for line in lines:
        step = line.get("step", step)
        if "dev_loss" in line:
            if line.get("epoch") == 0:
                step = 0
                epochs = []
            epochs.append((step, line))
    return epochs


def _line_key(line: Mapping[str, Any]) -> tuple[str, ...]:
    # Without the seconds, which differ when a line is repeated.
    return tuple(sorted(str(entry) for entry in line.items() if entry[0] != "seconds"))
