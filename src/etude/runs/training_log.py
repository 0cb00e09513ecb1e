"""train.jsonl, and what it tells while training runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median_low
from typing import Any

from etude.base.files import LineLog, read_lines
from etude.runs.events import EpochEnded, NoteEvent, OnEvent, StepTrained
from etude.types import Estimate

LATEST = 32
"""Steps by which the pace is told."""
FIRST = 10
"""Steps after which the time left is taken from them; until then from what was foreseen."""
STILL = 5.0
"""A step that took so many times as long for its tokens as the others is one in which the process stood still (a
terminal's Ctrl-Z, a debugger) or warmed up, and says nothing of those to come."""


class Pace:
    """How fast the latest steps were, without those that stood still."""

    def __init__(self) -> None:
        self.latest: deque[tuple[int, float]] = deque(maxlen=LATEST)

    def add(self, tokens: int, seconds: float) -> None:
        """Takes a step."""
        self.latest.append((tokens, seconds))

    @property
    def tokens_per_second(self) -> float:
        """Of all of them together."""
        steps = self._steady()
        return sum(tokens for tokens, _ in steps) / sum(seconds for _, seconds in steps)

    @property
    def step_seconds(self) -> float:
        """Seconds of a step, on average."""
        steps = self._steady()
        return sum(seconds for _, seconds in steps) / len(steps)

    def _steady(self) -> list[tuple[int, float]]:
        usual = median_low([seconds / tokens for tokens, seconds in self.latest])
        return [(tokens, seconds) for tokens, seconds in self.latest if seconds / tokens <= STILL * usual]


class TrainingLog:
    """Takes the lines of a training run, writes them and shows them as events.

    What is told again after a resume is not written twice; a second training in one fit counts its steps
    from 1 anew and is written whole. A line that the disk does not take is shown all the same, held in memory and
    written before the next one that it takes: a full disk ends no training.
    """

    def __init__(
        self, method: str, file: Path, on_event: OnEvent, foreseen: Callable[[], float | None] = lambda: None
    ) -> None:
        """`foreseen`: the seconds that the whole training was expected to take; None where nobody knows."""
        self.method, self.on_event, self.foreseen = method, on_event, foreseen
        lines = list(read_lines(file)) if file.exists() else []
        self.before = {_key(line) for line in lines if "step" not in line}
        self.epochs_before = last_epochs(lines)
        self.shown: set[int] = set()
        """Epochs that are on screen."""
        self.last_before = next((line["step"] for line in reversed(lines) if "step" in line), 0)
        self.written_to = self.step = self.steps_here = 0
        self.pace = Pace()
        measured = (line["seconds"] for line in reversed(lines) if "dev_loss" in line and "seconds" in line)
        self.measured_before: float = next(measured, 0.0)
        self.measured: list[float] = []
        """Seconds of the loss and the answers on dev, of the attempt before and of this one."""
        self.log = LineLog(file)

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Writes and shows one line."""
        for text in line.get("supervision", ()):
            self.on_event(NoteEvent(text, detail=True))
        for key in ("note", "warning"):
            if key in line:
                self.on_event(NoteEvent(str(line[key])))
        if line.get("resumed_at_step"):
            self.on_event(NoteEvent(f"{self.method}: resuming after step {line['resumed_at_step']}"))
        if "resumed_at_step" in line:
            self._show_again(line["resumed_at_step"])
        if "step" in line:
            self._show_step(line)
        elif "dev_loss" in line:
            self.measured.append(line.get("seconds", 0.0))
            self._show_epoch(line)
        if not self._written(line):
            self._write(line)

    def _write(self, line: Mapping[str, Any]) -> None:
        if (error := self.log.append(line)) and len(self.log.held) == 1:
            failed = f"{self.log.file} cannot be written ({error.strerror})."
            self.on_event(
                NoteEvent(f"{failed} Training continues; free disk space, and the missing lines are written.")
            )

    def _written(self, line: Mapping[str, Any]) -> bool:
        """Whether an earlier attempt wrote the line: of steps, those between where it resumed and its kill."""
        if "resumed_at_step" in line:
            self.written_to, self.step = self.last_before, line["resumed_at_step"]
        if "step" not in line:
            return _key(line) in self.before
        if line["step"] <= self.step:
            self.written_to = 0
        self.step = line["step"]
        return self.step <= self.written_to

    def _show_step(self, line: Mapping[str, Any]) -> None:
        epoch, epochs = line.get("epoch", 0), line.get("epochs", 0)
        self.pace.add(line["tokens"], line["seconds"])
        self.steps_here += 1
        measuring = median_low(self.measured) if self.measured else self.measured_before
        to_measure = epochs - epoch + 1 if epochs else 0
        left = (line["steps"] - line["step"]) * self.pace.step_seconds + to_measure * measuring
        if self.steps_here < FIRST and (whole := self.foreseen()):
            left = whole * (line["steps"] - line["step"]) / line["steps"]
        self.on_event(
            StepTrained(
                method=self.method,
                step=line["step"],
                steps=line["steps"],
                epoch=epoch,
                epochs=epochs,
                loss=line["loss"],
                tokens_per_second=self.pace.tokens_per_second,
                seconds_left=left,
                memory=line.get("memory", 0),
            )
        )

    def _show_again(self, step: int) -> None:
        """The epochs that an earlier attempt ended by the step with which this one begins."""
        for at, line in self.epochs_before:
            if at <= step:
                self._show_epoch(line)

    def _show_epoch(self, line: Mapping[str, Any]) -> None:
        if line["epoch"] == 0:
            self.shown.clear()
        # One that was measured behind the last checkpoint is measured again.
        if line["epoch"] in self.shown:
            return
        self.shown.add(line["epoch"])
        score = Estimate(line["score"], line["low"], line["high"], line["n"]) if "score" in line else None
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


def last_epochs(lines: Iterable[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """The lines of the epochs of the last training, each with the step that it stands behind."""
    step, found = 0, list[tuple[int, Mapping[str, Any]]]()
    for line in lines:
        step = line.get("step", step)
        if "dev_loss" in line:
            if line.get("epoch") == 0:
                step, found = 0, []
            found.append((step, line))
    return found


def _key(line: Mapping[str, Any]) -> tuple[str, ...]:
    """What a line says but for the time it took, which is another when it is told again."""
    return tuple(sorted(str(item) for item in line.items() if item[0] != "seconds"))
