"""fine_tune_retrieval: weights trained on prompts that hold a passage, asked with the passage that is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import ClassVar

from etude.assistant import Assistant, with_passages
from etude.data.dataset import Dataset
from etude.index.passages import read_passages
from etude.methods.fine_tune import FineTune
from etude.methods.fit_context import FitContext
from etude.methods.method import TrainingTime
from etude.methods.retrieval import METHOD as RETRIEVAL
from etude.methods.searching import fitted_search, search_seconds
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
    keys: ClassVar[tuple[str, ...]] = ("model", "train", "documents", "encoder")

    def missing(self, task: Task) -> str:
        """Documents are needed."""
        return "" if task.documents else "documents"

    def training_time(
        self, task: Task, start: Assistant, train: Dataset, models: Models, answer: float
    ) -> TrainingTime | None:
        """As fine_tune on rows with passages; with the search, where no lower step fits it."""
        carried = replace(train, examples=tuple(with_any_passage(task, train.examples)))
        training = super().training_time(task, start, carried, models, answer)
        search = 0.0 if RETRIEVAL.name in task.methods else search_seconds(task, train, models)
        return training and (lambda *sizes: search + training(*sizes))

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
        shown = replace(dev_rows, examples=tuple(map(fitted.shown, dev_rows)))
        return replace(student, search=fitted.ref), [fitted.shown(row) for row in rows], shown


METHOD = FineTuneRetrieval()


def with_any_passage(task: Task, rows: Sequence[Example]) -> Iterator[Example]:
    """Rows as long as they will be with a passage, whichever it is."""
    assert task.documents is not None
    passages = read_passages(task.documents)
    for row, passage in zip(rows, cycle(passages), strict=False):
        yield replace(row, input=with_passages(row.input, [passage]))
