"""few_shot: fixed examples in the prompt."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from etude.assistant import Assistant, PromptLimit
from etude.data.dataset import Dataset
from etude.methods.fit_context import Candidate, FitContext
from etude.methods.method import Method
from etude.models.registry import Models
from etude.task import Task
from etude.types import Example

DRAWS = 2
"""Draws tried for each number of examples: which examples stand in the prompt matters as much as
how many (Zhao et al. 2021, arXiv 2102.09690)."""
NUMBERS = (2, 4, 8)
"""Numbers of examples tried where there are no labels to cover."""
MOST = 100
"""More examples than this are not tried: the prompt would cost more than it could gain."""


@dataclass(frozen=True)
class FewShot(Method):
    """The best wording so far with k training examples before the question; k and draw chosen on dev."""

    name: ClassVar[str] = "few_shot"
    label: ClassVar[str] = "Examples in the prompt"

    def tries(self, task: Task, train: Dataset, start: Assistant) -> int:
        """Every number with every draw."""
        return DRAWS * len(sizes(task, by_form(start, train.examples)))

    def prompts(self, task: Task, train: Dataset, start: Assistant) -> list[Assistant]:
        """Every number with every draw."""
        return [candidate.assistant for candidate in self.candidates(task, train, start)]

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Chooses among numbers and draws; those too long for the context with most dev rows are left out."""
        base = replace(start, method=self.name, shots=())
        candidates = self.candidates(task, train, base)
        fitting = [candidate for candidate in candidates if fits_most(candidate, dev, context)]
        if too_long := [candidate.name for candidate in candidates if candidate not in fitting]:
            context.notes.append(
                f"longer than the context with most dev rows, so not tried: {', '.join(too_long)}"
            )
        return context.choose(fitting or [Candidate("no example fits", base)], dev).assistant

    def typical(
        self, task: Task, start: Assistant, train: Dataset, rows: Sequence[Example], models: Models
    ) -> tuple[Assistant, Sequence[Example]]:
        """With as many examples as are tried."""
        return self.candidates(task, train, start)[-1].assistant, rows

    def candidates(self, task: Task, train: Dataset, base: Assistant) -> list[Candidate]:
        """`base` behind every draw of every number of examples, fewest first; equal ones are dropped."""
        forms = by_form(base, train.examples)
        unique: dict[tuple[str, ...], Candidate] = {}
        for size in sizes(task, forms):
            for draw in range(DRAWS):
                shots = cover(forms, size, random.Random(f"{task.seed}/{size}/{draw}"))
                candidate = Candidate(f"{len(shots)} examples, draw {draw + 1}", replace(base, shots=shots))
                unique.setdefault(tuple(shot.id for shot in shots), candidate)
        return list(unique.values())


METHOD = FewShot()


def fits_most(candidate: Candidate, dev: Dataset, context: FitContext) -> bool:
    """Whether all examples of the candidate fit the model's context before at least half of the dev rows."""
    assistant = candidate.assistant
    limit = PromptLimit(assistant, context.models.get(assistant.model))
    whole = sum(limit.shots(row.input) == len(assistant.shots) for row in dev)
    return 2 * whole >= len(dev)


def sizes(task: Task, forms: Mapping[str, Sequence[Example]]) -> list[int]:
    """Numbers of examples to try: one and two of each label, or 2, 4, 8."""
    rows = sum(len(_short(examples)) for examples in forms.values())
    wanted = (len(forms), 2 * len(forms)) if task.kind == "classify" else NUMBERS
    return sorted({min(size, rows, MOST) for size in wanted})


def by_form(assistant: Assistant, examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Examples by the form of their output: its label, or which of the contract's fields it has."""
    forms: dict[str, list[Example]] = {}
    for example in examples:
        parsed = assistant.contract.parse(example.output) if assistant.contract else None
        form = example.output if assistant.kind == "classify" else ""
        form = ", ".join(sorted(parsed)) if isinstance(parsed, dict) else form
        forms.setdefault(form, []).append(example)
    return dict(sorted(forms.items()))


def cover(forms: Mapping[str, Sequence[Example]], size: int, draw: random.Random) -> tuple[Example, ...]:
    """`size` examples that take the forms in turn, the commonest first, then shuffled.

    An example longer than most of its form is passed over: it would cost in every request.
    """
    queues = [
        draw.sample(ordered, len(ordered))
        for examples in sorted(forms.values(), key=len, reverse=True)
        if (ordered := _short(examples))
    ]
    picked: list[Example] = []
    while len(picked) < size and any(queues):
        for queue in queues:
            if queue and len(picked) < size:
                picked.append(queue.pop())
    draw.shuffle(picked)
    return tuple(picked)


def _short(examples: Sequence[Example]) -> list[Example]:
    ordered = sorted(examples, key=lambda example: (len(example.text) + len(example.output), example.id))
    return ordered[: max(1, int(0.9 * len(ordered)))]
