"""prompt: the user's instructions alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from etude.assistant import Assistant
from etude.data.dataset import Dataset
from etude.methods.fit_context import Candidate, FitContext
from etude.methods.method import Method
from etude.task import Task


@dataclass(frozen=True)
class Prompt(Method):
    """The user's instructions, word for word."""

    name: ClassVar[str] = "prompt"
    label: ClassVar[str] = "The prompt as given"

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Changes nothing; runs on dev so that every method has a dev result."""
        return context.choose([Candidate("as given", replace(start, method=self.name))], dev).assistant


METHOD = Prompt()
