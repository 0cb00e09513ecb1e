"""constrained: the best prompt so far, with the form of its answers enforced."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from etude.assistant import Assistant
from etude.data.dataset import Dataset
from etude.errors import GrammarError
from etude.methods.fit_context import Candidate, FitContext
from etude.methods.method import Method
from etude.models.registry import backend_of
from etude.task import Task


@dataclass(frozen=True)
class Constrained(Method):
    """The best untuned assistant so far, whose tokens are kept to the contract's JSON schema, fields or regular
    expression while it writes (llguidance). Labels are enforced in every method already."""

    name: ClassVar[str] = "constrained"
    label: ClassVar[str] = "Form enforced"
    prompted: ClassVar[bool] = False

    def missing(self, task: Task) -> str:
        """A form is needed that can be enforced."""
        found = task.contract is not None and task.kind != "classify" and task.contract.form is not None
        return "" if found else "a json_schema, fields or regex under contract:"

    def suits(self, task: Task) -> bool:
        """The model has to be able to keep to a grammar."""
        return "grammar" in backend_of(task.prompt_model or task.model).can

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Answers dev. A form that cannot be enforced is not, and a note says why."""
        enforced = replace(start, method=self.name, enforced=True)
        try:
            return context.choose([Candidate("form enforced", enforced)], dev).assistant
        except GrammarError as error:
            context.notes.append(f"the form is not enforced ({error})")
            plain = replace(start, method=self.name)
            return context.choose([Candidate("form not enforced", plain)], dev).assistant


METHOD = Constrained()
