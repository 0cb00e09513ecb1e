"""A step of your own: a frozen config with `fit`. This one asks in capitals."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import ClassVar

from etude.assistant import Assistant
from etude.dataset import Dataset, load_dataset
from etude.methods.workshop import Candidate, Effort, Workshop, blank
from etude.metrics import choose_metric
from etude.models.registry import Models
from etude.splits import split
from etude.task import Task, load_task


@dataclass(frozen=True)
class Loud:
    """The instructions in capitals."""

    name: ClassVar[str] = "loud"
    tuned: ClassVar[bool] = False

    def tries(self, task: Task, train: Dataset, start: Assistant) -> int:
        """One candidate."""
        return 1

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, workshop: Workshop
    ) -> Assistant:
        """Chooses the loud wording."""
        loud = replace(start, method=self.name, instructions=start.instructions.upper())
        return workshop.choose([Candidate("in capitals", loud)], dev).assistant


if __name__ == "__main__":
    import tempfile
    from pathlib import Path

    task, rows = load_dataset(load_task(sys.argv[1]))
    parts = split(rows, task.kind, task.seed)
    models = Models()
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(models, choose_metric(task, parts.train), Path(folder), Effort(dev_rows=20))
        Loud().fit(task, parts.train, parts.dev, blank(task, parts.train, models), workshop)
        print(workshop.tried[0].dev)
