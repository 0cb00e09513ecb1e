"""fine_tune_retrieval: weights trained on prompts that hold a passage, asked with the passage that is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from etude.assistant import Assistant
from etude.data.dataset import Dataset
from etude.methods.fine_tune import FineTune
from etude.methods.fit_context import FitContext
from etude.methods.method import TrainingTime
from etude.methods.searching import fitted_search, with_any_passage
from etude.models.registry import Models
from etude.task import Task
from etude.types import Example


@dataclass(frozen=True)
class FineTuneRetrieval(FineTune):
    """Like fine_tune, but each row is trained with the passage that supports its answer, placed after the question, so
    that the model learns to say what the passage says. In use it gets the first passage that is found: small models
    copy well from one passage and choose badly among several."""

    name: ClassVar[str] = "fine_tune_retrieval"
    label: ClassVar[str] = "Fine-tuned, with passages looked up"
    copies: ClassVar[bool] = True
    searches: ClassVar[bool] = True
    keys: ClassVar[tuple[str, ...]] = ("model", "train", "documents", "encoder")

    def missing(self, task: Task) -> str:
        """Documents are needed."""
        return "" if task.documents else "documents:"

    def training_time(
        self, task: Task, start: Assistant, train: Dataset, models: Models, answer: float
    ) -> TrainingTime | None:
        """As fine_tune on rows with passages."""
        carried = replace(train, examples=tuple(with_any_passage(task, train.examples)))
        return super().training_time(task, start, carried, models, answer)

    def typical(
        self, task: Task, start: Assistant, train: Dataset, rows: Sequence[Example], models: Models
    ) -> tuple[Assistant, Sequence[Example]]:
        """With a passage behind each question."""
        return self.asked(task, start, train, models), list(with_any_passage(task, rows))

    def prepared(
        self,
        task: Task,
        train: Dataset,
        dev: Dataset,
        student: Assistant,
        rows: Sequence[Example],
        dev_rows: Dataset,
        context: FitContext,
    ) -> tuple[Assistant, Sequence[Example], Dataset]:
        """The student with the search, and the rows with their passages."""
        fitted = fitted_search(task, train, dev, context)
        shown = replace(dev_rows, examples=tuple(fitted.shown(dev_rows.examples)))
        return replace(student, search=fitted.ref), fitted.shown(rows), shown


METHOD = FineTuneRetrieval()
