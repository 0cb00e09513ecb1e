"""train.jsonl, and what it tells while training runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etude.compare.events import EpochEnded, OnEvent, Said, Trained
from etude.files import append_line, read_lines
from etude.types import Estimate

SMOOTH = 0.1
"""Weight of the latest step in the seconds of a step by which the time left is told."""


class TrainingLog:
    """Takes the lines of a training run, writes them and shows them as events.

    What is told again after a resume is not written twice; a second training in one fit counts its steps
    from 1 anew and is written whole. A line that the disk does not take is shown all the same, held in memory and
    written before the next one that it takes: a full disk ends no training.
    """

    def __init__(self, method: str, file: Path, on_event: OnEvent) -> None:
        self.method, self.file, self.on_event = method, file, on_event
        lines = list(read_lines(file)) if file.exists() else []
        self.before = {_key(line) for line in lines if "step" not in line}
        self.last_before = next((line["step"] for line in reversed(lines) if "step" in line), 0)
        self.written_to = self.step = 0
        self.pace = 0.0
        """Seconds of a step, smoothed."""
        measured = (line["seconds"] for line in reversed(lines) if "dev_loss" in line and "seconds" in line)
        self.measuring: float = next(measured, 0.0)
        """Seconds of the latest loss and answers on dev."""
        self.held: list[Mapping[str, Any]] = []
        """Lines that the disk did not take yet."""

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Writes and shows one line."""
        news = (line[key] for key in ("note", "warning") if key in line)
        for text in (*line.get("supervision", ()), *news):
            self.on_event(Said(str(text)))
        if line.get("resumed_at_step"):
            self.on_event(Said(f"{self.method}: going on after step {line['resumed_at_step']}"))
        if "step" in line:
            self._show_step(line)
        elif "dev_loss" in line:
            self._show_epoch(line)
        if not self._written(line):
            self._write(line)

    def _write(self, line: Mapping[str, Any]) -> None:
        self.held.append(line)
        try:
            while self.held:
                append_line(self.file, self.held[0])
                del self.held[0]
        except OSError as error:
            if len(self.held) == 1:
                self.on_event(
                    Said(
                        f"{self.file} cannot be written ({error.strerror}). Training goes on; make room, and the lines "
                        "that are missing are written."
                    )
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
        seconds, epoch, epochs = line["seconds"], line.get("epoch", 0), line.get("epochs", 0)
        self.pace = (1 - SMOOTH) * (self.pace or seconds) + SMOOTH * seconds
        to_measure = epochs - epoch + 1 if epochs else 0
        self.on_event(
            Trained(
                method=self.method,
                step=line["step"],
                steps=line["steps"],
                epoch=epoch,
                epochs=epochs,
                loss=line["loss"],
                tokens_per_second=line["tokens"] / seconds,
                seconds_left=(line["steps"] - line["step"]) * self.pace + to_measure * self.measuring,
                memory=line.get("memory", 0),
            )
        )

    def _show_epoch(self, line: Mapping[str, Any]) -> None:
        self.measuring = line.get("seconds", 0.0)
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


def _key(line: Mapping[str, Any]) -> tuple[str, ...]:
    """What a line says but for the time it took, which is another when it is told again."""
    return tuple(sorted(str(item) for item in line.items() if item[0] != "seconds"))
