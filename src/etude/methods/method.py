"""What a method is, and what it says about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from etude.assistant import Assistant
from etude.data.dataset import Dataset
from etude.errors import Issue
from etude.methods.fit_context import FitContext
from etude.methods.foresight.row_lengths import RowLengths
from etude.models.registry import Models
from etude.task import Task
from etude.types import Example

TrainingTime = Callable[[int, int, int | None], float]
"""Seconds of training on so many rows, with what is measured on so many dev rows, for so many epochs at most."""


class Method(ABC):
    """A method of the ladder: a frozen config with one verb, `fit`. The defaults are those of a prompt."""

    name: ClassVar[str]
    """As in the task file and in folder names."""
    label: ClassVar[str]
    """What it is, for readers who do not know its name."""
    tuned: ClassVar[bool] = False
    """Whether the method changes weights of a language model."""
    prompted: ClassVar[bool] = True
    """Whether it is a prompt to the untuned model, on which later methods may build."""
    asks_model: ClassVar[bool] = True
    """Whether a language model answers."""
    searches: ClassVar[bool] = False
    """Whether it looks passages up, with the search that is fitted once a run."""
    keys: ClassVar[tuple[str, ...]] = ("model", "prompt_model")
    """Keys of the task file that it takes, beside those that every method takes."""

    @abstractmethod
    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Builds on `start`, the best assistant of the lower methods, and returns a new one."""
        ...

    def missing(self, task: Task) -> str:
        """What the task file would have to say for this method, such as `documents:`; "" if nothing is missing."""
        return ""

    def takes(self, task: Task) -> tuple[str, ...]:
        """The `keys`, with those that it takes because of what the task says under another."""
        return self.keys

    def tries(self, task: Task, train: Dataset, start: Assistant) -> int:
        """How many candidates `fit` would answer dev with; 0 when they cost next to nothing."""
        return 1

    def asked(self, task: Task, start: Assistant, train: Dataset, models: Models) -> Assistant:
        """The assistant that `fit` begins with."""
        return start

    def typical(
        self, task: Task, start: Assistant, train: Dataset, rows: Sequence[Example], models: Models
    ) -> tuple[Assistant, Sequence[Example]]:
        """What the plan is made from: an assistant without a search, whose prompts for `rows`, as they are returned,
        are as long as those of the candidates that `fit` will try."""
        return self.asked(task, start, train, models), rows

    def training_time(
        self, task: Task, start: Assistant, train: Dataset, models: Models, answer: float
    ) -> TrainingTime | None:
        """What training takes, from a few timed steps; None where there is none. `answer` are the seconds of one
        answer of `asked`."""
        return None

    def too_long(self, task: Task, start: Assistant, rows: RowLengths) -> Iterable[Issue]:
        """Rows that the method could not answer or be trained on. Those too long for the prompt of `start` are
        found without it."""
        return ()

    def prompts(self, task: Task, train: Dataset, start: Assistant) -> Sequence[Assistant]:
        """What `fit` would answer dev with, as far as it bears on the length of a prompt."""
        return [start]

    def before_dev(self, assistant: Assistant, folder: Path) -> Assistant:
        """The assistant as it was before it learned dev rows too, if it has; `folder` is the method's in the run."""
        return assistant

    def suits(self, task: Task) -> bool:
        """Whether the task's model can do what the method needs."""
        return True
