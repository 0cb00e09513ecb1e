"""retrieval: passages of the task's documents in the prompt, found by a search that is fitted on train."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from etude.assistant import Assistant
from etude.data.dataset import Dataset
from etude.index.documents import read_passages
from etude.methods.few_shot import by_form, cover
from etude.methods.fit_context import Candidate, FitContext
from etude.methods.method import Method
from etude.methods.searching import FittedSearch, fitted_search, with_any_passage
from etude.models.registry import Models
from etude.task import Task
from etude.types import Example

NUM_SHOTS = 4
MANY = 3
"""Passages of the candidate with several."""


@dataclass(frozen=True)
class Retrieval(Method):
    """The best wording so far with what is found in the documents behind the question: one passage, examples that
    each carry their own, or several passages; chosen on dev."""

    name: ClassVar[str] = "retrieval"
    label: ClassVar[str] = "Passages looked up"
    searches: ClassVar[bool] = True
    keys: ClassVar[tuple[str, ...]] = ("model", "prompt_model", "documents", "encoder")

    def missing(self, task: Task) -> str:
        """Documents are needed."""
        return "" if task.documents else "documents:"

    def tries(self, task: Task, train: Dataset, start: Assistant) -> int:
        """One passage, examples with passages, several passages."""
        return 3

    def typical(
        self, task: Task, start: Assistant, train: Dataset, rows: Sequence[Example], models: Models
    ) -> tuple[Assistant, Sequence[Example]]:
        """With examples, and a passage behind each question."""
        shots = cover(by_form(start, train.examples), NUM_SHOTS, random.Random(task.seed))
        carried = tuple(with_any_passage(task, shots))
        return replace(start, method=self.name, shots=carried), list(with_any_passage(task, rows))

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Fits the search, then chooses among the prompts."""
        fitted = fitted_search(task, train, dev, context)
        base = replace(start.without_examples(), method=self.name, search=fitted.ref)
        return context.choose(list(candidates(task, train, base, fitted)), dev).assistant

    def prompts(self, task: Task, train: Dataset, start: Assistant) -> list[Assistant]:
        """One passage, examples with passages, several passages; any passages stand for those that will be found."""
        assert task.documents is not None
        passages = read_passages(task.documents)
        text = "\n".join(passage.text for passage in passages)
        shots = cover(by_form(start, train.examples), NUM_SHOTS, random.Random(f"{task.seed}/passages"))

        def longer(num_passages: int) -> Assistant:
            shown = text[: num_passages * len(text) // len(passages)]
            return replace(start, instructions=f"{start.instructions}\n{shown}")

        return [longer(1), replace(longer(1 + len(shots)), shots=shots), longer(MANY)]


METHOD = Retrieval()


def candidates(task: Task, train: Dataset, base: Assistant, fitted: FittedSearch) -> Iterator[Candidate]:
    """`base` with one passage, behind examples that carry theirs, and with several passages."""
    yield Candidate("1 passage", base)
    draw = random.Random(f"{task.seed}/passages")
    shots = cover(by_form(base, train.examples), NUM_SHOTS, draw)
    carried = tuple(fitted.shown(shots))
    yield Candidate(f"1 passage, {len(shots)} examples each with its own", replace(base, shots=carried))
    if len(fitted.search.passages) >= MANY:
        yield Candidate(f"{MANY} passages", replace(base, num_passages=MANY))
